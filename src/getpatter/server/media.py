"""The life of one media socket, whatever carries its bytes.

A `Visit` begins after the upgrade and ends with the socket. Until admission it shows each frame to the
`Door`; from then on a frame goes straight to the call's listener, with no task, queue or copy between.

```
transport ── frame ──► visit.deliver ─┬─ before: Door ── Knock ──► switchboard.admit (one task per socket)
                                      └─ after:  listener.received
```

A transport (`fast.py`, `plain.py`) brings an `Outlet`: what a call needs of a socket, and how to stop
reading while the switchboard thinks.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Final, Literal, Protocol

from getpatter.carriers.base import StreamStarted
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.server.door import Door, Knock, Refused, Waiting
from getpatter.server.gate import Entry, MediaGate
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

NO_CLOSE_FRAME: Final = 1006
_REFUSED: Final = 1008
_INTERNAL_ERROR: Final = 1011

DropReason = Literal["binary", "too_long"]
Spawn = Callable[[Coroutine[object, object, None]], object]
"""`create_task` of the task group that the socket lives in."""


class Outlet(MediaSocket, Protocol):
    """A socket as its transport offers it."""

    def hold(self) -> None:
        """Stop reading; what was read already still arrives."""
        ...

    def release(self) -> None:
        """Read again."""
        ...

    def admitted(self) -> None:
        """The socket belongs to a call now; what a stranger may not do, it may."""
        ...

    def abort(self) -> None:
        """Cut the connection now."""
        ...


class Visit:
    """One media socket from its upgrade to its end."""

    def __init__(self, gate: MediaGate, entry: Entry, outlet: Outlet, spawn: Spawn) -> None:
        """The socket is open. The transport calls `deliver`, `dropped` and, exactly once, `lost`."""
        self.deliver: Callable[[bytes], None] = self._at_the_door
        """What to do with a text frame. Changes with admission: ask for it with every frame."""
        self._gate = gate
        self._entry = entry
        self._outlet = outlet
        self._spawn = spawn
        self._wire = entry.carrier.wire()
        self._listener: MediaListener | None = None
        self._closed_with: int | None = None
        self._held: list[bytes | DropReason] = []
        now = gate.clocks.now()
        self._door: Door | None = Door(
            self._wire, gate.settings.sockets, url_token=entry.url_token, now=now
        )
        self._alarm = asyncio.get_running_loop().call_later(
            self._door.deadline - now, self._overdue
        )
        gate.opened(outlet)

    # ---------------------------------------------------------------------- what transports report

    def dropped(self, reason: DropReason) -> None:
        """A frame arrived that cannot be handed on."""
        if self._listener is not None:
            self._listener.dropped(reason)
        elif self._door is not None:
            self._turn_away(self._door.junk(reason))
        else:
            self._held.append(reason)

    def flooded(self) -> None:
        """More bytes arrived than a stranger may send."""
        if self._door is not None:
            self._turn_away(self._door.junk("too_much"))

    def failed(self) -> None:
        """A listener raised, which it must not. To be called from the `except` clause."""
        logger.exception(
            "media.listener_failed carrier=%s",
            self._entry.carrier.name,
            exc_info=without_text(sys.exception()),
        )
        self.deliver = _ignore
        self._outlet.close(_INTERNAL_ERROR, "")

    def lost(self, code: int) -> None:
        """The socket is gone: the close code that was received, else the one sent, else 1006."""
        if self._closed_with is not None:
            return
        self._closed_with = code
        self._alarm.cancel()
        self._entry.place.leave()
        self._gate.gone(self._outlet)
        self._door = None
        self.deliver = _ignore
        if self._listener is not None:
            self._listener.closed(code)

    # -------------------------------------------------------------------------------- at the door

    def _at_the_door(self, frame: bytes) -> None:
        if self._door is None:
            return
        match self._door.received(frame, now=self._gate.clocks.now()):
            case Waiting():
                pass
            case Refused() as refused:
                self._turn_away(refused)
            case Knock(started, token):
                self._door = None
                self.deliver = self._held.append
                self._outlet.hold()
                if self._gate.switchboard.is_expected(self._entry.reference, token):
                    self._alarm.cancel()  # the call's id may take longer to arrive than a stranger may
                self._spawn(self._admit(started, token))

    def _overdue(self) -> None:
        # A timer may fire a clock tick early; the door was built to be asked at its deadline.
        self._turn_away(Refused("late"))

    def _turn_away(self, refused: Refused) -> None:
        self._door = None
        self.deliver = _ignore
        self._alarm.cancel()
        logger.warning(
            "media.refused carrier=%s reason=%s", self._entry.carrier.name, refused.reason
        )
        self._outlet.release()
        self._outlet.close(_REFUSED, "refused")

    async def _admit(self, started: StreamStarted, token: str) -> None:
        entry = self._entry
        try:
            listener = await self._gate.switchboard.admit(
                entry.carrier,
                self._wire,
                started,
                reference=entry.reference,
                token=token,
                socket=self._outlet,
            )
        except Exception as error:
            logger.exception(
                "media.admission_failed carrier=%s",
                entry.carrier.name,
                exc_info=without_text(error),
            )
            self._outlet.release()
            self._outlet.close(_INTERNAL_ERROR, "")
            return
        if listener is None:
            self._turn_away(Refused("token"))
            return
        try:
            self._hand_over(listener)
        except Exception:  # noqa: BLE001 - the top of this task
            self.failed()

    def _hand_over(self, listener: MediaListener) -> None:
        self._alarm.cancel()
        self._entry.place.prove()
        self._listener = listener
        self.deliver = listener.received
        self._outlet.admitted()
        self._outlet.release()
        held, self._held = self._held, []
        try:
            for item in held:
                match item:
                    case bytes():
                        listener.received(item)
                    case reason:
                        listener.dropped(reason)
        finally:
            if self._closed_with is not None:
                listener.closed(self._closed_with)


def _ignore(_frame: bytes) -> None:
    """What becomes of frames of a socket that was turned away."""
