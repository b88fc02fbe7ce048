"""What a media socket may do before it has shown its token: a state machine without a socket or a clock.

```
            meaningless frame (at most 4)
              ┌───┐
              │   ▼
  upgrade ──► WAITING ── start frame ──► Knock(started, token) ──► the switchboard decides
                │
                └── anything else, too many bytes, too late ──► Refused
```

Both transports drive it: `received`, `junk` and `overdue` each answer with what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from getpatter.carriers.base import MediaWire, StreamStarted
from getpatter.errors import WireError
from getpatter.server.limits import SocketLimits
from getpatter.types import Instant

_GREETINGS: Final = (
    4  # carriers send one frame ("connected") before the start; unknown ones are harmless
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing to do yet."""


@dataclass(frozen=True, slots=True)
class Knock:
    """The socket has said which call it carries, and what proves it."""

    started: StreamStarted
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Close the socket with 1008. The reason is for our log: the peer learns nothing."""

    reason: str


Decision = Waiting | Knock | Refused
_WAITING: Final = Waiting()


class Door:
    """One socket before its admission. After `Knock` or `Refused` it must not be asked again."""

    __slots__ = ("_bytes_left", "_greetings_left", "_url_token", "_wire", "deadline")

    def __init__(
        self, wire: MediaWire, limits: SocketLimits, *, url_token: str, now: Instant
    ) -> None:
        """`url_token`: from `?token=` of the socket's URL, where the carrier puts it there."""
        self.deadline = Instant(now + limits.proof_seconds)
        """When to ask `overdue`."""
        self._wire = wire
        self._url_token = url_token
        self._bytes_left = limits.stranger_bytes
        self._greetings_left = _GREETINGS

    def received(self, frame: bytes, *, now: Instant) -> Decision:
        """One text frame arrived."""
        if now >= self.deadline:
            return Refused("late")
        self._bytes_left -= len(frame)
        if self._bytes_left < 0:
            return Refused("too_much")
        try:
            event = self._wire.receive(frame)
        except WireError:
            return Refused("malformed")
        match event:
            case StreamStarted(params=params):
                return Knock(event, params.get("token") or self._url_token)
            case None if self._greetings_left > 0:
                self._greetings_left -= 1
                return _WAITING
            case _:
                return Refused("unexpected")

    def junk(self, reason: str) -> Refused:
        """A frame that no carrier sends here: binary, or too long."""
        return Refused(reason)

    def overdue(self, *, now: Instant) -> Decision:
        """Whether time is up."""
        return Refused("late") if now >= self.deadline else _WAITING
