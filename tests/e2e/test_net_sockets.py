"""WebSockets to providers, against a real server on loopback: opening, refusals, messages, drops, closing."""

from __future__ import annotations

import asyncio
import http
import logging
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha1

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response  # noqa: TC002 - as the other imports of the server

from getpatter.errors import (
    AuthenticationError,
    CallEndedError,
    ErrorCode,
    PatterConnectionError,
    PatterError,
    RateLimitError,
    WireError,
)
from getpatter.net.sockets import Message, SocketRequest, WebSocket
from getpatter.net.warm import WarmSockets
from getpatter.testing.time import run as run_in_virtual_time

KEY = "sk-live-51H8abcdefghijkl"


class Provider:
    """A WebSocket server that does what it is told in text, and echoes everything else."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.received: list[Message] = []
        self.closed: list[tuple[int | None, str]] = []
        self.open = 0
        self.refuse: Callable[[ServerConnection, Request], Awaitable[Response | None]] | None = None

    async def talk(self, peer: ServerConnection) -> None:
        self.open += 1
        try:
            with suppress(ConnectionClosed):
                async for message in peer:
                    self.received.append(message)
                    await self.obey(peer, message)
        finally:
            self.open -= 1
            self.closed.append((peer.close_code, peer.close_reason or ""))

    async def obey(self, peer: ServerConnection, message: Message) -> None:
        match message.split() if isinstance(message, str) else ():
            case ["close", code, *reason]:
                await peer.close(int(code), " ".join(reason))
            case ["drop"]:
                peer.transport.abort()
            case ["fragments", number, size]:
                await peer.send(["x" * int(size)] * int(number))
            case ["binary fragments", *_]:
                await peer.send([b"\x00\xff"] * 3)
            case ["half"]:
                await peer.send(_endless(peer))
            case ["burst", number]:
                for n in range(int(number)):
                    await peer.send(str(n))
            case _:
                await peer.send(message)


async def _endless(peer: ServerConnection) -> AsyncIterator[str]:
    yield "first half"
    peer.transport.abort()
    yield "never"


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    ours = Provider()

    async def ask(peer: ServerConnection, request: Request) -> Response | None:
        ours.requests.append(request)
        return None if ours.refuse is None else await ours.refuse(peer, request)

    logger = logging.getLogger("test.websockets")
    logger.setLevel(logging.CRITICAL)
    async with serve(
        ours.talk, "127.0.0.1", 0, process_request=ask, max_size=None, logger=logger,
        select_subprotocol=lambda _peer, offered: offered[0] if offered else None, close_timeout=1,
    ) as server:  # fmt: skip
        port = next(iter(server.sockets)).getsockname()[1]
        ours.url = f"ws://127.0.0.1:{port}/v1/listen?model=x&token={KEY}"
        yield ours


def refusing(
    status: int, body: str, *, after: asyncio.Event | None = None
) -> Callable[[ServerConnection, Request], Awaitable[Response | None]]:
    async def refuse(peer: ServerConnection, request: Request) -> Response:
        if after is not None:
            await after.wait()
        return peer.respond(http.HTTPStatus(status), body)

    return refuse


# --------------------------------------------------------------------------------------------- opening


async def test_text_and_binary_come_back_as_they_were() -> None:
    async with provider() as service:
        socket = await WebSocket.open(
            service.url, headers={"Authorization": f"Token {KEY}"}, subprotocols=("speech.v2",)
        )
        assert socket.is_open
        assert socket.subprotocol == "speech.v2"
        assert socket.send("grüße")
        assert socket.send(b"\x00\xff")
        assert socket.send_text(b'{"a": 1}')
        await socket.drain()
        assert [await socket.receive() for _ in range(3)] == ["grüße", b"\x00\xff", '{"a": 1}']
        await socket.close()
        request = service.requests[0]
        assert request.path == f"/v1/listen?model=x&token={KEY}"
        assert request.headers["Authorization"] == f"Token {KEY}"
        assert request.headers["User-Agent"].startswith("getpatter/")
        assert (socket.close_code, socket.is_open) == (1000, False)
    assert service.closed == [(1000, "")]


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (429, RateLimitError, True),
        (404, PatterConnectionError, False),
        (503, PatterConnectionError, True),
        (302, PatterConnectionError, False),
    ],
)
async def test_a_refused_upgrade_is_our_error_with_the_vendors_words(
    status: int, kind: type[PatterError], retryable: bool
) -> None:
    async with provider() as service:
        service.refuse = refusing(status, f'{{"error": {{"message": "no entry with {KEY}"}}}}')
        with pytest.raises(kind) as caught:
            await WebSocket.open(service.url, headers={"xi-api-key": KEY}, vendor="acme")
    error = caught.value
    assert type(error) is kind
    assert (error.vendor, error.status, error.retryable) == ("acme", status, retryable)
    assert str(error) == f"acme answered {status}: no entry with ***"


async def test_a_slow_upgrade_is_waited_for_and_a_slower_one_is_not() -> None:
    may_answer = asyncio.Event()
    async with provider() as service:

        async def slowly(peer: ServerConnection, request: Request) -> None:
            await may_answer.wait()

        service.refuse = slowly
        opening = asyncio.create_task(WebSocket.open(service.url))
        while not service.requests:
            await asyncio.sleep(0.001)
        assert not opening.done()
        may_answer.set()
        await (await opening).close()

        may_answer.clear()
        with pytest.raises(
            PatterConnectionError, match=r"did not open a socket within 0\.05 s"
        ) as caught:
            await WebSocket.open(service.url, open_timeout=0.05)
        assert caught.value.code is ErrorCode.TIMEOUT
        may_answer.set()


async def test_an_opening_that_is_cancelled_leaves_nothing_open() -> None:
    gone = asyncio.Event()
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        assert await reader.read() == b""
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opening = asyncio.create_task(WebSocket.open(f"ws://127.0.0.1:{port}"))
    await arrived.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await gone.wait()
    server.close()
    await server.wait_closed()


async def test_nobody_there_is_a_connection_error_that_may_be_tried_again() -> None:
    async with provider() as service:
        url = service.url
    with pytest.raises(PatterConnectionError, match="cannot open a socket") as caught:
        await WebSocket.open(url)
    assert caught.value.retryable
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
        b"HTTP/1.1 2",
    ],
)
async def test_a_peer_that_does_not_speak_websocket_is_a_connection_error(answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PatterConnectionError):
        await WebSocket.open(f"ws://127.0.0.1:{port}", open_timeout=2)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws:///nowhere", "wss://"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PatterConnectionError, match="not a WebSocket address") as caught:
        await WebSocket.open(url)
    assert not caught.value.retryable


# ------------------------------------------------------------------------------------------- receiving


async def test_a_long_message_in_fragments_arrives_whole() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        socket.send("fragments 40 70000")
        whole = await socket.receive(limit_s=20)
        assert whole == "x" * 2_800_000
        socket.send("still here")
        assert await socket.receive() == "still here"
        await socket.close()


async def test_a_message_that_is_too_long_ends_the_socket_with_1009() -> None:
    async with provider() as service:
        for command in ("fragments 10 1000", "fragments 1 6000"):
            socket = await WebSocket.open(service.url, max_frame=5000)
            socket.send(command)
            with pytest.raises(
                PatterConnectionError, match="broke the WebSocket protocol"
            ) as caught:
                await socket.receive()
            assert caught.value.status == 1009
    assert [code for code, _ in service.closed] == [1009, 1009]


async def test_many_messages_arrive_in_order_also_for_a_slow_reader() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        socket.send("burst 3000")
        await asyncio.sleep(0.05)
        got = [await socket.receive() for _ in range(3000)]
        assert got == [str(n) for n in range(3000)]
        await socket.close()


async def test_a_listener_gets_what_came_before_it_and_what_comes_after() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        socket.send("early")
        while service.received != ["early"]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        got: list[Message] = []
        ended: asyncio.Future[PatterError | None] = asyncio.get_running_loop().create_future()
        socket.listen(got.append, ended.set_result)
        socket.send("late")
        socket.send("close 1000")
        assert await ended is None
        assert got == ["early", "late"]


async def test_a_message_that_the_reader_refuses_is_dropped_and_counted() -> None:
    got: list[Message] = []
    ended: asyncio.Future[PatterError | None] = asyncio.get_running_loop().create_future()

    def read(message: Message) -> None:
        if message == "bad":
            raise WireError("not what the protocol says")
        got.append(message)

    async with provider() as service:
        socket = await WebSocket.open(service.url, on_message=read, on_close=ended.set_result)
        for message in ("a", "bad", "b", "close 1000"):
            socket.send(message)
        assert await ended is None
    assert got == ["a", "b"]
    assert socket.bad_frames == 1


async def test_a_reader_that_fails_ends_its_socket_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: asyncio.Future[PatterError | None] = asyncio.get_running_loop().create_future()

    def read(message: Message) -> None:
        raise ZeroDivisionError

    async with provider() as service:
        socket = await WebSocket.open(service.url, on_message=read, on_close=ended.set_result)
        socket.send("anything")
        error = await ended
    assert isinstance(error, PatterConnectionError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "socket.reader_failed" in caplog.text


# --------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1013, 4001, 4500])
async def test_the_peers_close_code_and_reason_are_known(code: int) -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url, vendor="acme")
        socket.send("last words")
        socket.send(f"close {code} because {KEY}")
        got: list[Message] = []
        if code == 1000:
            got = [message async for message in socket]
        else:
            reading = _read_into(got, socket)
            expected = f"acme: closed the socket: {code} because"
            with pytest.raises(PatterConnectionError, match=expected) as caught:
                await reading
            assert caught.value.status == code
            assert KEY not in str(caught.value)
        assert got == ["last words"]
        assert (socket.close_code, socket.close_reason) == (code, "because ***")
        assert not socket.send("too late")
        assert socket.unsent_bytes == 0
        await socket.close()
    assert service.closed[0][0] == code


async def _read_into(got: list[Message], socket: WebSocket) -> None:
    async for message in socket:
        got.append(message)  # noqa: PERF401 - what came before the error is wanted


async def test_a_connection_that_breaks_inside_a_message_is_lost() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        socket.send("half")
        with pytest.raises(PatterConnectionError, match="the connection was lost") as caught:
            await socket.receive()
        assert caught.value.retryable
        assert socket.close_code == 1006


async def test_a_reader_that_waits_learns_of_a_drop() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        reading = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        socket.send("drop")
        with pytest.raises(PatterConnectionError, match="lost"):
            await reading
        with pytest.raises(PatterConnectionError, match="lost"):
            await socket.receive()


async def test_the_end_is_told_once_and_also_to_who_listens_later() -> None:
    async with provider() as service:
        told: list[PatterError | None] = []
        socket = await WebSocket.open(service.url, on_message=print, on_close=told.append)
        await socket.close(1000, "done")
        await socket.close()
        socket.abort()
        assert told == [None]
        later: list[PatterError | None] = []
        socket.listen(print, later.append)
        await asyncio.sleep(0)
        assert later == [None]
    assert service.closed == [(1000, "done")]


async def test_closing_is_bounded_when_the_peer_does_not_answer() -> None:
    silent = await _silent_socket()
    await silent.socket.close(limit_s=0.05)
    assert not silent.socket.is_open
    assert [message async for message in silent.socket] == []
    silent.read_all()
    assert await silent.close_codes() == [1000]
    await silent.aclose()


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    silent = await _silent_socket()
    socket = silent.socket
    chunk = b"\x00" * 1_000_000
    sent = 0
    while socket.send(chunk):
        sent += 1
        assert sent < 100
    assert not socket.is_open
    with pytest.raises(PatterConnectionError, match="does not read"):
        await socket.receive()
    await silent.aclose()


async def test_draining_waits_for_the_peer_to_read() -> None:
    silent = await _silent_socket()
    while silent.socket.unsent_bytes < 200_000:
        silent.socket.send(b"\x00" * 50_000)
    draining = asyncio.create_task(silent.socket.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    silent.read_all()
    await draining
    silent.socket.abort()
    await silent.aclose()


async def test_a_peer_that_answers_no_ping_is_given_up() -> None:
    silent = await _silent_socket(ping_every=0.03)
    with pytest.raises(PatterConnectionError, match="answered no ping") as caught:
        await silent.socket.receive()
    assert caught.value.code is ErrorCode.TIMEOUT
    await silent.aclose()


async def test_a_peer_that_answers_pings_is_kept() -> None:
    async with provider() as service:
        socket = await WebSocket.open(service.url, ping_every=0.01)
        with pytest.raises(PatterConnectionError, match="said nothing"):
            await socket.receive(limit_s=0.15)
        assert socket.is_open
        await socket.close()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x02\xff\xfe", 1007),  # text that is not UTF-8
        (b"\xc1\x01a", 1002),  # compressed, which nobody agreed on
        (b"\x80\x01a", 1002),  # a continuation of nothing
        (b"\x01\x01a\x81\x01b", 1002),  # a message inside a message
        (b"\x83\x01a", 1002),  # an unknown kind
        (b"\x88\x01\x03", 1002),  # half a close code
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_left_with_the_right_code(
    frames: bytes, code: int
) -> None:
    silent = await _silent_socket()
    silent.writer.write(frames)
    with pytest.raises(PatterConnectionError, match="broke the WebSocket protocol") as caught:
        await silent.socket.receive()
    assert caught.value.status == code
    silent.read_all()
    assert code in await silent.close_codes()
    await silent.aclose()


async def test_a_close_frame_without_a_code_is_in_order() -> None:
    silent = await _silent_socket()
    silent.writer.write(b"\x88\x00")
    assert [message async for message in silent.socket] == []
    assert silent.socket.close_code == 1005
    await silent.aclose()


async def test_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    async with provider() as service:
        socket = await WebSocket.open(service.url, headers={"Authorization": f"Bearer {KEY}"})
        socket.send(f"close 1008 {KEY}")
        with pytest.raises(PatterConnectionError):
            await socket.receive()
    ours = [
        r.getMessage() for r in caplog.records if not r.name.startswith(("test.", "websockets"))
    ]
    assert KEY not in "\n".join(ours)
    assert KEY not in repr(SocketRequest(service.url, headers={"a": KEY}))


# ---------------------------------------------------------------------------------------- warm sockets


async def test_a_warm_socket_is_handed_out_once_with_what_it_heard() -> None:
    async with provider() as service:
        pool = WarmSockets()
        request = SocketRequest(service.url, vendor="acme")
        pool.warm(request)
        while not service.requests:
            await asyncio.sleep(0.001)
        assert len(pool) == 1
        first = await pool.take(SocketRequest(service.url, vendor="acme"))
        second = await pool.take(request)
        assert first is not second
        assert (len(service.requests), len(pool)) == (2, 0)
        first.send("hello")
        assert await first.receive() == "hello"
        await first.close()
        await second.close()
        await pool.aclose()


async def test_a_socket_that_is_still_opening_is_waited_for() -> None:
    may_answer = asyncio.Event()
    async with provider() as service:

        async def slowly(peer: ServerConnection, request: Request) -> None:
            await may_answer.wait()

        service.refuse = slowly
        pool = WarmSockets()
        pool.warm(SocketRequest(service.url))
        while not service.requests:
            await asyncio.sleep(0.001)
        taking = asyncio.create_task(pool.take(SocketRequest(service.url)))
        await asyncio.sleep(0)
        may_answer.set()
        socket = await taking
        assert len(service.requests) == 1
        await socket.close()
        await pool.aclose()


async def test_another_key_gets_another_socket() -> None:
    async with provider() as service:
        pool = WarmSockets()
        pool.warm(SocketRequest(service.url, headers={"Authorization": "one"}))
        socket = await pool.take(SocketRequest(service.url, headers={"Authorization": "two"}))
        assert len(pool) == 1
        await socket.close()
        await pool.aclose()
        assert len(pool) == 0
    assert service.open == 0


async def test_a_socket_that_died_while_it_waited_is_not_handed_out() -> None:
    async with provider() as service:
        pool = WarmSockets()
        request = SocketRequest(service.url, keep_alive="drop", keep_alive_every=100)
        pool.warm(request)
        while not service.closed:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        socket = await pool.take(SocketRequest(service.url))
        assert len(service.requests) == 2
        assert socket.is_open
        await socket.close()
        await pool.aclose()


async def test_a_waiting_socket_is_kept_alive_and_closed_when_nobody_comes() -> None:
    async with provider() as service:
        pool = WarmSockets(keep_s=0.2)
        pool.warm(
            SocketRequest(service.url, keep_alive='{"type":"KeepAlive"}', keep_alive_every=0.02)
        )
        while not service.closed:
            await asyncio.sleep(0.005)
        assert service.received[:3] == ['{"type":"KeepAlive"}'] * 3
        assert service.closed == [(1000, "")]
        assert len(pool) == 0
        await pool.aclose()


async def test_a_refusal_is_told_to_who_takes_and_an_accident_is_tried_again() -> None:
    async with provider() as service:
        pool = WarmSockets()
        service.refuse = refusing(401, "who are you")
        pool.warm(SocketRequest(service.url))
        with pytest.raises(AuthenticationError, match="who are you"):
            await pool.take(SocketRequest(service.url))
        assert len(service.requests) == 1
        service.refuse = refusing(503, "busy")
        pool.warm(SocketRequest(service.url))
        while len(service.requests) < 2:
            await asyncio.sleep(0.001)
        service.refuse = None
        socket = await pool.take(SocketRequest(service.url))
        await socket.close()
        await pool.aclose()


async def test_the_pool_is_bounded_and_after_closing_it_opens_nothing() -> None:
    async with provider() as service:
        pool = WarmSockets(most=2)
        for _ in range(5):
            pool.warm(SocketRequest(service.url))
        assert len(pool) == 2
        await pool.aclose()
        pool.warm(SocketRequest(service.url))
        assert len(pool) == 0
        await pool.aclose()


@asynccontextmanager
async def opening_slowly() -> AsyncIterator[tuple[Provider, asyncio.Event]]:
    may_answer = asyncio.Event()
    async with provider() as service:

        async def slowly(peer: ServerConnection, request: Request) -> None:
            await may_answer.wait()

        service.refuse = slowly
        yield service, may_answer
        may_answer.set()


async def test_closing_the_pool_ends_who_waits_for_a_socket() -> None:
    async with opening_slowly() as (service, _):
        pool = WarmSockets()
        pool.warm(SocketRequest(service.url))
        taking = asyncio.create_task(pool.take(SocketRequest(service.url)))
        while not service.requests:
            await asyncio.sleep(0.001)
        await pool.aclose()
        with pytest.raises(CallEndedError):
            await taking


async def test_a_socket_whose_taker_was_cancelled_is_closed() -> None:
    async with opening_slowly() as (service, may_answer):
        pool = WarmSockets()
        pool.warm(SocketRequest(service.url))
        taking = asyncio.create_task(pool.take(SocketRequest(service.url)))
        while not service.requests:
            await asyncio.sleep(0.001)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        may_answer.set()
        while not service.closed:
            await asyncio.sleep(0.001)
        assert service.open == 0
        await pool.aclose()


async def test_an_opening_that_outlasts_its_keeping_is_given_up() -> None:
    async with opening_slowly() as (service, _):
        pool = WarmSockets(keep_s=0.02)
        pool.warm(SocketRequest(service.url))
        while len(pool):
            await asyncio.sleep(0.001)
        await pool.aclose()
        assert service.open == 0


# ------------------------------------------------------------------------------------------ a raw peer


class SilentPeer:
    """Answers the upgrade and then nothing: no pings, no close frames. Reads only when told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.socket: WebSocket
        self.server: asyncio.Server
        self.sink: asyncio.Task[bytes] | None = None

    def read_all(self) -> None:
        self.sink = asyncio.create_task(self.reader.read())

    async def close_codes(self) -> list[int]:
        """Codes of the close frames that were sent to us."""
        assert self.sink is not None
        data = await self.sink
        codes = []
        while data:
            kind, length, mask = data[0] & 15, data[1] & 127, data[2:6]
            payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data[6 : 6 + length]))
            if kind == 8 and length >= 2:
                codes.append(struct.unpack("!H", payload[:2])[0])
            data = data[6 + length :]
        return codes

    async def aclose(self) -> None:
        if self.sink is not None:
            await self.sink
        self.writer.transport.abort()
        self.server.close()
        await self.server.wait_closed()


