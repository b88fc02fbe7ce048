"""A phone company, a switchboard and two ways to serve them: what the server's tests stand on.

The carrier signs its webhooks and speaks JSON frames, as real ones do, with a wire of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    CallProgressed,
    CallStatus,
    Carrier,
    MediaWire,
    Stream,
    StreamStarted,
    StreamStopped,
    TransferOver,
    Verdict,
    WebhookEvent,
    WireEvent,
)
from getpatter.errors import WireError
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.runtime.tokens import INBOUND_LIFE, Grant, StreamTokens
from getpatter.server.app import PhoneApp, create_app
from getpatter.server.gate import Clocks, ServerSettings
from getpatter.server.limits import SocketLimits
from getpatter.server.listener import HttpServer
from getpatter.types import MULAW_8K, Instant

if TYPE_CHECKING:
    from getpatter.runtime.media import MediaSocket

HOST = "phone.example.com"
SECRET = b"the carrier's key"


def signature(path: str, body: bytes = b"") -> str:
    return hmac.new(SECRET, f"https://{HOST}{path}".encode() + body, sha256).hexdigest()


@dataclass
class AcmeWire:
    """Frames of a made-up carrier."""

    format = MULAW_8K

    def receive(self, frame: bytes) -> WireEvent | None:
        try:
            message = json.loads(frame)
            match message["event"]:
                case "start":
                    return StreamStarted("s1", message["call"], MULAW_8K, message.get("params", {}))
                case "media":
                    return AudioReceived(message["data"].encode())
                case "stop":
                    return StreamStopped()
                case _:
                    return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise WireError("Invalid JSON body") from exc

    def resume(self, started: StreamStarted) -> None:
        del started

    def audio(self, data: bytes) -> bytes:
        return json.dumps({"event": "media", "data": data.decode()}).encode()

    def mark(self, name: str) -> bytes:
        return json.dumps({"event": "mark", "name": name}).encode()

    def clear(self) -> bytes:
        return b'{"event": "clear"}'


@dataclass(frozen=True)
class Acme:
    """A made-up carrier; signs with HMAC-SHA256 over URL and body."""

    name: ClassVar[str] = "acme"
    webhook_kinds: ClassVar[frozenset[str]] = frozenset({"voice", "status"})
    secret: bytes = SECRET

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        if not self.secret:
            return Verdict.UNSIGNABLE
        if float(request.headers.get("x-acme-time", now)) < now - 300:
            return Verdict.STALE
        query = f"?{request.query}" if request.query else ""
        signed = f"https://{host}{request.path}{query}".encode() + request.body
        expected = hmac.new(self.secret, signed, sha256).hexdigest()
        given = request.headers.get("x-acme-signature", "")
        return Verdict.GENUINE if hmac.compare_digest(expected, given) else Verdict.FORGED

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        try:
            message = json.loads(request.body)
        except ValueError as exc:
            raise WireError("Invalid JSON body") from exc
        try:
            if kind == "voice":
                return [CallArrived(message["call"], "+15550001111", "+15550002222")]
            status: CallStatus = message["status"]
            return [CallProgressed(message["call"], status, delivery=message.get("id", ""))]
        except (KeyError, TypeError) as exc:
            raise WireError(f"no call in {message}") from exc

    def connect(self, stream: Stream) -> WebhookReply:
        url = f"wss://{stream.host}/ws/stream/{stream.reference}"
        body = json.dumps({"url": url, "token": stream.token}).encode()
        return WebhookReply(200, body, "text/xml")

    def reject_busy(self) -> WebhookReply:
        return WebhookReply(200, b"<Busy/>", "text/xml")

    def acknowledge(self, kind: str) -> WebhookReply:
        return WebhookReply(204 if kind == "status" else 200)

    def wire(self) -> MediaWire:
        return AcmeWire()


@dataclass
class Line:
    """A call that answers every `media` frame with its own data."""

    wire: MediaWire
    socket: MediaSocket
    frames: list[bytes] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    closings: list[int] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    on_frame: Callable[[bytes], None] | None = None

    def received(self, frame: bytes) -> None:
        self.frames.append(frame)
        if self.on_frame is not None:
            self.on_frame(frame)
            return
        try:
            event = self.wire.receive(frame)
        except WireError:
            return
        match event:
            case AudioReceived(data):
                self.socket.send(self.wire.audio(data))
            case StreamStopped():
                self.socket.close(1000, "bye")
            case _:
                pass

    def dropped(self, reason: str) -> None:
        self.drops.append(reason)

    def closed(self, code: int) -> None:
        self.closings.append(code)
        self.ended.set()


class Board:
    """A switchboard that admits whoever shows a token of its own."""

    def __init__(self) -> None:
        self.tokens = StreamTokens(token_bytes)
        self.is_stopping = False
        self.is_busy = False
        self.rung: list[str] = []
        self.noted: list[WebhookEvent] = []
        self.lines: list[Line] = []
        self.may_admit = asyncio.Event()
        self.may_admit.set()
        self.fails = False
        self.note_fails = False
        self.on_frame: Callable[[bytes], None] | None = None

    def now(self) -> Instant:
        return Instant(time.monotonic())

    def expect(self, reference: str = "CA1") -> str:
        grant = Grant(reference, "acme", "inbound", Instant(self.now() + INBOUND_LIFE), reference)
        return self.tokens.mint(grant, now=self.now())

    def take_back(self, carrier: Carrier, event: TransferOver) -> Stream | None:
        return None

    def fetch(self, reference: str) -> WebhookReply | None:
        del reference
        return None

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        if self.is_busy:
            return None
        if arrived.call_id not in self.rung:
            self.rung.append(arrived.call_id)
        return Stream(HOST, arrived.call_id, self.expect(arrived.call_id))

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> Line | None:
        await self.may_admit.wait()
        if self.fails:
            raise RuntimeError("the switchboard is on fire")
        grant = self.tokens.spend(
            token, reference=reference, call_id=started.call_id, carrier="acme", now=self.now()
        )
        if grant is None:
            return None
        line = Line(wire, socket, on_frame=self.on_frame)
        self.lines.append(line)
        return line

    def is_expected(self, reference: str, token: str) -> bool:
        return self.tokens.look(token, reference=reference, now=self.now()) is not None

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        if self.note_fails:
            raise RuntimeError("a bug")
        self.noted.append(event)


def acme(secret: bytes = SECRET) -> Carrier:
    return cast("Carrier", Acme(secret))  # dialling and hanging up are not the server's business


def make_app(
    board: Board, *, settings: ServerSettings | None = None, limits: SocketLimits | None = None
) -> PhoneApp:
    return create_app(
        board,
        {"acme": acme()},
        settings=settings or ServerSettings(HOST, sockets=limits or SocketLimits()),
        clocks=Clocks(board.now, time.time),
        absent={"nadir": frozenset({"voice"})},
    )


Transport = Literal["fast", "plain"]


class Served:
    """A running server."""

    def __init__(self, transport: Transport, port: int, board: Board, app: PhoneApp) -> None:
        self.transport = transport
        self.port = port
        self.board = board
        self.app = app
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def serving(
    transport: Transport,
    *,
    limits: SocketLimits | None = None,
    settings: ServerSettings | None = None,
    mount: str = "",
) -> AsyncIterator[Served]:
    """Our own server, or our application inside somebody else's."""
    board = Board()
    app = make_app(board, settings=settings, limits=limits)
    async with asyncio.TaskGroup() as tasks:
        if transport == "fast":
            server = HttpServer(app, port=0, drain_seconds=2.0)
            running = tasks.create_task(server.run())
            try:
                yield Served(transport, await server.started(), board, app)
            finally:
                await server.stop()
                await running
            return
        config = uvicorn.Config(
            Starlette(routes=[Mount(mount, app)]) if mount else app,
            port=0,
            ws="websockets-sansio",
            log_config=None,
            lifespan="off",
            proxy_headers=False,
        )
        theirs = uvicorn.Server(config)
        running = tasks.create_task(theirs.serve())
        while not theirs.started:
            await asyncio.sleep(0.01)  # uvicorn has no event for it
        try:
            yield Served(transport, theirs.servers[0].sockets[0].getsockname()[1], board, app)
        finally:
            app.gate.abort_all()
            theirs.should_exit = True
            await running


def start(token: str, call: str = "CA1") -> str:
    return json.dumps({"event": "start", "call": call, "params": {"token": token}})


def media(data: str) -> str:
    return json.dumps({"event": "media", "data": data})
