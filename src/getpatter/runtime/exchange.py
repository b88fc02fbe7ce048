"""All calls of one server: who is expected, who is talking, who has gone. The real `Switchboard`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final

from getpatter.carriers.base import (
    FINAL_STATUSES,
    CallArrived,
    CallProgressed,
    Carrier,
    MachineJudged,
    MediaWire,
    RecordingFinished,
    Stream,
    StreamFailed,
    StreamStarted,
    WebhookEvent,
)
from getpatter.core import messages as m
from getpatter.runtime import clock
from getpatter.runtime.house import House
from getpatter.runtime.identity import Identity, Orders
from getpatter.runtime.line import Line
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.runtime.tokens import INBOUND_LIFE, Entropy, Grant, StreamTokens
from getpatter.types import Instant

logger = logging.getLogger(__name__)

REMEMBERED: Final = 60.0
"""Seconds that late news of a finished call still finds it (HT-40)."""
HANG_UP_WITHIN: Final = 5.0
DRAIN_WITHIN: Final = 10.0


class Exchange:
    """The calls of one server, by the carrier's call id."""

    def __init__(
        self,
        house: House,
        *,
        orders: Callable[[], Orders],
        max_concurrent_calls: int | None = None,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        """Begin with no calls.

        Args:
            house: What all calls share.
            orders: How an inbound call shall be held; asked once for each.
            max_concurrent_calls: Above it callers get a busy signal.
            entropy: Source of stream tokens; unpredictable outside of tests.
        """
        self._house = house
        self._orders = orders
        self._most = max_concurrent_calls
        self._tokens = StreamTokens(entropy)
        self._lines: dict[str, Line] = {}
        self._is_stopping = False
        self.unknown_events = 0
        house.over = self._forget_later

    # ------------------------------------------------------------------------------- Switchboard

    @property
    def is_stopping(self) -> bool:
        """Whether new calls are refused because the server is shutting down."""
        return self._is_stopping

    @property
    def active(self) -> list[Line]:
        """Calls that have begun to ring and whose conversation has not ended."""
        return [line for line in self._lines.values() if not line.is_over]

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        """Register an inbound call; providers begin to connect while the carrier connects the audio."""
        line = self._lines.get(arrived.call_id)
        if self._is_stopping:
            return None
        if line is None:
            if self._most is not None and len(self.active) >= self._most:
                logger.warning("call.refused reason=max_concurrent_calls")
                return None
            identity = Identity(
                call_id=arrived.call_id,
                caller=arrived.caller,
                callee=arrived.callee,
                direction="inbound",
                carrier=carrier.name,
                custom_params=dict(arrived.custom_params),
            )
            line = self._lines[arrived.call_id] = Line(
                identity, carrier, self._orders(), self._house
            )
            line.prewarm()
            self._house.nest.spawn(
                self._abandon_unanswered(line), name=f"unanswered {arrived.call_id}"
            )
        return self._stream_for(line, carrier)

    def _stream_for(self, line: Line, carrier: Carrier) -> Stream:
        now = clock.now()
        identity = line.identity
        grant = Grant(
            reference=identity.call_id,
            carrier=carrier.name,
            direction=identity.direction,
            expires_at=Instant(now + INBOUND_LIFE),
            call_id=identity.call_id,
        )
        return Stream(
            host=self._house.host,
            reference=identity.call_id,
            token=self._tokens.mint(grant, now=now),
            caller=identity.caller,
            callee=identity.callee,
        )

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> MediaListener | None:
        """Spend the token; the conversation begins."""
        line = self._lines.get(started.call_id)
        grant = self._tokens.spend(
            token,
            reference=reference,
            call_id=started.call_id,
            carrier=carrier.name,
            now=clock.now(),
        )
        if grant is None or line is None or line.call is not None or self._is_stopping:
            return None
        return line.answer(socket, wire, started)

    def is_expected(self, reference: str, token: str) -> bool:
        """Whether this token would be accepted now."""
        return self._tokens.look(token, reference=reference, now=clock.now()) is not None

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        """News of a call from its carrier."""
        line = self._lines.get(event.call_id)
        if line is None or line.identity.carrier != carrier.name:
            self.unknown_events += 1
            return
        match event:
            case CallProgressed(status=status):
                self._progressed(line, event)
                self._house.bus.emit(
                    "call_status",
                    {"call_id": event.call_id, "timestamp": clock.wall(), "status": status},
                )
            case StreamFailed():
                logger.error("call.stream_failed call=%s", line.identity)
            case RecordingFinished():
                line.recording_finished(event)
            case MachineJudged() | CallArrived():
                pass

    def _progressed(self, line: Line, event: CallProgressed) -> None:
        if line.status in FINAL_STATUSES:
            return
        line.status = event.status
        if event.status in FINAL_STATUSES:
            if line.call is None:
                self._nobody_came(line)
            else:
                line.tell(m.StreamEnded())

    # ------------------------------------------------------------------------------------- ends

    async def _abandon_unanswered(self, line: Line) -> None:
        await asyncio.sleep(INBOUND_LIFE)
        if line.call is None:
            self._nobody_came(line)

    def _nobody_came(self, line: Line) -> None:
        self._tokens.revoke(line.identity.call_id)
        self._house.nest.spawn(line.abandon(), name=f"abandon {line.identity.call_id}")

    def _forget_later(self, line: Line) -> None:
        call_id = line.identity.call_id
        self._tokens.revoke(call_id)
        asyncio.get_running_loop().call_later(REMEMBERED, self._lines.pop, call_id, None)

    def refuse_new(self) -> None:
        """Step 1 of a shutdown."""
        self._is_stopping = True

    async def hang_up_all(self) -> None:
        """Step 2: end every call at its carrier, all at once, 5 s each at most."""
        lines = self.active
        if lines:
            await asyncio.gather(*(line.shut_down() for line in lines))

    async def settled(self, within: float) -> None:
        """Wait until every call's `on_call_end` has run, `within` seconds at most."""
        try:
            async with asyncio.timeout(within):
                for line in list(self._lines.values()):
                    await line.settled()
        except TimeoutError:
            late = sum(not line.is_settled for line in self._lines.values())
            logger.warning("server.calls_unsettled count=%d", late)