async def _silent_socket(*, ping_every: float | None = None) -> SilentPeer:
    connected: asyncio.Future[SilentPeer] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        key = next(
            line.split(b":", 1)[1].strip()
            for line in head
            if line.lower().startswith(b"sec-websocket-key")
        )
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        connected.set_result(SilentPeer(reader, writer))

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    socket = await WebSocket.open(f"ws://127.0.0.1:{port}", ping_every=ping_every)
    peer = await connected
    peer.socket, peer.server = socket, server
    return peer


# ------------------------------------------------------------------------------------------ other loops


async def _talk_and_lose_patience() -> float:
    async with provider() as service:
        socket = await WebSocket.open(service.url)
        socket.send("fragments 20 10000")
        assert len(await socket.receive(limit_s=0.5)) == 200_000
        began = asyncio.get_running_loop().time()
        with pytest.raises(PatterConnectionError, match="said nothing for 3600 s"):
            await socket.receive(limit_s=3600)
        waited = asyncio.get_running_loop().time() - began
        await socket.close()
        return waited


def test_in_virtual_time_an_hour_of_pings_passes_at_once() -> None:
    assert run_in_virtual_time(_talk_and_lose_patience()) == 3600


def test_it_works_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def talk() -> Message:
        async with provider() as service:
            socket = await WebSocket.open(service.url)
            socket.send("fragments 20 10000")
            whole = await socket.receive()
            socket.send("close 1011 enough")
            with pytest.raises(PatterConnectionError, match="1011 enough"):
                await socket.receive()
            return whole

    assert len(uvloop.run(talk())) == 200_000
