"""Sockets that are open before anybody needs them.

Name, TCP, TLS and upgrade cost several round trips. A call's first webhook arrives a second before its media
socket: time enough to have the provider's socket waiting. `warm` begins to open one and returns at once; `take` hands
it out, or opens one if there is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from getpatter.errors import CallEndedError, PatterError
from getpatter.net.sockets import SocketRequest, WebSocket
from getpatter.net.tasks import TaskNest
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

KEEP_S: Final = 30.0
MOST: Final = 64


@dataclass(slots=True, eq=False)
class _Parked:
    request: SocketRequest
    opening: asyncio.Task[WebSocket]
    expiry: asyncio.TimerHandle | None = None
    pulse: asyncio.TimerHandle | None = None

    def unwatch(self) -> None:
        for timer in (self.expiry, self.pulse):
            if timer is not None:
                timer.cancel()


class WarmSockets:
    """A pool of open, unused sockets. A socket is handed out once and never comes back."""

    def __init__(self, *, keep_s: float = KEEP_S, most: int = MOST) -> None:
        """Keep a socket that nobody takes for `keep_s` seconds, and `most` of them at any time."""
        self._keep_s = keep_s
        self._most = most
        self._parked: dict[tuple[object, ...], deque[_Parked]] = {}
        self._nest = TaskNest("warm sockets", on_error=self._opening_failed)
        self._is_closed = False

    def __len__(self) -> int:
        return sum(len(each) for each in self._parked.values())

    def warm(self, request: SocketRequest) -> None:
        """Begin to open a socket for `request`. Returns at once; does nothing when the pool is full or closed."""
        if self._is_closed or len(self) >= self._most:
            return
        opening = self._nest.spawn(WebSocket.connect(request), f"opening {request.vendor}")
        parked = _Parked(request, opening)
        loop = asyncio.get_running_loop()
        parked.expiry = loop.call_later(self._keep_s, self._expire, parked)
        self._parked.setdefault(request.key, deque()).append(parked)
        opening.add_done_callback(lambda _: self._opened(parked))

    async def take(self, request: SocketRequest) -> WebSocket:
        """An open socket for `request`: a warm one, one that is being opened, or a new one.

        Raises:
            AuthenticationError: the peer refuses our credentials.
            RateLimitError: it wants no more of us.
            PatterConnectionError: it could not be reached.
        """
        while (parked := self._unpark(request)) is not None:
            socket = await self._outcome(parked)
            if socket is not None and socket.is_open:
                return socket
        return await WebSocket.connect(request)

    async def aclose(self) -> None:
        """Close every socket that nobody took. Idempotent."""
        self._is_closed = True
        left = [parked for each in self._parked.values() for parked in each]
        self._parked.clear()
        for parked in left:
            parked.unwatch()
        sockets = [_socket_of(parked) for parked in left]
        await self._nest.close()
        await asyncio.gather(*(socket.close() for socket in sockets if socket is not None))

    # ---------------------------------------------------------------------------------------- inside

    def _unpark(self, request: SocketRequest) -> _Parked | None:
        parked = self._parked.get(request.key)
        if not parked:
            return None
        first = parked.popleft()
        if not parked:
            del self._parked[request.key]
        first.unwatch()
        return first

    async def _outcome(self, parked: _Parked) -> WebSocket | None:
        """The socket, or `None` where a new attempt may do better."""
        try:
            return await asyncio.shield(parked.opening)
        except PatterError as error:
            if not error.retryable:
                raise
            return None
        except asyncio.CancelledError:
            if parked.opening.cancelled():  # the pool was closed
                raise CallEndedError("the sockets are closed") from None
            parked.opening.add_done_callback(_abort)
            raise

    def _opened(self, parked: _Parked) -> None:
        socket = _socket_of(parked)
        if parked not in self._parked.get(parked.request.key, ()):
            return
        if socket is None:
            self._remove(parked)
        elif parked.request.keep_alive:
            self._keep_alive(parked, socket)

    def _keep_alive(self, parked: _Parked, socket: WebSocket) -> None:
        if socket.send(parked.request.keep_alive):
            loop = asyncio.get_running_loop()
            parked.pulse = loop.call_later(
                parked.request.keep_alive_every, self._keep_alive, parked, socket
            )

    def _expire(self, parked: _Parked) -> None:
        self._remove(parked)
        socket = _socket_of(parked)
        if socket is not None and not self._is_closed:
            self._nest.spawn(socket.close(), "closing an unused socket")
        elif socket is None:
            parked.opening.cancel()

    def _remove(self, parked: _Parked) -> None:
        parked.unwatch()
        same = self._parked.get(parked.request.key)
        if same is not None and parked in same:
            same.remove(parked)
            if not same:
                del self._parked[parked.request.key]

    def _opening_failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, PatterError):
            logger.info("warm_sockets.failed what=%s reason=%s", name, error)
        else:
            logger.error("warm_sockets.failed what=%s", name, exc_info=without_text(error))


def _socket_of(parked: _Parked) -> WebSocket | None:
    opening = parked.opening
    if not opening.done() or opening.cancelled() or opening.exception() is not None:
        return None
    return opening.result()


def _abort(opening: asyncio.Task[WebSocket]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()
