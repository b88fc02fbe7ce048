"""A fake service without a port: the socket of a client and the line of a server, joined in memory.

```python
service = FakeRealtime(heard=["A haircut."])
engine = in_memory(OpenAIRealtime(service.key), service)
```

The frames are those of the real wire; only TCP, TLS and the framing of WebSockets are left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from getpatter.core.engine_manners import EngineManners
from getpatter.engines.base import Briefing, Dialect, SpeechEngine
from getpatter.errors import PatterConnectionError, PatterError, WireError
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.net.refusals import refusal
from getpatter.net.sockets import OnClose, OnMessage, SocketRequest
from getpatter.net.tasks import TaskNest
from getpatter.testing.fake_speech import Call, FakeService, HungUpError

__all__ = ["MemoryLine", "MemorySocket", "in_memory"]

_NO_CLOSE_FRAME: Final = 1006


class MemorySocket:
    """The client's end; speaks like `net.sockets.WebSocket`."""

    def __init__(self, vendor: str) -> None:
        """Made by `in_memory`."""
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self._line: MemoryLine | None = None
        self._waiting: deque[str | bytes] = deque()
        self._on_message: OnMessage | None = None
        self._on_close: OnClose | None = None
        self._is_gone = False
        self._error: PatterError | None = None
        self._is_ours_to_end = False

    def join(self, line: MemoryLine) -> None:
        """The server's end is there."""
        self._line = line

    @property
    def is_open(self) -> bool:
        """Whether `send` still reaches the peer."""
        return not self._is_gone

    def send(self, message: str | bytes) -> bool:
        """Queue a message."""
        if self._is_gone or self._line is None:
            return False
        self._line.arrived(message)
        return True

    def send_text(self, message: bytes) -> bool:
        """Queue a text message that is UTF-8 already."""
        return self.send(message.decode())

    def listen(self, on_message: OnMessage, on_close: OnClose | None = None) -> None:
        """Have everything told."""
        self._on_message, self._on_close = on_message, on_close
        while self._waiting:
            self._tell(self._waiting.popleft())
        if self._is_gone and on_close is not None:
            self._loop.call_soon(on_close, self._error)

    def deliver(self, message: str | bytes) -> None:
        """The server said something."""
        self._loop.call_soon(self._delivered, message)

    def _delivered(self, message: str | bytes) -> None:
        if self._is_gone:
            return
        if self._on_message is None:
            self._waiting.append(message)
        else:
            self._tell(message)

    def _tell(self, message: str | bytes) -> None:
        assert self._on_message is not None, "somebody listens"
        try:
            self._on_message(message)
        except WireError as error:
            raise AssertionError(f"the fake service broke the protocol: {error}") from error

    def ended(self, code: int, reason: str = "") -> None:
        """The server hung up."""
        self._loop.call_soon(self._lost, code, reason)

    def _lost(self, code: int, reason: str) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        if code != 1000 and not self._is_ours_to_end:  # noqa: PLR2004 - RFC 6455, 7.4
            what = "the connection was lost" if code == _NO_CLOSE_FRAME else f"{code} {reason}"
            self._error = PatterConnectionError(
                f"{self._vendor}: {what}", vendor=self._vendor, status=code
            )
        if self._on_close is not None:
            self._on_close(self._error)

    async def close(self, code: int = 1000, reason: str = "", *, limit_s: float = 2.0) -> None:
        """Hang up."""
        del limit_s, reason
        self._end(code)

    def abort(self) -> None:
        """Hang up without a word."""
        self._end(_NO_CLOSE_FRAME)

    def _end(self, code: int) -> None:
        if self._is_gone:
            return
        self._is_ours_to_end = True
        if self._line is not None:
            self._line.hung_up(code)
        self._lost(code, "")


class MemoryLine:
    """The server's end; speaks like the fake services' own `Line`."""

    def __init__(self, socket: MemorySocket) -> None:
        """Made by `in_memory`."""
        self._socket = socket
        self._inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.close_code = 0
        self.is_closed = False

    def arrived(self, message: str | bytes) -> None:
        """The client said something."""
        self._inbox.put_nowait(message)

    def hung_up(self, code: int) -> None:
        """The client is gone."""
        self.close_code = code
        self.is_closed = True
        self._inbox.put_nowait(None)

    async def receive(self) -> str | bytes:
        """The next message. Raises `HungUpError` when the client closes."""
        message = await self._inbox.get()
        if message is None:
            raise HungUpError
        return message

    async def send(self, message: str | bytes) -> None:
        """A message."""
        if self.is_closed:
            raise HungUpError
        self._socket.deliver(message)

    async def say(self, message: Mapping[str, object]) -> None:
        """A message of JSON."""
        await self.send(msgspec.json.encode(message).decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye."""
        if not self.is_closed:
            self.is_closed = True
            self._socket.ended(code, reason)
            self._inbox.put_nowait(None)

    def drop(self) -> None:
        """Go without a word."""
        if not self.is_closed:
            self.is_closed = True
            self._socket.ended(_NO_CLOSE_FRAME)
            self._inbox.put_nowait(None)


class _InMemory:
    """An engine that reaches a fake service without a port."""

    def __init__(self, engine: SpeechEngine, service: FakeService) -> None:
        self._engine = engine
        self._service = service
        self._tasks = TaskNest("fake service in memory")
        self.connections = 0

    @property
    def kind(self) -> str:
        return self._engine.kind

    @property
    def provider_key(self) -> str:
        return self._engine.provider_key

    def manners(self, briefing: Briefing) -> EngineManners:
        return self._engine.manners(briefing)

    def dialect(self, briefing: Briefing) -> Dialect:
        return self._engine.dialect(briefing)

    async def open_socket(self, request: SocketRequest) -> Any:
        """What `WebSocket.connect` would return, or raise."""
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call("GET", parts.path, parse_qs(parts.query), headers)
        service = self._service
        service.calls.append(call)
        service.connections += 1
        refused = service.refusals.pop(0) if service.refusals else service.may_enter(call)
        if refused is not None:
            raise refusal(
                request.vendor,
                refused.status,
                refused.body.decode(),
                headers=dict(refused.headers),
                secrets=(),
            )
        socket = MemorySocket(request.vendor)
        line = MemoryLine(socket)
        socket.join(line)
        self._tasks.spawn(self._talk(call, line), "conversation")
        return socket

    async def run_exchange(self, exchange: Exchange[Any]) -> Any:
        """HTTP, answered by the service's `answer_http(request)`."""
        answer: Callable[[HttpRequest], HttpResponse] | None
        answer = getattr(self._service, "answer_http", None)
        try:
            request = next(exchange)
            while True:
                assert answer is not None, "this service has no HTTP in memory"
                request = exchange.send(answer(request))
        except StopIteration as stop:
            return stop.value

    async def _talk(self, call: Call, line: MemoryLine) -> None:
        with suppress(HungUpError):
            await self._service.talk(call, line)  # type: ignore[arg-type]  # it has the same methods
        self._service.close_codes.append(line.close_code)

    def __deepcopy__(self, memo: object) -> Self:
        return self


def in_memory(engine: SpeechEngine, service: FakeService) -> Any:
    """`engine`, connected to `service` without a socket: for `agent(engine=...)` in tests of virtual time."""
    return _InMemory(engine, service)
