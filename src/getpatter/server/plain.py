"""Media sockets over any ASGI server: what carries a call when the application is mounted in another one.

Spec: https://asgi.readthedocs.io/en/latest/specs/www.html#websocket. One task reads, one writes; frames to
send wait in a bounded queue.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING

from getpatter.server.gate import Entry, MediaGate
from getpatter.server.limits import Refusal, SocketLimits
from getpatter.server.media import NO_CLOSE_FRAME, Visit

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)


async def refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Answer an upgrade request with an HTTP status; 403 from servers that cannot do better."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail})
        return
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        **refusal.headers,
    }
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})


async def carry(gate: MediaGate, entry: Entry, receive: Receive, send: Send) -> None:
    """Accept the socket and serve it to its end."""
    socket = PlainSocket(gate.settings.sockets)
    try:
        await send({"type": "websocket.accept"})
        async with asyncio.TaskGroup() as tasks:
            visit = Visit(gate, entry, socket, tasks.create_task)
            try:
                reader = tasks.create_task(socket.read(visit, receive))
                writer = tasks.create_task(socket.write(send))
                await socket.over()
                reader.cancel()
                writer.cancel()
            finally:
                socket.ended()
                visit.lost(socket.closed_with)
    finally:
        entry.place.leave()


class PlainSocket:
    """One ASGI WebSocket as a call sees it."""

    def __init__(self, limits: SocketLimits) -> None:
        self.closed_with = NO_CLOSE_FRAME
        """The close code received, else the one sent."""
        self._limits = limits
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._goodbye: tuple[int, str] | None = None
        self._has_work = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._over = asyncio.Event()
        self._hang_up: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------ what calls use

    def send(self, frame: bytes) -> None:
        """Queue one text frame. A peer that reads too slowly is cut off."""
        if self._goodbye is not None or self._over.is_set():
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        self._has_work.set()
        if self._queued_bytes > self._limits.unsent_bytes:
            logger.warning("media.peer_too_slow unsent_bytes=%d", self._queued_bytes)
            self.abort()

    def close(self, code: int, reason: str = "") -> None:
        """Send what is queued, then a close frame. Idempotent."""
        if self._goodbye is None:
            self._goodbye = (code, reason)
            self._has_work.set()
            loop = asyncio.get_running_loop()
            self._hang_up = loop.call_later(self._limits.close_seconds, self.abort)

    def abort(self) -> None:
        """Give the socket up now."""
        self._over.set()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the server to take them."""
        return self._queued_bytes

    def hold(self) -> None:
        """Stop reading."""
        self._may_read.clear()

    def release(self) -> None:
        """Read again."""
        self._may_read.set()

    def admitted(self) -> None:
        """Nothing changes here: the server behind us decides what it buffers."""

    # ------------------------------------------------------------------------------ its two tasks

    async def over(self) -> None:
        """Wait until the socket has ended."""
        await self._over.wait()

    def ended(self) -> None:
        """No timer is needed any more."""
        self._over.set()
        if self._hang_up is not None:
            self._hang_up.cancel()

    async def read(self, visit: Visit, receive: Receive) -> None:
        """Hand frames to the visit until the peer is gone."""
        while True:
            await self._may_read.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                if self.closed_with == NO_CLOSE_FRAME:
                    self.closed_with = int(message.get("code") or NO_CLOSE_FRAME)
                self.abort()
                return
            try:
                self._take(visit, message.get("text"))
            except Exception:  # noqa: BLE001 - one call's listener must not take the server with it
                visit.failed()

    def _take(self, visit: Visit, text: str | None) -> None:
        if text is None:
            visit.dropped("binary")
            return
        frame = text.encode()
        if len(frame) > self._limits.frame_bytes:
            visit.dropped("too_long")
        else:
            visit.deliver(frame)

    async def write(self, send: Send) -> None:
        """Send what is queued, one frame at a time, then the close frame."""
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    await send({"type": "websocket.send", "text": frame.decode()})
                    self._queued_bytes -= len(frame)
                if self._goodbye is not None:
                    code, reason = self._goodbye
                    self.closed_with = code
                    await send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._has_work.clear()
                await self._has_work.wait()
        except (OSError, RuntimeError):  # servers differ in what they raise when the peer has gone
            self.abort()
