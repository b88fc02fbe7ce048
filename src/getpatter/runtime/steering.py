"""What a program may do to a running call, carried out: hang up, hand the caller over and take them back, press keys.

The other half of `CallControl`, which is what programs see.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final

from getpatter.audio.convert import converter
from getpatter.audio.dtmf import tones
from getpatter.carriers.base import (
    MediaWire,
    RoomChanged,
    Stream,
    StreamStarted,
    TargetState,
    TransferOver,
    Warm,
    WebhookEvent,
)
from getpatter.core import messages as m
from getpatter.runtime.handover import Handover, note_of
from getpatter.runtime.keypad import KeyEntry
from getpatter.runtime.system_tools import destination_refused
from getpatter.types import AudioFormat, Encoding, masked

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from getpatter.runtime.house import House
    from getpatter.runtime.leg import Leg
    from getpatter.runtime.line import Line
    from getpatter.runtime.media import MediaListener, MediaSocket

logger = logging.getLogger(__name__)

_ROOM_BYTES: Final = 24
_LONGEST_SUMMARY: Final = 1000
_UNDER_WAY: Final[dict[str, object]] = {
    "error": "a transfer is under way already",
    "status": "failed",
}
_OVER: Final[dict[str, object]] = {"error": "call ended", "status": "failed"}


class Steering:
    """One call, in the hands of its program. A `ControlledLine`, and what a `Handover` asks for."""

    def __init__(self, line: Line, leg: Leg, house: House) -> None:
        """Steer `line`."""
        self.handover: Handover | None = None
        """The latest transfer."""
        self._line = line
        self._leg = leg
        self._house = house
        self._quiet: dict[int, asyncio.Event] = {}
        self._tickets = 0

    @property
    def is_over(self) -> bool:
        """Whether the call has ended for us."""
        return self._line.is_over

    @property
    def is_away(self) -> bool:
        """Whether the caller is elsewhere."""
        call = self._line.call
        return call is not None and call.is_away

    @property
    def is_handed_over(self) -> bool:
        """Whether the caller is being transferred, or was."""
        return self.handover is not None and self.handover.outcome in {None, "connected"}

    def tell(self, event: m.AnyInput) -> None:
        """Tell the conversation."""
        self._line.tell(event)

    def work(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Start work that may outlive the media."""
        self._line.work(work, name=name)

    # --------------------------------------------------------------------------------------- the end

    async def hang_up(self) -> None:
        """End the call once the words already queued were heard."""
        if self._line.call is None:
            return
        is_writing = self._line.is_writing_here()
        if self.is_away:
            # A model that says goodbye with its transfer has not asked for the transfer to be broken off.
            if not is_writing:
                self._line.hang_up_now("agent_hangup")
            return
        self.tell(m.CloseAsked())
        if not is_writing:
            await self._line.media_over()

    def media_over(self) -> None:
        """Nobody needs to wait for words or keys any more."""
        if self._line.call is not None and self._line.call.keypad is not None:
            self._line.call.keypad.give_up()
        for waiting in self._quiet.values():
            waiting.set()

    # ------------------------------------------------------------------------------------- transfers

    async def transfer(
        self, number: str, *, mode: str, summary: str, allow_any: bool
    ) -> dict[str, object]:
        """Hand the caller to somebody else."""
        answer = await self._transfer(number, mode=mode, summary=summary, allow_any=allow_any)
        told = {"to": number, "mode": mode, "status": answer["status"]}
        self._line.reports.write("transfer", told)
        return answer

    async def _transfer(
        self, number: str, *, mode: str, summary: str, allow_any: bool
    ) -> dict[str, object]:
        line = self._line
        refused = None if allow_any else destination_refused(line.orders.agent, number)
        if refused is not None:
            logger.warning("transfer.rejected call=%s to=%s", line.identity, masked(number))
            return refused
        if not self._is_open():
            await self._words_heard()
        if self.is_over:
            return dict(_OVER)
        if self._is_open() or self.is_away:
            return dict(_UNDER_WAY)
        warm = self._warm(number, summary) if mode == "warm" else None
        handover = self.handover = Handover(
            self, self._leg, self._house.targets, to=number, warm=warm
        )
        line.spare_writer(is_spared=True)
        error = await handover.begin()
        if error is None:
            return {"status": "transferring", "mode": mode, "to": number}
        if not self._leg.is_released:
            line.spare_writer(is_spared=False)
            # Where the stream was gone before the carrier refused: whoever it was has hung up.
            self.transfer_lost(handover)
        return {"error": error, "status": "failed"}

    def _is_open(self) -> bool:
        return self.handover is not None and self.handover.outcome is None

    def _warm(self, number: str, summary: str) -> Warm:
        identity, orders = self._line.identity, self._line.orders
        return Warm(
            call_id=identity.call_id,
            to=number,
            from_number=identity.our_number,
            host=self._house.host,
            room=_unguessable(),
            reference=_unguessable(),
            summary=summary.strip()[:_LONGEST_SUMMARY],
            language=str(orders.agent.language),
            time_limit=orders.max_call_duration,
            serial=self._leg.transfers,
        )

    def told(self, event: WebhookEvent) -> None:
        """News of a transfer under way."""
        handover = self.handover
        if handover is None:
            return
        if not isinstance(event, RoomChanged):
            handover.told(event)
        elif not event.is_in:
            handover.caller_left_room()

    def take_back(self, event: TransferOver) -> Stream | None:
        """The carrier asks what shall become of the caller: a stream to us, or nothing more."""
        handover = self.handover
        if handover is None or self.is_over or not handover.over(event):
            return None
        return self.invite()

    def transfer_ended(self, handover: Handover, state: TargetState) -> None:
        """The outcome is known; `connected` ends our part."""
        line = self._line
        told = {"mode": handover.mode, "status": state}
        line.reports.write("transfer", {"to": handover.to, **told})
        line.reports.emit("transfer_ended", told)
        logger.info(
            "transfer.ended call=%s to=%s status=%s",
            line.identity.call_id,
            masked(handover.to),
            state,
        )
        if state == "connected":
            line.hand_over("transferred")
            self.tell(m.CallOver("transferred"))

    def transfer_lost(self, handover: Handover) -> None:
        """The caller is gone, or did not come back."""
        if handover is self.handover and self.is_away and not self.is_over:
            self._leg.is_released = False
            self.tell(m.CallOver())

    def abandon(self) -> None:
        """The call ends: a transfer under way is broken off."""
        if self.handover is not None:
            self.handover.abandon()

    def invite(self) -> Stream:
        """A stream with a new token, for the caller who comes back."""
        return self._house.invite(self._line)

    @property
    def is_expecting(self) -> bool:
        """Whether the caller is on the way back to us."""
        return self.is_away and not self.is_over and not self.is_handed_over

    def come_back(
        self, socket: MediaSocket, wire: MediaWire, started: StreamStarted
    ) -> MediaListener:
        """The caller is here again. Only while `is_expecting`."""
        call, handover = self._line.call, self.handover
        assert call is not None, "they were here before"
        assert handover is not None, "somebody sent them away"
        self._leg.is_released = False
        return call.come_back(socket, wire, started, note_of(handover.outcome or "failed"))

    # ------------------------------------------------------------------------------------------ keys

    async def send_dtmf(self, digits: str, *, delay_ms: int) -> None:
        """Play keys to the other side; returns when they were heard."""
        call = self._line.call
        if call is None or call.is_over:
            return
        await self._words_heard()
        if self.is_away or await self._leg.send_keys(digits, delay_ms=delay_ms):
            return
        stream = call.session.playout.format
        pcm = tones(digits, stream.sample_rate, gap_ms=delay_ms)
        to_carrier = converter(AudioFormat(Encoding.PCM16, stream.sample_rate), stream)
        call.tell(m.KeysAsked(to_carrier.convert(pcm) + to_carrier.flush()))
        await self._words_heard()

    async def collect_digits(self, most: int | None, *, finish_on: str, patience: float) -> str:
        """Keys that the caller presses from now on, for the program alone."""
        call = self._line.call
        if call is None or call.is_over:
            return ""
        entry = call.keypad = KeyEntry(most, finish_on)
        try:
            await self._words_heard()
            return await entry.keys(patience)
        finally:
            if call.keypad is entry:
                call.keypad = None

    async def _words_heard(self) -> None:
        call = self._line.call
        if call is None or call.is_over:
            return
        self._tickets += 1
        waiting = self._quiet[self._tickets] = asyncio.Event()
        call.tell(m.QuietAwaited(self._tickets))
        await waiting.wait()

    def quiet(self, ticket: int) -> None:
        """What was queued when `ticket` was given has been heard, or will not be."""
        self._quiet.pop(ticket, asyncio.Event()).set()


def _unguessable() -> str:
    return urlsafe_b64encode(secrets.token_bytes(_ROOM_BYTES)).rstrip(b"=").decode()
