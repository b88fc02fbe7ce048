"""A WebSocket to a provider, thin enough to see through: it opens, sends, receives, and says why it closed.

Sending never waits. Receiving is a loop (`async for message in socket`) or a function (`listen`), without a task
or a future for each message. Errors are ours: refused credentials are an `AuthenticationError`, 429 a
`RateLimitError`, everything else a `PatterConnectionError` with the close code in `.status`.

The protocol is RFC 6455; compression is not negotiated, because speech does not shrink and text is small.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiofastnet
from picows import (
    WSAutoPingStrategy,
    WSError,
    WSHandshakeError,
    WSMsgType,
    WSTransport,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from getpatter._version import __version__
from getpatter.errors import PatterConnectionError, PatterError, WireError
from getpatter.net.frames import FrameReader, Message
from getpatter.net.refusals import clean_text, refusal, secrets_of, unreachable
from getpatter.net.tasks import TaskNest
from getpatter.net.tls import loaded_client_context

__all__ = ["Message", "OnClose", "OnMessage", "SocketRequest", "WebSocket"]

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

OPEN_LIMIT_S: Final = 5.0
CLOSE_LIMIT_S: Final = 2.0
PING_EVERY_S: Final = 20.0
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_UNSENT: Final = 4 * 1024 * 1024
_INBOX_MESSAGES: Final = 256
_INBOX_BYTES: Final = 4 * 1024 * 1024
_READ_BUFFER: Final = 16 * 1024
_NORMAL: Final = frozenset({1000, 1005})
_NO_CLOSE_FRAME: Final = 1006

# picows would log request headers, keys included, at its debug level; what goes wrong is raised as an error.
_silent = logging.Logger("getpatter.net.picows", logging.CRITICAL)

OnMessage = Callable[[Message], None]
OnClose = Callable[[PatterError | None], None]
"""Told once that the socket is gone: `None` when that was in order, else why."""


@dataclass(frozen=True, slots=True)
class SocketRequest:
    """Where to connect, and how. Hides its credentials in `repr`."""

    url: str = field(repr=False)
    """`wss://` or `ws://`; the query may carry credentials."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subprotocols: tuple[str, ...] = field(default=(), repr=False)
    vendor: str = ""
    """Named in errors."""
    open_timeout: float = OPEN_LIMIT_S
    """Seconds for name, connection, TLS and upgrade together."""
    max_frame: int = MAX_MESSAGE
    """Bytes of the longest message that is accepted, fragments together; a longer one closes with 1009."""
    ping_every: float | None = PING_EVERY_S
    """Seconds of silence after which we ask whether the peer is alive; as many later it is given up."""
    address: str = ""
    """Connect to this address instead of looking the name up; TLS and `Host` keep the name."""
    keep_alive: Message = ""
    """What to send while nobody uses the socket, for peers that hang up on idle ones (`WarmSockets`)."""
    keep_alive_every: float = 4.0

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for requests that may share a socket."""
        return (self.url, tuple(sorted(self.headers.items())), self.subprotocols)


class WebSocket:
    """One open connection. One reader; any number of senders on the same loop."""

    def __init__(self, request: SocketRequest) -> None:
        """Use `open` or `connect`, which return it connected."""
        self._request = request
        self._vendor = request.vendor or (urlsplit(request.url).hostname or "server")
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self._is_reading_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._on_message: OnMessage | None = None
        self._on_close: OnClose | None = None
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._gone = asyncio.Event()
        self._error: PatterError | None = None
        self._is_closing = False
        self._is_ours_to_end = False
        self._pulse: asyncio.TimerHandle | None = None
        self._was_heard = True
        self._is_pinged = False
        self._epilogue = TaskNest("socket", on_error=lambda _name, _error: None)
        self.close_code: int = 0
        """0 while it is open; 1006 when the peer went away without a word."""
        self.close_reason: str = ""
        self.bad_frames = 0
        """Messages that the reader refused with `WireError`."""

    # --------------------------------------------------------------------------------------- opening

    @classmethod
    async def open(  # noqa: PLR0913 - each is one option of a connection
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        open_timeout: float = OPEN_LIMIT_S,
        subprotocols: tuple[str, ...] = (),
        max_frame: int = MAX_MESSAGE,
        vendor: str = "",
        ping_every: float | None = PING_EVERY_S,
        on_message: OnMessage | None = None,
        on_close: OnClose | None = None,
    ) -> Self:
        """Connect to `url`; see `SocketRequest` for the arguments and `listen` for the last two.

        Raises:
            AuthenticationError: the upgrade was answered 401 or 403.
            RateLimitError: it was answered 429.
            PatterConnectionError: anything else that kept it from opening.
        """
        request = SocketRequest(
            url=url,
            headers=headers or {},
            subprotocols=subprotocols,
            vendor=vendor,
            open_timeout=open_timeout,
            max_frame=max_frame,
            ping_every=ping_every,
        )
        socket = await cls.connect(request)
        if on_message is not None:
            socket.listen(on_message, on_close)
        return socket

    @classmethod
    async def connect(cls, request: SocketRequest) -> Self:
        """Connect as `request` says. Raises what `open` raises."""
        socket = cls(request)
        try:
            async with asyncio.timeout(request.open_timeout):
                await socket._upgrade()
        except TimeoutError as error:
            raise unreachable(
                socket._vendor,
                f"did not open a socket within {request.open_timeout:g} s",
                timed_out=True,
            ) from error
        except WSHandshakeError as error:
            raise socket._refused(error) from error
        except (OSError, WSError, UnicodeError) as error:
            what = clean_text(str(error), secrets_of(request.url, request.headers))
            raise unreachable(socket._vendor, f"cannot open a socket: {what}") from error
        return socket

    async def _upgrade(self) -> None:
        request = self._request
        url = urlsplit(request.url)
        if url.scheme not in {"ws", "wss"} or not url.hostname:
            raise PatterConnectionError(
                f"{self._vendor}: not a WebSocket address: scheme {url.scheme!r}", retryable=False
            )
        is_secure = url.scheme == "wss"
        protocol = self._protocol(url.netloc.rpartition("@")[2], _resource(url.path, url.query))
        await aiofastnet.create_connection(
            self._loop,
            lambda: protocol,
            request.address or url.hostname,
            url.port or (443 if is_secure else 80),
            ssl=await loaded_client_context() if is_secure else None,
            server_hostname=url.hostname if is_secure else None,
        )
        try:
            await protocol.wait_until_handshake_complete()
        except BaseException:
            protocol.transport.disconnect(graceful=False)
            raise
        if (
            self._transport is None
        ):  # picows calls it complete when the peer hangs up instead of answering
            raise ConnectionResetError("the peer hung up instead of answering")
        self._beat()

    def _protocol(self, netloc: str, resource: str) -> Any:
        # Made by hand, not by `picows.ws_connect`: that would follow redirects with our credentials, and
        # leave the connection open when it is cancelled.
        headers = {"User-Agent": f"getpatter/{__version__}", **self._request.headers}
        if self._request.subprotocols:
            headers["Sec-WebSocket-Protocol"] = ", ".join(self._request.subprotocols)
        return WSProtocol(
            netloc,
            resource,
            True,  # noqa: FBT003 - we are the client
            lambda _request, _response: FrameReader(self, self._request.max_frame),
            _silent,
            True,  # noqa: FBT003 - disconnect on exception
            None,
            False,  # noqa: FBT003 - its pings know no virtual time
            PING_EVERY_S,
            PING_EVERY_S,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            True,  # noqa: FBT003 - answers pings
            self._request.max_frame,
            headers,
            _READ_BUFFER,
        )

    def _refused(self, error: WSHandshakeError) -> PatterError:
        request, response = self._request, error.response
        secrets = secrets_of(request.url, request.headers)
        if response is None or response.status == 101:  # noqa: PLR2004 - an upgrade, but a wrong one
            what = clean_text(str(error), secrets)
            return unreachable(self._vendor, f"broke the WebSocket handshake: {what}")
        return refusal(
            self._vendor,
            int(response.status),
            (error.raw_body or b"").decode(errors="replace"),
            headers={name.lower(): value for name, value in response.headers.items()},
            secrets=secrets,
        )

    # --------------------------------------------------------------------------------------- sending

    @property
    def is_open(self) -> bool:
        """Whether `send` still reaches the peer."""
        return not self._is_closing and not self._gone.is_set()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait because the peer reads slowly."""
        if self._transport is None or self._gone.is_set():
            return 0
        return self._transport.underlying_transport.get_write_buffer_size()

    @property
    def subprotocol(self) -> str:
        """What the server chose of the subprotocols; empty when nothing."""
        if self._transport is None:
            return ""
        return str(self._transport.response.headers.get("Sec-WebSocket-Protocol", ""))

    def send(self, message: Message) -> bool:
        """Queue a text (str) or binary (bytes) message. Never waits; False once the socket is closing or gone.

        A peer that lets more than 4 MiB pile up is given up.
        """
        kind = WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
        return self._send(kind, message)

    def send_text(self, message: bytes) -> bool:
        """`send` for a text message that is already UTF-8, as `msgspec` writes it."""
        return self._send(WSMsgType.TEXT, message)

    def _send(self, kind: WSMsgType, message: Message) -> bool:
        if self._transport is None or not self.is_open:
            return False
        self._transport.send(kind, message)
        unsent = self._transport.underlying_transport.get_write_buffer_size()
        if unsent > MAX_UNSENT:
            self._fail(unreachable(self._vendor, f"does not read: {unsent} bytes are unsent"))
            return False
        return True

    async def drain(self) -> None:
        """Wait until the peer has read enough for more to be sent, or the socket is gone."""
        await self._may_send.wait()

    # ------------------------------------------------------------------------------------- receiving

    def listen(self, on_message: OnMessage, on_close: OnClose | None = None) -> None:
        """Have every message, also those that already wait, told to `on_message`, and the end to `on_close`.

        Both run on the loop and must return at once. `on_message` may raise `WireError`: the message is dropped
        and counted. Any other exception closes the socket and is told to `on_close`.
        """
        self._on_message = on_message
        self._on_close = on_close
        while self._inbox and self._on_message is not None:
            self._tell(self._take())
        if self._gone.is_set() and on_close is not None:
            self._loop.call_soon(on_close, self._error)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Every message until the socket closes. Ends on 1000, raises `PatterConnectionError` otherwise."""
        return self

    async def __anext__(self) -> Message:
        while not self._inbox:
            if self._gone.is_set():
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    async def receive(self, *, limit_s: float | None = None) -> Message:
        """The next message.

        Raises:
            PatterConnectionError: the socket closed, in order or not, or nothing came in `limit_s` seconds.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await anext(self)
        except StopAsyncIteration:
            what = f"closed the socket: {self.close_code} {self.close_reason}".rstrip()
            raise PatterConnectionError(
                f"{self._vendor} {what}", vendor=self._vendor, status=self.close_code
            ) from None
        except TimeoutError as error:
            raise unreachable(
                self._vendor, f"said nothing for {limit_s:g} s", timed_out=True
            ) from error

    def _take(self) -> Message:
        message = self._inbox.popleft()
        self._inbox_bytes -= len(message)
        if self._is_reading_paused and len(self._inbox) * 2 < _INBOX_MESSAGES:
            self._is_reading_paused = False
            if self._transport is not None and not self._gone.is_set():
                self._transport.underlying_transport.resume_reading()
        return message

    def _tell(self, message: Message) -> None:
        assert self._on_message is not None
        try:
            self._on_message(message)
        except WireError as error:
            self.bad_frames += 1
            logger.warning("socket.message_dropped vendor=%s reason=%s", self._vendor, error)
        except Exception as error:
            logger.exception(
                "socket.reader_failed vendor=%s", self._vendor, exc_info=without_text(error)
            )
            failure = PatterConnectionError(
                f"{self._vendor}: our reader failed: {type(error).__name__}",
                vendor=self._vendor,
                retryable=False,
            )
            failure.__cause__ = error
            self._fail(failure)

    def _arrived(self, message: Message) -> None:
        if self._on_message is not None:
            self._tell(message)
            return
        self._inbox.append(message)
        self._inbox_bytes += len(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        is_full = len(self._inbox) >= _INBOX_MESSAGES or self._inbox_bytes >= _INBOX_BYTES
        if is_full and not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.underlying_transport.pause_reading()

    # --------------------------------------------------------------------------------------- closing

    async def close(
        self, code: int = 1000, reason: str = "", *, limit_s: float = CLOSE_LIMIT_S
    ) -> None:
        """Say goodbye and wait for the answer, `limit_s` seconds at most; then the connection is cut. Idempotent.

        Messages that still arrive meanwhile can be read.
        """
        transport = self._transport
        if transport is None or self._gone.is_set():
            return
        if not self._is_closing:
            self._is_closing = self._is_ours_to_end = True
            _send_close(transport, code, reason)
        if self._is_reading_paused:
            self._is_reading_paused = False
            transport.underlying_transport.resume_reading()
        try:
            async with asyncio.timeout(limit_s):
                await self._gone.wait()
        except TimeoutError:
            logger.info("socket.cut vendor=%s waited_s=%g", self._vendor, limit_s)
        finally:
            if not self._gone.is_set():
                transport.disconnect(graceful=False)
        # The transport tells us in the next turn of the loop.
        await self._gone.wait()

    def abort(self) -> None:
        """Cut the connection without a word. Idempotent."""
        self._is_closing = self._is_ours_to_end = True
        if self._transport is not None and not self._gone.is_set():
            self._transport.disconnect(graceful=False)

    def _fail(self, error: PatterError) -> None:
        if self._error is None and not self._gone.is_set():
            self._error = error
        self.abort()

    # ----------------------------------------------------------------------- what the protocol tells

    @property
    def is_closing(self) -> bool:
        """Whether one side has said goodbye."""
        return self._is_closing

    def connected(self, transport: WSTransport) -> None:
        """The upgrade succeeded. Called by the protocol."""
        self._transport = transport

    def heard(self) -> None:
        """Something arrived: the peer is alive. Called by the protocol."""
        self._was_heard = True

    def arrived(self, message: Message) -> None:
        """A whole message arrived. Called by the protocol."""
        self._arrived(message)

    def broke(self, code: int, what: str) -> None:
        """The peer broke the protocol. Called by the protocol."""
        if self._error is None:
            self._error = self._breach(code, what)
        self._is_closing = True
        if self._transport is not None:
            _send_close(self._transport, code, what)
            self._transport.disconnect()

    def peer_closed(self, code: int, reason: str) -> None:
        """A close frame arrived. Called by the protocol."""
        self.close_code = code or 1005
        self.close_reason = clean_text(reason, secrets_of(self._request.url, self._request.headers))
        transport = self._transport
        if transport is not None:
            if not self._is_closing:
                _send_close(transport, code or 1000, "")
            transport.disconnect()
        self._is_closing = True

    def flow(self, *, may_send: bool) -> None:
        """The transport's buffer is full, or has room again. Called by the protocol."""
        if may_send:
            self._may_send.set()
        else:
            self._may_send.clear()

    def lost(self) -> None:
        """The connection is gone; the last thing that happens. Called by the protocol."""
        if not self.close_code:
            self.close_code = _NO_CLOSE_FRAME
        if self._error is None and not self._is_ours_to_end:
            self._error = self._broken_off() or self._lost_error()
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        self._gone.set()
        self._may_send.set()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._on_close is not None:
            self._on_close(self._error)

    def _broken_off(self) -> PatterError | None:
        """What picows found wrong with a frame, if that was the end."""
        ending = None if self._transport is None else self._transport.close_handshake
        if (
            ending is None
            or ending.sent is None
            or ending.recv_then_sent
            or self._transport is None
        ):
            return None
        # picows keeps the reason in a future too, which complains if nobody looks at it.
        self._epilogue.spawn(self._transport.wait_disconnected(), "end")
        return self._breach(int(ending.sent.code), ending.sent.reason)  # type: ignore[call-overload]

    def _breach(self, code: int, what: str) -> PatterError:
        return PatterConnectionError(
            f"{self._vendor} broke the WebSocket protocol: {what}", vendor=self._vendor, status=code
        )

    def _lost_error(self) -> PatterError | None:
        if self.close_code in _NORMAL:
            return None
        if self.close_code == _NO_CLOSE_FRAME:
            what = "the connection was lost"
        else:
            what = f"closed the socket: {self.close_code} {self.close_reason}".rstrip()
        return PatterConnectionError(
            f"{self._vendor}: {what}", vendor=self._vendor, status=self.close_code
        )

    # ---------------------------------------------------------------------------------- is it alive?

    def _beat(self) -> None:
        every = self._request.ping_every
        if every is None or self._transport is None or self._gone.is_set():
            return
        if self._was_heard or self._is_reading_paused:
            self._is_pinged = False
        elif self._is_pinged:
            self._fail(
                unreachable(self._vendor, f"answered no ping for {every:g} s", timed_out=True)
            )
            return
        else:
            self._is_pinged = True
            self._transport.send_ping()
        self._was_heard = False
        self._pulse = self._loop.call_later(every, self._beat)


def _send_close(transport: WSTransport, code: int, reason: str) -> None:
    # picows takes any number, its stubs only the registered ones. A reason has at most 123 bytes (RFC 6455 5.5).
    transport.send_close(code, reason.encode()[:123])  # type: ignore[arg-type]


def _resource(path: str, query: str) -> str:
    return f"{path or '/'}?{query}" if query else path or "/"
