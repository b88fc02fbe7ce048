"""How a simulated carrier reaches the server under test: over loopback sockets, or through memory alone.

Carriers call public names such as `https://agent.example`. Here every name leads to one server, and what was
signed for the public name stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from getpatter.errors import PatterError
from getpatter.net.sockets import WebSocket
from getpatter.net.tasks import TaskNest

if TYPE_CHECKING:
    from starlette.requests import Request

OnFrame = Callable[[str | bytes], None]
"""Told each frame: text as `str`, binary as `bytes`."""
OnClose = Callable[[int], None]
"""Told once that the socket is gone, with the close code of the server; 1006 without one."""

AsgiApp = Callable[[Any, Any, Any], Any]

_NO_CLOSE_FRAME: Final = 1006
_WEBHOOK_LIMIT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered to a webhook. Status 0: nothing."""

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)


class UpgradeRefusedError(Exception):
    """The server would not open the socket."""

    def __init__(self, status: int, reason: str = "") -> None:
        """`status` is that of HTTP; 0 when there was no answer."""
        super().__init__(f"upgrade refused: {status} {reason}".rstrip())
        self.status = status


class Link(Protocol):
    """The carrier's end of an open socket."""

    def send(self, frame: str | bytes) -> None:
        """Queue a text frame (`str`) or a binary one."""
        ...

    def close(self, code: int = 1000) -> None:
        """Say goodbye and go."""
        ...

    def cut(self) -> None:
        """Go without a word."""
        ...


class Network(Protocol):
    """The way from the carrier to the server."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a webhook."""
        ...

    async def open(
        self, url: str, headers: Mapping[str, str], on_frame: OnFrame, on_close: OnClose
    ) -> Link:
        """Open a media socket. Raises `UpgradeRefusedError`."""
        ...

    async def close(self) -> None:
        """Let everything go."""
        ...


# ------------------------------------------------------------------------------------------ loopback


class Loopback:
    """Real HTTP and real WebSockets to a server on this machine."""

    def __init__(self, server: str = "127.0.0.1:8000") -> None:
        """`server`: address and port that all public names lead to; may be set later."""
        self.server = server
        self._client: httpx.AsyncClient | None = None
        self._tasks = TaskNest("carrier network")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a webhook; status 0 when nobody answers within 15 s."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_WEBHOOK_LIMIT_S, trust_env=False)
        parts = urlsplit(url)
        try:
            response = await self._client.post(
                f"http://{self.server}{_target(url)}",
                content=body,
                headers={**headers, "host": parts.netloc},
            )
        except httpx.HTTPError:
            return Answer(0)
        return Answer(
            response.status_code, response.headers.get("content-type", ""), response.content
        )

    async def open(
        self, url: str, headers: Mapping[str, str], on_frame: OnFrame, on_close: OnClose
    ) -> Link:
        """Open a media socket."""
        try:
            socket = await WebSocket.open(
                f"ws://{self.server}{_target(url)}",
                headers=headers,
                vendor="server",
                ping_every=None,
            )
        except PatterError as refused:
            raise UpgradeRefusedError(refused.status or 0, str(refused)) from refused
        socket.listen(on_frame, lambda _error: on_close(socket.close_code or _NO_CLOSE_FRAME))
        return _SocketLink(socket, self._tasks)

    async def close(self) -> None:
        """Let everything go."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        await self._tasks.close()


class _SocketLink:
    def __init__(self, socket: WebSocket, tasks: TaskNest) -> None:
        self._socket = socket
        self._tasks = tasks

    def send(self, frame: str | bytes) -> None:
        self._socket.send(frame)

    def close(self, code: int = 1000) -> None:
        if not self._tasks.is_closed:
            self._tasks.spawn(self._socket.close(code), "close")

    def cut(self) -> None:
        self._socket.abort()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


# ------------------------------------------------------------------------------------------ in memory


class InMemory:
    """An ASGI application called directly: no socket, so a call can run in virtual time."""

    def __init__(self, app: AsgiApp) -> None:
        """`app`: the server under test."""
        self._app = app
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app))
        self._tasks = TaskNest("carrier network")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a webhook."""
        response = await self._client.post(url, content=body, headers=dict(headers))
        return Answer(
            response.status_code, response.headers.get("content-type", ""), response.content
        )

    async def open(
        self, url: str, headers: Mapping[str, str], on_frame: OnFrame, on_close: OnClose
    ) -> Link:
        """Open a media socket."""
        link = _AsgiLink(on_frame, on_close)
        self._tasks.spawn(link.run(self._app, _websocket_scope(url, headers)), "socket")
        await link.opened
        return link

    async def close(self) -> None:
        """Let everything go."""
        await self._tasks.close()
        await self._client.aclose()


