"""The seam between the server, which has sockets, and a call, which has a conversation."""

from __future__ import annotations

from typing import Protocol

from getpatter.carriers.base import (
    CallArrived,
    Carrier,
    MediaWire,
    Stream,
    StreamStarted,
    TransferOver,
    WebhookEvent,
)
from getpatter.net.messages import WebhookReply


class MediaSocket(Protocol):
    """One open WebSocket of a carrier, as a call sees it. Nothing here ever waits."""

    def send(self, frame: bytes) -> None:
        """Queue one text frame. Does nothing once the socket is closing."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, then close. Idempotent."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in the transport because the peer reads slowly."""
        ...


class MediaListener(Protocol):
    """A call, as the server sees it. Called on the event loop; must return at once and never raise."""

    def received(self, frame: bytes) -> None:
        """One text frame arrived (at most 256 KiB; longer ones were dropped and counted)."""
        ...

    def dropped(self, reason: str) -> None:
        """A frame arrived that cannot be handed on: binary, or too long."""
        ...

    def closed(self, code: int) -> None:
        """The socket is gone; called exactly once. 1006 when there was no close frame."""
        ...


class Switchboard(Protocol):
    """All calls of one server. `runtime/exchange.py` has the real one."""

    @property
    def is_stopping(self) -> bool:
        """True from the first step of a shutdown on: no new calls, no new sockets (503)."""
        ...

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        """Register an inbound call and begin warming its providers. `None`: too many calls, say busy.

        Called again for a repeated delivery: a fresh token if the first was not used, no second call.
        """
        ...

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
        """Spend the token and hand the stream to its call. `None`: refused (the server closes with 1008).

        May wait up to 5 s for the id of an outbound call that is still being dialled; frames that arrive
        meanwhile are held back by the server.
        """
        ...

    def is_expected(self, reference: str, token: str) -> bool:
        """Whether this token would be accepted now, without spending it."""
        ...

    def fetch(self, reference: str) -> WebhookReply | None:
        """A document that was kept for the carrier, once. `None`: there is none."""
        ...

    def take_back(self, carrier: Carrier, event: TransferOver) -> Stream | None:
        """A transfer is over: where the caller shall be connected, or `None` when the call is over too."""
        ...

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        """Something else happened at the carrier. Unknown calls are counted and ignored."""
        ...
