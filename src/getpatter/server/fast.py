"""Media sockets inside uvicorn, framed in C: a third of the CPU of the ASGI way (`benchmarks/server.py`).

uvicorn parses the upgrade request, then hands the connection to a protocol class of our choice
(https://uvicorn.dev, setting `ws`). Ours asks the gate, and gives media sockets to picows' `WSProtocol`
(https://picows.readthedocs.io, whose constructor is not documented API: hence the narrow version pin). The
application has no other WebSockets, so every other path is 404.

```
uvicorn's HTTP ── upgrade ──► UpgradeProtocol ── refused ──► HTTP status, closed
                                    │ let in: bytes are counted until the call has the socket
                                    └──► WSProtocol ── frames ──► FastSocket ──► Visit ──► listener
```
"""

from __future__ import annotations

import asyncio
import binascii
import json
import logging
from base64 import b64decode
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from picows import WSAutoPingStrategy, WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import (  # type: ignore[attr-defined] # exported, but missing in the stub
    WSProtocol,  # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue]
)

from getpatter.net.messages import WebhookRequest
from getpatter.server.gate import NOT_FOUND, Entry, MediaGate, decoded, headers_of
from getpatter.server.limits import Refusal, SocketLimits
from getpatter.server.media import NO_CLOSE_FRAME, Spawn, Visit

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

# picows announces every connection with its address at INFO; only its complaints are wanted.
_wire_logger = logging.Logger(f"{__name__}.picows", logging.WARNING)
_wire_logger.parent = logger

_TEXT: Final = WSMsgType.TEXT
_MOST_FRAME_BYTES: Final = 1024 * 1024  # longer ones are not worth receiving only to be dropped
_READ_BUFFER: Final = 4096
_BAD_UPGRADE: Final = Refusal(400, "Invalid WebSocket upgrade")
_OTHER_VERSION: Final = Refusal(
    426, "Upgrade Required", {"upgrade": "websocket", "sec-websocket-version": "13"}
)


class _Framing(Protocol):
    """What we use of picows' `WSProtocol`."""

    transport: WSTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


_make_framing: Callable[..., _Framing] = WSProtocol  # pyright: ignore[reportUnknownVariableType]


def media_protocol(media_gate: MediaGate, create_task: Spawn) -> type[asyncio.Protocol]:
    """The class to give to uvicorn as `ws`. `create_task` belongs to whoever runs the server."""

    class BoundUpgradeProtocol(UpgradeProtocol):
        gate = media_gate
        spawn = staticmethod(create_task)

    return BoundUpgradeProtocol