class _AsgiLink:
    """The client's side of an ASGI WebSocket."""

    def __init__(self, on_frame: OnFrame, on_close: OnClose) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_frame = on_frame
        self._on_close = on_close
        self._status = 403
        self._is_gone = False
        self._inbox: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})

    async def run(self, app: AsgiApp, scope: Mapping[str, object]) -> None:
        try:
            await app(scope, self._inbox.get, self._told)
        finally:
            if not self.opened.done():
                self.opened.set_exception(UpgradeRefusedError(self._status))
            else:
                self._gone(_NO_CLOSE_FRAME)

    async def _told(self, message: MutableMapping[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept":
                self.opened.set_result(None)
            case "websocket.send":
                text = message.get("text")
                self._on_frame(text if text is not None else message["bytes"])
            case "websocket.close":
                if self.opened.done():
                    self._gone(int(message.get("code") or 1000))
                    self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
            case "websocket.http.response.start":
                self._status = int(message["status"])
            case _:
                pass

    def _gone(self, code: int) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._on_close(code)

    def send(self, frame: str | bytes) -> None:
        if not self._is_gone:
            kind = "text" if isinstance(frame, str) else "bytes"
            self._inbox.put_nowait({"type": "websocket.receive", kind: frame})

    def close(self, code: int = 1000) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})
        self._gone(code)

    def cut(self) -> None:
        self.close(_NO_CLOSE_FRAME)


def _websocket_scope(url: str, headers: Mapping[str, str]) -> dict[str, object]:
    parts = urlsplit(url)
    sent = {"host": parts.netloc, "upgrade": "websocket", "connection": "Upgrade", **headers}
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 40000),
        "server": (parts.hostname, 443),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


# ------------------------------------------------------------------------------------- lost answers


class LostAnswers:
    """Which REST requests are obeyed without the answer ever arriving: the worst thing a network does."""

    def __init__(self) -> None:
        """None, until `lose_next`."""
        self._operations: list[str] = []

    def lose_next(self, operation: str = "") -> None:
        """Lose the answer to one request to come, the next of `operation` if one is named."""
        self._operations.append(operation)

    async def keep_waiting(self, request: Request, operation: str) -> None:
        """Before an answer is sent: returns at once, or when whoever asked has given up."""
        for wanted in ("", operation):
            if wanted in self._operations:
                self._operations.remove(wanted)
                await request.receive()
                return


# -------------------------------------------------------------------------------------------- a server


class LocalServer:
    """Serves an ASGI application on a free loopback port."""

    def __init__(self, app: AsgiApp) -> None:
        """Listens between `start` and `stop`."""
        self._config = Config(
            app, ws="none", lifespan="off", log_config=None, access_log=False, http=H11Protocol
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        self._config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: H11Protocol(self._config, self._state, {}, loop), "127.0.0.1", port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            if isinstance(connection, H11Protocol):
                connection.transport.abort()
        if self._state.tasks:
            for task in list(self._state.tasks):
                task.cancel()
            await asyncio.wait(list(self._state.tasks))
        self._server = None
