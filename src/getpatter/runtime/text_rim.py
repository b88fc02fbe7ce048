"""The rim of a call in text: a wire whose marks come back at once, and a phone company that agrees to everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from getpatter.carriers.base import (
    Dial,
    Keep,
    KeyReceived,
    MarkReturned,
    Stream,
    StreamStarted,
    StreamStopped,
    Verdict,
    Warm,
    WarmSteps,
    WebhookEvent,
    WireEvent,
)
from getpatter.errors import PatterConnectionError
from getpatter.net.messages import Exchange, WebhookReply, WebhookRequest
from getpatter.types import MULAW_8K

_T = TypeVar("_T")


class TextWire:
    """Frames that say what they are."""

    format = MULAW_8K

    def receive(self, frame: bytes) -> WireEvent | None:
        """Read a frame."""
        what, _, rest = frame.decode().partition(" ")
        match what:
            case "mark":
                return MarkReturned(rest)
            case "key":
                return KeyReceived(rest)
            case "stop":
                return StreamStopped()
            case _:
                return None

    def resume(self, started: StreamStarted) -> None:
        """Nothing to remember."""

    def audio(self, data: bytes) -> bytes:
        """Sound that nobody hears."""
        del data
        return b"audio"

    def mark(self, name: str) -> bytes:
        """Comes back at once."""
        return b"mark " + name.encode()

    def clear(self) -> bytes:
        """Nothing is queued."""
        return b"clear"


class TextSocket:
    """The caller's end: has heard everything as soon as it is sent."""

    unsent_bytes = 0

    def __init__(self) -> None:
        self.received: Callable[[bytes], None] = lambda _: None
        self._loop = asyncio.get_running_loop()

    def send(self, frame: bytes) -> None:
        """Hear it: a mark is there as soon as it was sent."""
        if frame.startswith(b"mark "):
            self._loop.call_soon(self.received, frame)

    def close(self, code: int, reason: str = "") -> None:
        """Nothing to close."""
        del code, reason


def _agreed(result: _T) -> Exchange[_T]:
    """A carrier that agrees without being asked over the network."""
    yield from ()
    return result


class TextCarrier:
    """A phone company that agrees to everything and calls nobody."""

    name: ClassVar[str] = "test"
    names_calls_late: ClassVar[bool] = False
    webhook_kinds: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, keyed: Callable[[str], None], connected: Callable[[], None]) -> None:
        """`keyed` is told keys that the agent presses, `connected` that somebody has taken the caller."""
        self._keyed = keyed
        self._connected = connected

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        """Nobody calls here."""
        del request, host, now
        return Verdict.FORGED

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        """Nobody calls here."""
        del kind, request
        return ()

    def connect(self, stream: Stream) -> WebhookReply:
        """Nobody calls here."""
        del stream
        return WebhookReply(404)

    def reject_busy(self) -> WebhookReply:
        """Nobody calls here."""
        return WebhookReply(404)

    def acknowledge(self, kind: str) -> WebhookReply:
        """Nobody calls here."""
        del kind
        return WebhookReply(404)

    def follow_up(self, call_id: str, stream: Stream | None) -> Exchange[None] | None:
        """Nothing."""
        del call_id, stream
        return None

    def open_stream(self, call_id: str, stream: Stream, *, attempt: int) -> Exchange[None] | None:
        """Nothing."""
        del call_id, stream, attempt
        return None

    def wire(self) -> TextWire:
        """A translator."""
        return TextWire()

    def point_number(self, number: str, *, host: str) -> Exchange[None]:
        """Agreed."""
        del number, host
        return _agreed(None)

    def dial(self, dial: Dial) -> Exchange[str]:
        """Not here.

        Raises:
            PatterConnectionError: always.
        """
        raise PatterConnectionError("a call in text calls nobody")

    def hang_up(self, call_id: str) -> Exchange[None]:
        """Agreed."""
        del call_id
        return _agreed(None)

    def is_alive(self, call_id: str) -> Exchange[bool]:
        """No leg is left behind."""
        del call_id
        return _agreed(result=False)

    def record(self, call_id: str, *, host: str) -> Exchange[None]:
        """Agreed."""
        del call_id, host
        return _agreed(None)

    def limit(self, call_id: str, *, seconds: int) -> Exchange[None]:
        """Agreed."""
        del call_id, seconds
        return _agreed(None)

    def price(self, call_id: str) -> Exchange[float | None] | None:
        """It costs nothing."""
        del call_id
        return None

    def transfer(
        self,
        call_id: str,
        to: str,
        *,
        host: str,
        from_number: str,
        serial: int = 0,
        keep: Keep | None = None,
    ) -> Exchange[None]:
        """Agreed, and somebody answers at once."""
        del call_id, to, host, from_number, serial, keep
        asyncio.get_running_loop().call_soon(self._connected)
        return _agreed(None)

    def warm(self, order: Warm, *, keep: Keep) -> WarmSteps:
        """Agreed, and the target takes the caller at once."""
        del order, keep
        return _TextSteps(self._connected)

    def reconnect(self, call_id: str, stream: Stream, *, keep: Keep) -> Exchange[None]:
        """Nobody comes back."""
        del call_id, stream, keep
        return _agreed(None)

    def send_keys(
        self, call_id: str, digits: str, *, delay_ms: int, serial: int = 0
    ) -> Exchange[None] | None:
        """Show them."""
        del call_id, delay_ms, serial
        self._keyed(digits)
        return _agreed(None)

    def leave_message(
        self, call_id: str, text: str, *, language: str, host: str = "", keep: Keep | None = None
    ) -> Exchange[None]:
        """Agreed."""
        del call_id, text, language, host, keep
        return _agreed(None)


class _TextSteps:
    """A warm transfer to somebody who is there."""

    def __init__(self, connected: Callable[[], None]) -> None:
        self._connected = connected

    def hold(self) -> Exchange[None]:
        return _agreed(None)

    def call_target(self) -> Exchange[str]:
        asyncio.get_running_loop().call_soon(self._connected)
        return _agreed("target")

    def brief(self, target_id: str) -> Exchange[None] | None:
        del target_id
        return None

    def join(self, target_id: str) -> Exchange[None] | None:
        del target_id
        return None

    def resume(self) -> Exchange[None] | None:
        return None


class NoHttp:
    """Runs exchanges that ask for nothing."""

    async def run(self, exchange: Exchange[_T]) -> _T:
        """Its result.

        Raises:
            PatterConnectionError: it asks for something.
        """
        try:
            next(exchange)
        except StopIteration as done:
            result: _T = done.value
            return result
        raise PatterConnectionError("a call in text asks nobody")

    async def aclose(self) -> None:
        """Nothing to give back."""
