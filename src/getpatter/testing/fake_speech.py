"""The ground that fake speech services stand on: a server of HTTP and WebSockets on a loopback port.

A fake service takes real audio over a real socket in the vendor's own words, counts what a bill would count, and
makes of it what its script says. What goes wrong is scripted too: `refusal`, `drop_after_bytes`, `hold`.

The server is small because a vendor's fake must be able to misbehave: hang up inside a frame, say nothing, send
half an answer. HTTP is read by h11; WebSocket frames (RFC 6455) by hand.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit
from weakref import WeakSet

import h11
import msgspec

from getpatter.audio.convert import converter
from getpatter.net.tasks import TaskNest
from getpatter.testing.providers import is_audible
from getpatter.types import MULAW_8K, AudioFormat

KEY: Final = "fake-key-0123456789abcdef"
"""The key that fake services take, unless they are told another."""
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_MASKED: Final = 0x80


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success."""

    status: int
    body: bytes = b'{"message":"refused"}'
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes = b""

    def said(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        value: object = msgspec.json.decode(self.body)
        assert isinstance(value, dict)
        return value


class HungUpError(Exception):
    """The client is gone, or we are to it."""


class Line:
    """One open connection: a WebSocket, or a body that is being answered."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, leftover: bytes = b""
    ) -> None:
        """`leftover`: bytes that were read with the request."""
        self._reader = reader
        self._writer = writer
        self._leftover = leftover
        self.close_code = 0
        """What the client closed with; 1006 when it went without a word."""
        self.is_closed = False

    async def send(self, message: str | bytes) -> None:
        """A message of text or bytes."""
        if isinstance(message, str):
            await self._frame(_TEXT, message.encode())
        else:
            await self._frame(_BINARY, message)

    async def say(self, message: Mapping[str, object]) -> None:
        """A message of JSON."""
        await self.send(msgspec.json.encode(message).decode())

    async def ping(self) -> None:
        """Ask whether somebody is there."""
        await self._frame(_PING, b"")

    async def raw(self, data: bytes) -> None:
        """Bytes of your own making, such as half a frame."""
        if self.is_closed:
            raise HungUpError
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise HungUpError from error

    async def receive(self) -> str | bytes:
        """The next message. Raises `HungUpError` when the client closes."""
        parts: list[bytes] = []
        first = _BINARY
        while True:
            kind, is_last, payload = await self._read_frame()
            match kind:
                case 8:
                    self.close_code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                    await self.close(self.close_code if payload else 1000)
                    raise HungUpError
                case 9:
                    await self._frame(_PONG, payload)
                    continue
                case 10:
                    continue
                case 1 | 2:
                    first = kind
                case _:
                    pass
            parts.append(payload)
            if is_last:
                whole = b"".join(parts)
                return whole.decode() if first == _TEXT else whole

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye. Idempotent."""
        if not self.is_closed:
            with contextlib.suppress(HungUpError):
                await self._frame(_CLOSE, struct.pack("!H", code) + reason.encode())
            self.is_closed = True

    def drop(self) -> None:
        """Go without a word."""
        self.is_closed = True
        self._writer.transport.abort()

    async def _frame(self, kind: int, payload: bytes) -> None:
        await self.raw(_head(kind, len(payload)) + payload)

    async def _read_frame(self) -> tuple[int, bool, bytes]:
        first, second = await self._exactly(2)
        size = second & 0x7F
        if size == 126:  # noqa: PLR2004 - RFC 6455, 5.2
            size = int.from_bytes(await self._exactly(2))
        elif size == 127:  # noqa: PLR2004
            size = int.from_bytes(await self._exactly(8))
        mask = await self._exactly(4) if second & _MASKED else b""
        payload = await self._exactly(size)
        return first & 0x0F, bool(first & 0x80), _unmasked(payload, mask)

    async def _exactly(self, size: int) -> bytes:
        while len(self._leftover) < size:
            try:
                more = await self._reader.read(65536)
            except OSError as error:
                raise HungUpError from error
            if not more:
                self.close_code = self.close_code or 1006
                raise HungUpError
            self._leftover += more
        data, self._leftover = self._leftover[:size], self._leftover[size:]
        return data


class FakeService:
    """A vendor's server. Subclasses answer `http` requests and `talk` on sockets.

    ```python
    async with FakeDeepgram(["I need an appointment."]) as service:
        stt = DeepgramSTT(service.key, base_url=service.ws_url)
    ```
    """

    def __init__(self, *, key: str = KEY) -> None:
        """Take `key` and no other."""
        self.key = key
        self.calls: list[Call] = []
        """Every request, refused ones too."""
        self.refusals: list[Refusal] = []
        """Answers to the next requests, before anything else is looked at."""
        self.connections = 0
        """TCP connections that were made."""
        self.sockets_open = 0
        self.close_codes: list[int] = []
        """How clients left: the code of each socket, 1006 without one."""
        self.drop_after_bytes: int | None = None
        """Hang up without a word once so much audio has passed on a connection. Once."""
        self.most_at_once: int | None = None
        """Sockets at the same time; one more is 429."""
        self.hold = asyncio.Event()
        """Clear it to have the service fall silent; set it to let it go on."""
        self.hold.set()
        self.seconds_heard = 0.0
        """Audio that was sent to it."""
        self.characters = 0
        """Text that it was asked to say."""
        self.tls: ssl.SSLContext | None = None
        """For clients that speak nothing else. Before it is entered."""
        self._server: asyncio.Server | None = None
        self._tasks = TaskNest("fake service")
        self._writers: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.close()
        for writer in self._writers:  # a task that never began has closed nothing
            writer.transport.abort()
        if self._server is not None:
            self._server.close()

    @property
    def host(self) -> str:
        """Name and port."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """`http://…`."""
        return f"http://{self.host}"

    @property
    def ws_url(self) -> str:
        """`ws://…`."""
        return f"ws://{self.host}"

    # ------------------------------------------------------------------------- what a vendor decides

    def may_enter(self, call: Call) -> Refusal | None:
        """Whether the credentials and parameters of `call` are good."""
        raise NotImplementedError

    async def http(self, call: Call, answer: Answer) -> None:
        """Answer a request."""
        await answer.whole(Refusal(404))

    async def talk(self, call: Call, line: Line) -> None:
        """Serve a socket until it ends. May raise `HungUpError`."""
        await line.close(1008, "no such socket")

    # -------------------------------------------------------------------------------------- the server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tasks.is_closed:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers.add(writer)
        self._tasks.spawn(self._serve(reader, writer), "connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = h11.Connection(h11.SERVER)
        try:
            while await self._one_request(protocol, reader, writer):
                protocol.start_next_cycle()
        except (HungUpError, h11.ProtocolError, OSError):
            pass
        finally:
            if not writer.transport.is_closing():
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _one_request(
        self, protocol: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request, body = await _read_request(protocol, reader)
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        # One vendor's own client begins its path with two slashes.
        parts = urlsplit("/" + request.target.decode().lstrip("/"))
        query = parse_qs(parts.query, keep_blank_values=True)
        call = Call(request.method.decode(), parts.path, query, headers, body)
        self.calls.append(call)
        answer = Answer(protocol, writer)
        refusal = self.refusals.pop(0) if self.refusals else self.may_enter(call)
        is_socket = headers.get("upgrade", "").lower() == "websocket"
        if refusal is None and is_socket and self._is_full():
            refusal = Refusal(429, b'{"message":"too many concurrent connections"}')
        if refusal is not None:
            await answer.whole(refusal)
        elif is_socket:
            await self._socket(call, answer, Line(reader, writer, protocol.trailing_data[0]))
            return False
        else:
            await self.hold.wait()
            await self.http(call, answer)
        return protocol.our_state is h11.DONE and protocol.their_state is h11.DONE

    def _is_full(self) -> bool:
        return self.most_at_once is not None and self.sockets_open >= self.most_at_once

    async def _socket(self, call: Call, answer: Answer, line: Line) -> None:
        await answer.upgrade(call)
        self.sockets_open += 1
        try:
            await self.talk(call, line)
            await line.close()
        except HungUpError:
            pass
        finally:
            self.sockets_open -= 1
            self.close_codes.append(line.close_code)

    def drops(self, passed: int) -> bool:
        """Whether to hang up now that `passed` bytes of audio went over a connection."""
        if self.drop_after_bytes is None or passed < self.drop_after_bytes:
            return False
        self.drop_after_bytes = None
        return True


class Answer:
    """How a request is answered."""

    def __init__(self, protocol: h11.Connection, writer: asyncio.StreamWriter) -> None:
        """For one request on a connection."""
        self._protocol = protocol
        self._writer = writer

    async def whole(self, answer: Refusal) -> None:
        """Status and body at once."""
        headers = {"content-type": "application/json", **answer.headers}
        await self._start(answer.status, {**headers, "content-length": str(len(answer.body))})
        await self._send(h11.Data(data=answer.body))
        await self._send(h11.EndOfMessage())

    async def start(self, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Begin a body of unknown length."""
        await self._start(
            200, {"content-type": content_type, "transfer-encoding": "chunked", **(headers or {})}
        )

    async def piece(self, data: bytes) -> None:
        """Some of the body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """That was all."""
        await self._send(h11.EndOfMessage())

    def drop(self) -> None:
        """Go without a word."""
        self._writer.transport.abort()
        raise HungUpError

    async def upgrade(self, call: Call) -> None:
        """Become a WebSocket."""
        nonce = call.headers.get("sec-websocket-key", "") + _GUID
        accept = base64.b64encode(hashlib.sha1(nonce.encode(), usedforsecurity=False).digest())
        reply = [("upgrade", "websocket"), ("connection", "Upgrade")]
        offered = call.headers.get("sec-websocket-protocol", "")
        if offered:
            reply.append(("sec-websocket-protocol", offered.split(",")[0].strip()))
        response = h11.InformationalResponse(
            status_code=101,
            headers=[*reply, ("sec-websocket-accept", accept.decode())],
        )
        await self._send(response)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        await self._send(h11.Response(status_code=status, headers=[*headers.items()]))

    async def _send(self, event: h11.Event) -> None:
        data = self._protocol.send(event)
        if data:
            self._writer.write(data)
            try:
                await self._writer.drain()
            except OSError as error:
                raise HungUpError from error


async def _read_request(
    protocol: h11.Connection, reader: asyncio.StreamReader
) -> tuple[h11.Request, bytes]:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = protocol.next_event()
        match event:
            case h11.Request():
                request = event
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                assert request is not None
                return request, bytes(body)
            case h11.NEED_DATA:
                protocol.receive_data(await reader.read(65536))
            case h11.PAUSED:
                assert request is not None
                return request, bytes(body)
            case _:
                raise HungUpError


def _head(kind: int, size: int) -> bytes:
    if size < 126:  # noqa: PLR2004 - RFC 6455, 5.2
        return struct.pack("!BB", 0x80 | kind, size)
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | kind, 126, size)
    return struct.pack("!BBQ", 0x80 | kind, 127, size)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    if not mask or not payload:
        return payload
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)


@dataclass(slots=True)
class Listener:
    """What a fake recogniser makes of audio: each utterance is the next line of its script.

    Time is counted in audio: an utterance ends after `quiet_ms` of silence, whenever that arrives.
    """

    lines: list[str]
    audio_format: AudioFormat
    quiet_ms: float = 150.0
    heard_ms: float = 0.0
    began_ms: float | None = None
    """Where the utterance that goes on began."""
    ended_ms: float = 0.0
    """Where its last sound was."""
    _rest: bytes = b""

    def hear(self, data: bytes) -> Iterator[str]:
        """Take audio; says `began`, `interim`, `final` as an utterance goes on, each when it happens."""
        frame = self.audio_format.size(20)
        data = self._rest + data
        whole = len(data) // frame * frame
        self._rest = data[whole:]
        for start in range(0, whole, frame):
            yield from self._frame(data[start : start + frame])

    def _frame(self, data: bytes) -> list[str]:
        mulaw = converter(AudioFormat(self.audio_format.encoding, 8000), MULAW_8K).convert(data)
        is_loud = is_audible(mulaw)
        self.heard_ms += 20
        news: list[str] = []
        if is_loud:
            if self.began_ms is None:
                self.began_ms = self.heard_ms - 20
                news.append("began")
            self.ended_ms = self.heard_ms
            if (self.ended_ms - self.began_ms) % 200 == 0:
                news.append("interim")
        elif self.began_ms is not None and self.heard_ms - self.ended_ms >= self.quiet_ms:
            news.append("final")
        return news

    @property
    def line(self) -> str:
        """What the utterance is said to be."""
        return self.lines[0] if self.lines else ""

    @property
    def guess(self) -> str:
        """The first half of its words."""
        words = self.line.split()
        return " ".join(words[: max(1, len(words) // 2)])

    def take(self) -> tuple[str, float, float]:
        """The utterance is over: its words, its begin and its end in ms."""
        began = self.began_ms or 0.0
        self.began_ms = None
        return (self.lines.pop(0) if self.lines else ""), began, self.ended_ms


def tone(text: str, audio_format: AudioFormat, ms_per_letter: float = 40.0) -> bytes:
    """What a fake voice says of `text`: a buzz that is the same for the same text, in any format."""
    text = text.strip()
    pitch = 8000 // (100 + sum(text.encode()) % 200)
    period = b"\x9f" * (pitch // 2) + b"\x1f" * (pitch - pitch // 2)
    size = MULAW_8K.size(max(ms_per_letter * len(text), 40.0))
    mulaw = (period * (size // len(period) + 1))[:size]
    change = converter(MULAW_8K, audio_format)
    return change.convert(mulaw) + change.flush()
