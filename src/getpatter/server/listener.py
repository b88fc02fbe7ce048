"""The HTTP server of one process: uvicorn's HTTP parser, our media sockets, no global set-up.

It installs no signal handler and no log configuration, and it ends in the documented order: close frames
(1001), a bounded wait, cut, then the port.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from getpatter.errors import PatterConnectionError
from getpatter.server.app import PhoneApp
from getpatter.server.fast import media_protocol

logger = logging.getLogger(__name__)

_GOING_AWAY: Final = 1001
_LAST_REQUESTS_SECONDS: Final = 2.0
_BACKLOG: Final = 2048


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What to give to `asyncio.Runner` for the fastest loop there is; `None` means asyncio's own."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


class HttpServer:
    """Serves one `PhoneApp` on one port.

    `run()` in a task of yours; `await started()`; `await stop()`. One run per object.
    """

    def __init__(
        self,
        app: PhoneApp,
        *,
        bind_host: str = "127.0.0.1",
        port: int = 8000,
        drain_seconds: float = 10.0,
        request_seconds: float = 10.0,
    ) -> None:
        """Port 0 takes any free one.

        `drain_seconds`: how long peers have to leave at a shutdown; `request_seconds`: how long a new
        connection has to say what it wants.
        """
        self.port = port
        """The port in use, once started."""
        self._app = app
        self._bind_host = bind_host
        self._drain_seconds = drain_seconds
        self._request_seconds = request_seconds
        self._failure: PatterConnectionError | None = None
        self._settled = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()

    async def run(self) -> None:
        """Listen until `stop()`. Frees everything however it ends.

        Raises:
            PatterConnectionError: the port cannot be had.
        """
        self._finished.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks)
        except BaseExceptionGroup as group:
            raise _only(group) from group
        finally:
            if not self._settled.is_set():
                self._failure = PatterConnectionError("the server ended before it had started")
                self._settled.set()
            self._finished.set()

    async def started(self) -> int:
        """Wait until requests are accepted; returns the port.

        Raises:
            PatterConnectionError: they never will be.
        """
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        return self.port

    async def stop(self) -> None:
        """Close every socket with 1001 `Server shutting down`, wait, cut, free the port. Idempotent."""
        self._stop_asked.set()
        await self._finished.wait()

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        connections = _Connections(self._app, tasks, self._request_seconds)
        try:
            server = await loop.create_server(
                connections.make, self._bind_host, self.port, backlog=_BACKLOG
            )
        except OSError as exc:
            self._failure = _cannot_listen(exc, self._bind_host, self.port)
            self._settled.set()
            raise self._failure from exc
        gate = self._app.gate
        try:
            self.port = server.sockets[0].getsockname()[1]
            self._settled.set()
            logger.info("server.started host=%s port=%d", self._bind_host, self.port)
            await self._stop_asked.wait()
            await gate.close_all(_GOING_AWAY, "Server shutting down", within=self._drain_seconds)
            server.close()
            await connections.finish(within=_LAST_REQUESTS_SECONDS)
        finally:
            server.close()
            gate.abort_all()
            connections.abort()
            logger.info("server.stopped port=%d", self.port)


class _Connections:
    """Makes and ends the connections of one run."""

    def __init__(self, app: PhoneApp, tasks: asyncio.TaskGroup, request_seconds: float) -> None:
        self._request_seconds = request_seconds
        self._unix = app.gate.clocks.unix
        self._config = Config(
            app,
            ws=media_protocol(app.gate, tasks.create_task),
            http=_Http,
            lifespan="off",
            log_config=None,
            proxy_headers=False,  # whom to trust is decided in limits.py
            server_header=False,
        )
        self._config.load()
        self._state = ServerState()

    def make(self) -> asyncio.Protocol:
        """A connection has come."""
        date = formatdate(self._unix(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        http = _Http(self._config, self._state, {}, asyncio.get_running_loop())
        http.request_seconds = self._request_seconds
        return http

    async def finish(self, *, within: float) -> None:
        """Let requests that are being answered end, for so many seconds."""
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=within)

    def abort(self) -> None:
        """End everything now."""
        for task in list(self._state.tasks):
            task.cancel("the server is shutting down")
        for connection in list(self._state.connections):
            if isinstance(connection, _Http):
                connection.transport.abort()


class _Http(H11Protocol):
    """uvicorn's HTTP, without an access log (which would show query strings), and impatient."""

    request_seconds = 10.0
    _alarm: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request must come soon: a silent connection would be held for ever."""
        super().connection_made(transport)
        self._alarm = self.loop.call_later(self.request_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has gone."""
        self._no_alarm()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Bytes have arrived."""
        super().handle_events()
        if self._has_request():
            self._no_alarm()

    def _give_up(self) -> None:
        if not self._has_request():
            self.transport.close()

    def _has_request(self) -> bool:
        return getattr(self, "scope", None) is not None

    def _no_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _cannot_listen(exc: OSError, host: str, port: int) -> PatterConnectionError:
    if exc.errno == errno.EADDRINUSE:
        return PatterConnectionError(
            f"port {port} on {host} is in use: stop the program that has it, or choose another one"
            " with serve(port=...)"
        )
    return PatterConnectionError(
        f"cannot listen on {host} port {port} ({exc.strerror or exc}): check PATTER_BIND_HOST and"
        " serve(port=...)"
    )


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error inside, when there is one only: nobody expects a group of a single task."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
