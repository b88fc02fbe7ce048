"""Media sockets over real connections, through both transports, with an independent client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from getpatter.server.gate import ServerSettings
from getpatter.server.limits import SocketLimits, TrustedProxies
from tests.e2e.server_kit import HOST, Served, Transport, media, serving, signature, start

pytestmark = pytest.mark.e2e
LOST = ([1006], [1005])  # an ASGI server may not know better than "no code"
TRANSPORTS: tuple[Transport, ...] = ("fast", "plain")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def served(transport: Transport) -> AsyncIterator[Served]:
    async with asyncio.timeout(20), serving(transport) as one:
        yield one


def open_socket(
    served: Served, path: str = "/ws/stream/CA1", headers: dict[str, str] | None = None
) -> connect:
    return connect(served.ws + path, proxy=None, additional_headers=headers)


async def closing(client: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while await client.recv():
            pass
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


async def admitted(served: Served, client: ClientConnection, call: str = "CA1") -> None:
    await client.send('{"event": "connected"}')
    await client.send(start(served.board.expect(call), call))
    await client.send(media("hello"))
    assert json.loads(await client.recv())["data"] == "hello"


async def refused(
    served: Served, path: str, headers: dict[str, str] | None = None
) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        async with open_socket(served, path, headers):
            pass
    return caught.value


@pytest.mark.parametrize("path", ["/ws/stream/CA1", "/ws/acme/stream/CA1", "/ws/nadir/stream/CA1"])
async def test_a_call_is_heard_and_answered_on_every_path(served: Served, path: str) -> None:
    async with open_socket(served, path) as client:
        await admitted(served, client)
        for n in range(50):
            await client.send(media(f"piece {n}"))
        answers = [json.loads(await client.recv())["data"] for _ in range(50)]
    assert answers == [f"piece {n}" for n in range(50)]
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings == [1000]
    while served.app.gate.census.total:
        await asyncio.sleep(0)


async def test_no_compression_is_agreed_on_in_our_server() -> None:
    async with serving("fast") as served, open_socket(served) as client:
        assert client.protocol.extensions == []


async def test_the_eleventh_silent_socket_is_told_to_wait(served: Served) -> None:
    clients = [await open_socket(served) for _ in range(10)]
    error = await refused(served, "/ws/stream/CA1")
    assert error.response.status_code == 429
    assert error.response.headers["retry-after"] == "1"
    assert error.response.headers["x-content-type-options"] == "nosniff"
    await clients.pop().close()
    while served.app.gate.census.strangers("127.0.0.1") == 10:
        await asyncio.sleep(0)
    clients.append(await open_socket(served))
    for client in clients:
        await client.close()
    while served.app.gate.census.total:
        await asyncio.sleep(0)


async def test_slots_come_back_when_the_peer_just_vanishes(served: Served) -> None:
    for _ in range(3):
        clients = [await open_socket(served) for _ in range(10)]
        for client in clients:
            client.transport.abort()
        while served.app.gate.census.total:
            await asyncio.sleep(0)


async def test_a_slot_comes_back_when_the_handshake_is_broken(served: Served) -> None:
    for _ in range(12):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"GET /ws/stream/CA1 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: nonsense\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    assert served.app.gate.census.total == 0


async def test_twenty_calls_from_one_address_are_served(served: Served) -> None:
    clients = []
    for n in range(20):
        client = await open_socket(served, f"/ws/stream/CA{n}")
        await admitted(served, client, f"CA{n}")
        clients.append(client)
    assert served.app.gate.census.strangers("127.0.0.1") == 0
    for client in clients:
        await client.close()


async def test_a_token_in_the_url_makes_nobody_a_stranger(served: Served) -> None:
    clients = []
    for n in range(20):
        token = served.board.expect(f"CA{n}")
        clients.append(await open_socket(served, f"/ws/stream/CA{n}?token={token}&caller=x"))
    await clients[7].send(json.dumps({"event": "start", "call": "CA7"}))
    await clients[7].send(media("hello"))
    assert json.loads(await clients[7].recv())["data"] == "hello"
    for client in clients:
        await client.close()


async def test_a_genuine_signature_makes_nobody_a_stranger(served: Served) -> None:
    headers = {"X-Acme-Signature": signature("/ws/stream/CA1")}
    clients = [await open_socket(served, headers=headers) for _ in range(12)]
    assert served.app.gate.census.strangers("127.0.0.1") == 0
    for client in clients:
        await client.close()


async def test_a_wrong_signature_is_forbidden_before_the_upgrade(served: Served) -> None:
    error = await refused(
        served, "/ws/stream/CA1", {"X-Acme-Signature": signature("/ws/stream/CA2")}
    )
    assert error.response.status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/ws", "/ws/", "/ws/stream/", "/ws/other/stream/1", "/ws/stream/1/2"]
)
async def test_other_paths_are_not_sockets(served: Served, path: str) -> None:
    assert (await refused(served, path)).response.status_code == 404


async def test_a_stopping_server_takes_no_sockets(served: Served) -> None:
    served.board.is_stopping = True
    assert (await refused(served, "/ws/stream/CA1")).response.status_code == 503


async def test_the_house_is_full(transport: Transport) -> None:
    async with serving(transport, limits=SocketLimits(total=2)) as served:
        clients = [await open_socket(served) for _ in range(2)]
        assert (await refused(served, "/ws/stream/CA1")).response.status_code == 503
        for client in clients:
            await client.close()


async def test_a_forwarding_header_of_a_stranger_changes_nothing(served: Served) -> None:
    clients = [
        await open_socket(served, headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(10)
    ]
    error = await refused(served, "/ws/stream/CA1", {"X-Forwarded-For": "198.51.100.99"})
    assert error.response.status_code == 429
    for client in clients:
        await client.close()


async def test_a_trusted_proxy_is_believed(transport: Transport) -> None:
    settings = ServerSettings(HOST, proxies=TrustedProxies.of(["127.0.0.1"]))
    async with serving(transport, settings=settings) as served:
        clients = [
            await open_socket(served, headers={"X-Forwarded-For": f"6.6.6.6, 198.51.100.{n}"})
            for n in range(12)
        ]
        assert served.app.gate.census.strangers("198.51.100.3") == 1
        for client in clients:
            await client.close()


# ------------------------------------------------------------------------------------- at the door


async def test_a_silent_socket_is_closed(transport: Transport) -> None:
    async with serving(transport, limits=SocketLimits(proof_seconds=0.05)) as served:
        clients = [await open_socket(served) for _ in range(10)]
        assert [await closing(client) for client in clients] == [(1008, "refused")] * 10
        assert served.app.gate.census.total == 0


@pytest.mark.parametrize(
    "frame",
    [
        start("forged"),
        start(""),
        '{"event": "start", "call": "CA1"}',
        media("early"),
        '{"event": "stop"}',
        "not json",
        "[]",
        b"binary",
        media("x" * 70_000),
        media("x" * 700_000),
        ["[" * 40_000, "[" * 40_000],
    ],
    ids=str,
)
async def test_whoever_has_no_token_gets_nothing(
    served: Served, frame: str | bytes | list[str]
) -> None:
    async with open_socket(served) as client:
        await client.send(frame)
        assert await closing(client) == (1008, "refused")
    assert served.board.lines == []


async def test_small_talk_does_not_keep_the_door_open(served: Served) -> None:
    async with open_socket(served) as client:
        for _ in range(5):
            await client.send('{"event": "connected"}')
        assert await closing(client) == (1008, "refused")


async def test_a_token_works_once(served: Served) -> None:
    token = served.board.expect()
    async with open_socket(served) as first, open_socket(served) as second:
        await first.send(start(token))
        await first.send(media("hello"))
        await first.recv()
        await second.send(start(token))
        assert (await closing(second))[0] == 1008
        await first.send(media("still here"))
        assert json.loads(await first.recv())["data"] == "still here"


async def test_a_token_is_for_one_call(served: Served) -> None:
    token = served.board.expect("CA1")
    async with open_socket(served, "/ws/stream/CA1") as client:
        await client.send(start(token, "CA2"))
        assert (await closing(client))[0] == 1008


async def test_what_is_said_during_admission_arrives_after_it(served: Served) -> None:
    served.board.may_admit.clear()
    async with open_socket(served) as client:
        await client.send(start(served.board.expect()))
        for n in range(20):
            await client.send(media(str(n)))
        served.board.may_admit.set()
        assert [json.loads(await client.recv())["data"] for _ in range(20)] == [
            str(n) for n in range(20)
        ]


async def test_a_peer_that_leaves_during_admission_is_reported_once(served: Served) -> None:
    served.board.may_admit.clear()
    client = await open_socket(served)
    await client.send(start(served.board.expect()))
    client.transport.abort()
    await client.wait_closed()
    served.board.may_admit.set()
    while not served.board.lines:
        await asyncio.sleep(0)
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings in LOST


async def test_a_broken_switchboard_is_an_internal_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.board.fails = True
    async with open_socket(served) as client:
        await client.send(start(served.board.expect()))
        assert (await closing(client))[0] == 1011
    assert "media.admission_failed" in caplog.text


# ------------------------------------------------------------------------------------- in the call


async def test_rubbish_in_mid_call_leaves_the_conversation_running(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await client.send("not json")
        await client.send(b"\x00\x01")
        await client.send([b"\x00", b"\x01"])
        await client.send("x" * (256 * 1024 + 1))
        await client.send(["x" * 200_000, "x" * 200_000])
        await client.send(media("still here"))
        assert json.loads(await client.recv())["data"] == "still here"
    line = served.board.lines[0]
    assert line.drops == ["binary", "binary", "too_long", "too_long"]
    assert line.frames[1] == b"not json"


async def test_a_frame_of_exactly_the_limit_is_handed_on(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await client.send("x" * (256 * 1024))
        await client.send(media("after"))
        await client.recv()
    assert len(served.board.lines[0].frames[1]) == 256 * 1024


async def test_a_message_in_pieces_is_one_message(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        text = media("in pieces")
        await client.send([text[:5], text[5:9], "", text[9:]])
        assert json.loads(await client.recv())["data"] == "in pieces"


async def test_pings_are_answered(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await (await client.ping())


async def test_a_long_answer_arrives_whole(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await client.send(media("y" * 200_000))
        assert json.loads(await client.recv())["data"] == "y" * 200_000


async def test_we_say_goodbye_after_what_we_had_to_say(served: Served) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await client.send(media("last words"))
        await client.send('{"event": "stop"}')
        assert json.loads(await client.recv())["data"] == "last words"
        assert await closing(client) == (1000, "bye")
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings == [1000]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_the_call_learns_how_the_peer_left(served: Served, code: int) -> None:
    async with open_socket(served) as client:
        await admitted(served, client)
        await client.close(code)
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings == [code]


async def test_a_connection_that_breaks_is_1006(served: Served) -> None:
    client = await open_socket(served)
    await admitted(served, client)
    client.transport.abort()
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings in LOST


async def test_a_listener_that_raises_ends_its_own_call_only(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_socket(served, "/ws/stream/CA2") as other, open_socket(served) as client:
        await admitted(served, other, "CA2")

        def explode(_frame: bytes) -> None:
            raise RuntimeError("a bug")

        served.board.on_frame = explode
        await client.send(start(served.board.expect()))
        while len(served.board.lines) < 2:
            await asyncio.sleep(0)
        await client.send(media("boom"))
        assert (await closing(client))[0] == 1011
        await other.send(media("unharmed"))
        assert json.loads(await other.recv())["data"] == "unharmed"
    assert "media.listener_failed" in caplog.text


async def test_a_peer_that_does_not_read_is_cut_off(transport: Transport) -> None:
    limits = SocketLimits(unsent_bytes=512 * 1024)
    async with serving(transport, limits=limits) as served:
        client = await connect(served.ws + "/ws/stream/CA1", proxy=None, compression=None)
        await admitted(served, client)
        client.transport.pause_reading()
        line = served.board.lines[0]
        sent = 0
        most = 0
        while not line.ended.is_set():
            line.socket.send(b"x" * 65_536)
            most = max(most, line.socket.unsent_bytes)
            sent += 1
            assert sent < 1000
            await asyncio.sleep(0)
        assert most <= limits.unsent_bytes + 65_536
        assert line.closings in LOST
        line.socket.send(b"more")
        line.socket.close(1000)
        client.transport.abort()


UPGRADE = (
    b"GET /ws/stream/CA1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HALF_A_MEBIBYTE = b"\x81\xff" + (512 * 1024).to_bytes(8, "big") + b"\0\0\0\0"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff" * 100,
        b"\x81\x05hello",
        b"\x83\x80\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"GET / HTTP/1.1\r\n",
    ],
    ids=["reserved bits", "no mask", "unknown opcode", "fragmented ping", "another protocol"],
)
async def test_whoever_does_not_speak_websocket_is_shown_out(
    served: Served, rubbish: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(rubbish)
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    writer.close()
    while served.app.gate.census.total:
        await asyncio.sleep(0)


async def test_a_stranger_cannot_make_us_collect_a_large_frame() -> None:
    patient = SocketLimits(proof_seconds=1000, close_seconds=1000)
    async with asyncio.timeout(10), serving("fast", limits=patient) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HALF_A_MEBIBYTE + b"x" * (64 * 1024))
        assert await reader.readexactly(11) == b"\x88\x09\x03\xf0refused"
        writer.close()


async def test_a_stranger_that_does_not_stop_when_told_to_is_cut_off() -> None:
    patient = SocketLimits(proof_seconds=1000, close_seconds=1000)
    frame = b"\x81\xfe" + (60_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 60_000
    async with asyncio.timeout(10), serving("fast", limits=patient) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while served.app.gate.census.total:
                writer.write(frame)
                await writer.drain()
        writer.close()


async def test_a_peer_that_starts_and_leaves_in_one_breath_is_reported_once(
    served: Served,
) -> None:
    served.board.may_admit.clear()
    text = start(served.board.expect()).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    # A masked text frame and a masked close frame (1000), with a mask of zeros.
    writer.write(b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text)
    writer.write(b"\x88\x82\0\0\0\0\x03\xe8")
    await reader.readexactly(4 if served.transport == "fast" else 0)
    served.board.may_admit.set()
    while not served.board.lines:
        await asyncio.sleep(0)
    await served.board.lines[0].ended.wait()
    assert served.board.lines[0].closings == [1000]
    writer.close()


async def test_a_peer_cannot_fill_our_memory_during_admission(served: Served) -> None:
    async def pour(client: ClientConnection) -> None:
        for _ in range(500):
            await client.send("x" * 60_000)

    served.board.may_admit.clear()
    served.board.on_frame = lambda _frame: None
    url = served.ws + "/ws/stream/CA1"
    async with connect(url, proxy=None, compression=None) as client, asyncio.TaskGroup() as tasks:
        await client.send(start(served.board.expect()))
        pouring = tasks.create_task(pour(client))
        await asyncio.wait([pouring], timeout=0.3)
        assert not pouring.done()  # 30 MB do not fit into the sockets' buffers
        served.board.may_admit.set()
        await pouring
        while len(served.board.lines[0].frames) < 500:
            await asyncio.sleep(0)


async def test_a_call_that_is_still_being_placed_is_given_time(transport: Transport) -> None:
    async with serving(transport, limits=SocketLimits(proof_seconds=0.05)) as served:
        served.board.may_admit.clear()
        async with open_socket(served) as client:
            await client.send(start(served.board.expect()))
            await client.send(media("patient"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.2)
            served.board.may_admit.set()
            assert json.loads(await client.recv())["data"] == "patient"


async def test_all_sockets_can_be_closed_wherever_the_application_runs(served: Served) -> None:
    async with open_socket(served) as in_call, open_socket(served) as silent:
        await admitted(served, in_call)
        await served.app.gate.close_all(1001, "Server shutting down", within=5)
        assert await closing(in_call) == (1001, "Server shutting down")
        assert await closing(silent) == (1001, "Server shutting down")
        assert served.board.lines[0].closings == [1001]
        assert (await refused(served, "/ws/stream/CA1")).response.status_code == 503


class Caller(WSListener):
    """A second client that shares no code with the first, and sends before it is asked anything."""

    def __init__(self, frames: list[str]) -> None:
        self.frames = frames
        self.heard: list[bytes] = []
        self.closed_with = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        for frame in self.frames:
            transport.send(WSMsgType.TEXT, frame.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.heard.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed_with = int(frame.get_close_code())  # type: ignore[call-overload]
            transport.send_close(frame.get_close_code())
            transport.disconnect()


async def test_another_client_that_says_everything_at_once(served: Served) -> None:
    lines = [media(str(n)) for n in range(500)]
    frames = ['{"event": "connected"}', start(served.board.expect()), *lines, '{"event": "stop"}']
    caller = Caller(frames)
    transport, _ = await ws_connect(lambda: caller, served.ws + "/ws/stream/CA1")
    await transport.wait_disconnected()
    assert [json.loads(frame)["data"] for frame in caller.heard] == [str(n) for n in range(500)]
    assert caller.closed_with == 1000


async def test_a_socket_below_a_mount_point_is_the_same() -> None:
    async with serving("plain", mount="/phone") as served:
        path = "/phone/ws/stream/CA1"
        async with open_socket(served, path, {"X-Acme-Signature": signature(path)}) as client:
            assert served.app.gate.census.strangers("127.0.0.1") == 0
            await admitted(served, client)
        assert (await refused(served, "/phone/other")).response.status_code == 404
