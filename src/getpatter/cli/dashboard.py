"""`getpatter dashboard`: the calls of every `serve()` of this machine, and those on disk, on a page of their own."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from getpatter import config
from getpatter.cli.screen import Screen
from getpatter.dashboard.board import Board
from getpatter.dashboard.ingest import ingest_route
from getpatter.dashboard.notice import Beacon
from getpatter.dashboard.routes import api_routes, dashboard_routes, page_routes
from getpatter.dashboard.store import MetricsStore
from getpatter.errors import PatterConfigError, PatterConnectionError
from getpatter.server.access import Access
from getpatter.server.health import health_route

if TYPE_CHECKING:
    from starlette.requests import Request

_HIGHEST_PORT: Final = 65535
_TRIES: Final = 5
_BACKLOG: Final = 128
_MOST_CALLS: Final = 2000


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not 0 <= options.port <= _HIGHEST_PORT:
        raise PatterConfigError(f"port must be 0 to 65535, got {options.port}")
    if not options.token and not _is_loopback(options.host):
        raise PatterConfigError(
            f"whoever reaches {options.host} could see the calls: pass --token, or leave --host out"
        )
    root = config.persist_root(options.root)
    standalone = Standalone(
        options.host, options.port, options.token, root, Screen(no_color=options.no_color)
    )
    asyncio.run(standalone.serve())
    return 0


@dataclass(slots=True)
class Standalone:
    """A dashboard without a phone."""

    host: str
    port: int
    token: str
    root: Path | None
    screen: Screen

    async def serve(self) -> None:
        """Serve until the process is told to end."""
        store = MetricsStore(_MOST_CALLS)
        restored = await store.hydrate_async(self.root) if self.root is not None else 0
        listener = _listening(self.host, self.port)
        port: int = listener.getsockname()[1]
        beacon, board = Beacon(), Board(store, root=self.root)

        def end() -> None:
            board.close()
            beacon.put_out()

        server = _Server(
            uvicorn.Config(
                self._app(board, store, beacon),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            ),
            end,
        )
        try:
            is_told = await _lit(beacon, port)
            self._greet(port, restored, is_told=is_told)
            await server.serve([listener])
        finally:
            end()
            listener.close()

    def _app(self, board: Board, store: MetricsStore, beacon: Beacon) -> Starlette:
        guard = Access(token=self.token).guard
        return Starlette(
            routes=[
                health_route(lambda: False),
                ingest_route(store, beacon.token),
                *page_routes(guard),
                *dashboard_routes(board, guard),
                *api_routes(board, guard),
            ],
            exception_handlers={HTTPException: _http_error},
        )

    def _greet(self, port: int, restored: int, *, is_told: bool) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.screen.line(f"Dashboard: http://{host}:{port}/dashboard  (Ctrl-C ends it)")
        if self.token:
            self.screen.line("A browser signs in once with ?token=... at the end of that address.")
        where = f"{restored} calls from {self.root}" if self.root is not None else "no history"
        self.screen.line(f"{where}; calls of serve() on this machine appear when they begin")
        if not is_told:
            self.screen.line("Another dashboard runs already: new calls are shown there only.")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that accepts, before anybody is told of it.

    Raises:
        PatterConnectionError: the port cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PatterConnectionError(
            f"port {port} on {host} cannot be had ({error.strerror}): choose another one with --port"
        ) from error
    return listener


async def _lit(beacon: Beacon, port: int) -> bool:
    """Whether `serve()` finds us. Who looks for a dashboard holds the file for an instant."""
    for _ in range(_TRIES):
        if await asyncio.to_thread(beacon.light, port):
            return True
        await asyncio.sleep(0.05)
    return False


class _Server(uvicorn.Server):
    """uvicorn, which ends the pages that watch before it waits for them."""

    def __init__(self, settings: uvicorn.Config, end: Callable[[], None]) -> None:
        super().__init__(settings)
        self._end = end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The process was told to end."""
        self._end()
        await super().shutdown(sockets)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for nothing else"
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