class UpgradeProtocol(asyncio.Protocol):
    """A connection from its upgrade request on. uvicorn makes one, and shows it the request's head."""

    gate: ClassVar[MediaGate]
    spawn: ClassVar[Callable[..., object]]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """The arguments are uvicorn's."""
        del config, server_state, app_state, _loop  # the gate knows what it needs
        self._entry: Entry | None = None
        self._socket: FastSocket | None = None
        self._framing: _Framing | None = None
        self._stranger_bytes_left = self.gate.settings.sockets.stranger_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from uvicorn."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's is none

    def data_received(self, data: bytes) -> None:
        """First the head of the upgrade request, whole; then WebSocket frames of a stranger."""
        if self._framing is None:
            if self._entry is None:
                self._receive_head(data)
            return
        # First, because the start that proves it may be at the front of many bytes that came at once.
        _feed(self._framing, data)
        self._stranger_bytes_left -= len(data)
        if self._socket is not None and self._stranger_bytes_left < 0:
            # Told to go; its close frame is still wanted, but not at any price.
            self._socket.flooded(is_hopeless=self._stranger_bytes_left < -_MOST_FRAME_BYTES)

    def _receive_head(self, head: bytes) -> None:
        request = _read_head(head)
        path = decoded(request.path)
        refusal = _handshake_fault(request) if self.gate.leads_to(path) else NOT_FOUND
        if refusal is not None:
            self._refuse(refusal)
            return
        peer = self._transport.get_extra_info("peername")
        decision = self.gate.decide(request, path, str(peer[0]) if peer else "")
        if isinstance(decision, Refusal):
            self._refuse(decision)
        else:
            self._entry = decision
            self._accept(decision, request.headers["sec-websocket-key"])

    def _accept(self, entry: Entry, key: str) -> None:
        socket = FastSocket(self.gate.settings.sockets, self._admitted)
        framing = _framing(socket)
        self._socket, self._framing = socket, framing
        framing.connection_made(self._transport)
        # The request was checked; what picows is to know of it fits its first buffer.
        _feed(framing, _minimal_head(key))
        socket.begin(Visit(self.gate, entry, socket, self.spawn))

    def _admitted(self) -> None:
        """The stranger is one no longer: bytes go to the framing without passing here."""
        if self._framing is not None and not self._transport.is_closing():
            self._transport.set_protocol(self._framing)  # type: ignore[arg-type] # is one, in C

    def _refuse(self, refusal: Refusal) -> None:
        body = json.dumps({"detail": refusal.detail}).encode()
        lines = [
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "connection: close",
            *(f"{name}: {value}" for name, value in refusal.headers.items()),
        ]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self._transport.close()

    # ------------------------------------------------------------- asyncio's calls, while we are it

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer left before it was admitted, or was refused."""
        if self._framing is not None:
            self._framing.connection_lost(exc)
        if self._entry is not None:
            self._entry.place.leave()

    def eof_received(self) -> bool:
        """The transport closes itself."""
        return False

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        if self._framing is not None:
            self._framing.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._framing is not None:
            self._framing.resume_writing()


class FastSocket(WSListener):
    """One WebSocket as picows and a call see it."""

    _transport: WSTransport
    _visit: Visit

    def __init__(self, limits: SocketLimits, on_admission: Callable[[], None]) -> None:
        """`on_admission` is called when the call has the socket."""
        self._limits = limits
        self._on_admission = on_admission
        self._longest = limits.frame_bytes
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._is_closing = False
        self._is_clogged = False
        self._sent_code = NO_CLOSE_FRAME
        self._received_code: int | None = None
        self._hang_up: asyncio.TimerHandle | None = None

    def begin(self, visit: Visit) -> None:
        """Frames go to this visit."""
        self._visit = visit

    def flooded(self, *, is_hopeless: bool) -> None:
        """A stranger sent too much, or did not stop when told to."""
        if is_hopeless:
            self.abort()
        else:
            self._visit.flooded()

    # ------------------------------------------------------------------------------ what calls use

    def send(self, frame: bytes) -> None:
        """Write one text frame. A peer that reads too slowly is cut off."""
        if self._is_closing:
            return
        self._transport.send(_TEXT, frame)
        if self._is_clogged and self.unsent_bytes > self._limits.unsent_bytes:
            logger.warning("media.peer_too_slow unsent_bytes=%d", self.unsent_bytes)
            self.abort()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the connection ends with the peer's answer or after a while. Idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._sent_code = code
        self._transport.send_close(WSCloseCode(code), reason.encode())
        loop = asyncio.get_running_loop()
        self._hang_up = loop.call_later(self._limits.close_seconds, self.abort)

    def abort(self) -> None:
        """Cut the connection now, whatever is unsent."""
        self._is_closing = True
        self._transport.disconnect(graceful=False)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in the transport."""
        return self._transport.underlying_transport.get_write_buffer_size()

    def hold(self) -> None:
        """Stop reading."""
        if not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.pause_reading()

    def release(self) -> None:
        """Read again."""
        if not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.resume_reading()

    def admitted(self) -> None:
        """From now on bytes are not counted."""
        self._on_admission()

    # ---------------------------------------------------------------------------- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade has been answered."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame, unmasked. picows answers pings itself."""
        try:
            self._take(frame)
        except Exception:  # noqa: BLE001 - one call's listener must not take the server with it
            self._visit.failed()

    def _take(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is _TEXT and frame.fin:
            if frame.payload_size > self._longest:
                self._visit.dropped("too_long")
            else:
                self._visit.deliver(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            self._receive_close(frame)
        elif kind is WSMsgType.BINARY and frame.fin:
            self._visit.dropped("binary")
        elif kind in _DATA:
            self._receive_part(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._is_closing = True
        if self._hang_up is not None:
            self._hang_up.cancel()
        self._visit.lost(self._sent_code if self._received_code is None else self._received_code)

    def pause_writing(self) -> None:
        """The transport's buffer is above its high-water mark."""
        self._is_clogged = True

    def resume_writing(self) -> None:
        """It has emptied."""
        self._is_clogged = False

    def _receive_part(self, frame: WSFrame) -> None:
        """RFC 6455, 5.4: a message in several frames. A binary one is collected only to be dropped."""
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._parts = [b"\x00"] if frame.msg_type is WSMsgType.BINARY else [b""]
            self._parts_bytes = 0
        self._parts_bytes += frame.payload_size
        if self._parts_bytes <= self._longest:
            self._parts.append(frame.get_payload_as_bytes())
        if not frame.fin or not self._parts:
            return
        parts, self._parts = self._parts, []
        if parts[0]:
            self._visit.dropped("binary")
        elif self._parts_bytes > self._longest:
            self._visit.dropped("too_long")
        else:
            self._visit.deliver(b"".join(parts))

    def _receive_close(self, frame: WSFrame) -> None:
        code = frame.get_close_code()
        self._received_code = code.value or _NO_CODE
        if not self._is_closing:
            self._is_closing = True
            self._transport.send_close(code if code.value else WSCloseCode.OK)
        self._transport.disconnect()


_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)
_NO_CODE: Final = 1005  # RFC 6455, 7.4.1: a close frame without a code


def _framing(socket: FastSocket) -> _Framing:
    def listener(_request: object) -> WSListener:
        return socket

    return _make_framing(
        None,  # host and port: of clients
        None,  # path: of clients
        False,  # noqa: FBT003 - is_client_side
        listener,
        _wire_logger,
        True,  # noqa: FBT003 - disconnect_on_exception
        None,  # handshake timeout: the request is complete
        False,  # noqa: FBT003 - no pings: media flows or the call ends, and a task per socket is saved
        20,
        20,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        True,  # noqa: FBT003 - answer pings
        _MOST_FRAME_BYTES,
        None,  # extra headers
        _READ_BUFFER,
    )


def _feed(framing: _Framing, data: bytes) -> None:
    view = memoryview(data)
    while view:
        buffer = framing.get_buffer(-1)
        n_bytes = min(len(buffer), len(view))
        buffer[:n_bytes] = view[:n_bytes]
        framing.buffer_updated(n_bytes)
        view = view[n_bytes:]


def _read_head(head: bytes) -> WebhookRequest:
    """Read the head that uvicorn rebuilt from a request it has parsed."""
    first, *lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, _version = first.split(b" ", 2)
    path, _, query = target.decode("latin-1").partition("?")
    pairs = (line.partition(b":") for line in lines)
    headers = headers_of((name, value) for name, _, value in pairs)
    return WebhookRequest(method.decode("latin-1"), path, query, headers)


def _handshake_fault(request: WebhookRequest) -> Refusal | None:
    """RFC 6455, 4.2.1."""
    if request.headers.get("sec-websocket-version") != "13":
        return _OTHER_VERSION
    try:
        key = b64decode(request.headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        return _BAD_UPGRADE
    return None if request.method == "GET" and len(key) == 16 else _BAD_UPGRADE  # noqa: PLR2004


def _minimal_head(key: str) -> bytes:
    return (
        "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    ).encode()
