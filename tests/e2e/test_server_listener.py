"""The server of a process: its port, its HTTP, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from getpatter.errors import PatterConnectionError
from getpatter.server.app import create_app
from getpatter.server.gate import ServerSettings
from getpatter.server.limits import SocketLimits
from getpatter.server.listener import HttpServer, loop_factory
from tests.e2e.server_kit import HOST, Board, acme, make_app, media, serving, signature, start

if TYPE_CHECKING:
    from starlette.requests import Request

pytestmark = pytest.mark.e2e


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False)


async def test_health_and_the_status_of_every_kind_of_path() -> None:
    async with serving("fast") as served, client() as http:
        health = await http.get(served.http + "/health")
        assert (health.status_code, health.json()) == (200, {"status": "ok", "mode": "local"})
        assert health.headers["x-content-type-options"] == "nosniff"
        assert "date" in health.headers
        assert "server" not in health.headers
        for method, path, status in [
            ("GET", "/nothing", 404),
            ("GET", "/docs", 404),
            ("GET", "/openapi.json", 404),
            ("POST", "/health", 405),
            ("GET", "/webhooks/acme/voice", 405),
            ("POST", "/webhooks/acme/other", 404),
            ("POST", "/webhooks/nadir/voice", 503),
            ("GET", "/ws/stream/CA1", 426),
            ("GET", "/ws/acme/stream/CA1", 426),
            ("POST", "/ws/stream/CA1", 405),
            ("GET", "/ws/other", 404),
        ]:
            answer = await http.request(method, served.http + path)
            assert answer.status_code == status, path
            assert "detail" in answer.json()
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_webhook_hands_out_the_token_of_its_call() -> None:
    async with serving("fast") as served, client() as http:
        body = b'{"call": "CA1"}'
        signed = {"x-acme-signature": signature("/webhooks/acme/voice", body)}
        url = served.http + "/webhooks/acme/voice"
        answer = await http.post(url, content=body, headers=signed)
        document = answer.json()
        assert document["url"] == f"wss://{HOST}/ws/stream/CA1"
        async with connect(served.ws + "/ws/stream/CA1", proxy=None) as carrier:
            await carrier.send(start(document["token"]))
            await carrier.send(media("hello"))
            assert json.loads(await carrier.recv())["data"] == "hello"


@pytest.mark.parametrize("framing", ["Content-Length: 1048577", "Transfer-Encoding: chunked"])
async def test_a_body_without_end_is_stopped_at_a_mebibyte(framing: str) -> None:
    async with serving("fast") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /webhooks/acme/voice HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            writer.write(b"100001\r\n" + b"x" * 0x100001 + b"\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer
        writer.close()


async def test_a_body_that_dawdles_is_given_up() -> None:
    settings = ServerSettings(HOST, body_seconds=0.05)
    async with serving("fast", settings=settings) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST /webhooks/acme/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_never_says_what_it_wants_is_closed(said: bytes) -> None:
    server = HttpServer(make_app(Board()), port=0, request_seconds=0.05)
    running = asyncio.get_running_loop().create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.started())
    writer.write(said)
    assert await reader.read() == b""
    writer.close()
    await server.stop()
    await running


async def test_our_application_works_inside_another_one() -> None:
    """Signatures are over the path as the carrier asked for it, mount point included."""

    async def theirs(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("theirs")

    board = Board()
    app = make_app(board, settings=ServerSettings(f"{HOST}/phone"))
    outer = Starlette(routes=[Route("/mine", theirs), Mount("/phone", app)])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as http:
        assert (await http.get("/mine")).text == "theirs"
        assert (await http.get("/phone/health")).json()["status"] == "ok"
        assert (await http.get("/phone/nothing")).json() == {"detail": "Not Found"}
        assert (await http.get("/phone/ws/stream/CA1")).status_code == 426
        body = b'{"call": "CA1"}'
        path = "/phone/webhooks/acme/voice?ticket=a%2Fb"
        signed = {"x-acme-signature": signature(path, body)}
        assert (await http.post(path, content=body, headers=signed)).status_code == 200
        assert board.rung == ["CA1"]


async def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HttpServer(make_app(Board()), port=port)
        with pytest.raises(PatterConnectionError, match=rf"port {port} .* in use.*serve\(port="):
            await server.run()
        with pytest.raises(PatterConnectionError, match="in use"):
            await server.started()
        await server.stop()


async def test_an_address_that_is_not_ours_is_explained() -> None:
    server = HttpServer(make_app(Board()), bind_host="192.0.2.1", port=0)
    with pytest.raises(PatterConnectionError, match="PATTER_BIND_HOST"):
        await server.run()


async def test_stopping_before_the_start_is_harmless() -> None:
    await HttpServer(make_app(Board())).stop()


async def test_a_shutdown_says_so_to_every_socket_and_frees_the_port() -> None:
    async with serving("fast") as served, client() as http:
        await http.get(served.http + "/health")
        in_call = await connect(served.ws + "/ws/stream/CA1", proxy=None)
        await in_call.send(start(served.board.expect()))
        await in_call.send(media("hello"))
        await in_call.recv()
        silent = await connect(served.ws + "/ws/stream/CA1", proxy=None)
        port = served.port
    for peer in (in_call, silent):
        with pytest.raises(ConnectionClosed):
            await peer.recv()
        assert (peer.close_code, peer.close_reason) == (1001, "Server shutting down")
    assert served.board.lines[0].closings == [1001]
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_during_a_shutdown_nobody_is_let_in() -> None:
    async with serving("fast") as served, client() as http:
        await http.get(served.http + "/health")
        served.board.is_stopping = True
        health = await http.get(served.http + "/health")
        assert (health.status_code, health.json()["status"]) == (503, "stopping")
        for path in ("/webhooks/acme/voice", "/nothing"):
            answer = await http.post(served.http + path)
            assert (answer.status_code, answer.json()) == (503, {"detail": "Server shutting down"})


async def test_a_peer_that_ignores_the_shutdown_is_cut() -> None:
    board = Board()
    app = make_app(board, limits=SocketLimits(close_seconds=60))
    server = HttpServer(app, port=0, drain_seconds=0.05)
    running = asyncio.get_running_loop().create_task(server.run())
    port = await server.started()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws/stream/CA1 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, 1.3
    await server.stop()
    frame = await reader.readexactly(24)
    assert frame == b"\x88\x16\x03\xe9Server shutting down"
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    await running


async def test_a_cancelled_run_frees_the_port_and_the_sockets() -> None:
    board = Board()
    server = HttpServer(make_app(board), port=0)
    running = asyncio.get_running_loop().create_task(server.run())
    port = await server.started()
    peer = await connect(f"ws://127.0.0.1:{port}/ws/stream/CA1", proxy=None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ConnectionClosed):
        await peer.recv()
    with socket.create_server(("127.0.0.1", port)):
        pass
    await server.stop()


async def test_a_bug_is_answered_with_its_number_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: Request) -> PlainTextResponse:
        raise RuntimeError("a secret")

    app = create_app(
        Board(),
        {"acme": acme()},
        settings=ServerSettings(HOST),
        routes=[Route("/broken", broken)],
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as http:
        answer = await http.get("/broken")
    assert answer.status_code == 500
    assert list(answer.json()) == ["id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f"server.failed id={answer.json()['id']}" in caplog.text


async def test_no_log_line_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "getpatter")
    caplog.set_level(logging.INFO, "uvicorn")
    async with serving("fast") as served, client() as http:
        token = served.board.expect()
        await http.get(served.http + f"/ws/stream/CA1?token={token}")
        async with connect(served.ws + f"/ws/stream/CA1?token={token}", proxy=None) as peer:
            await peer.send('{"event": "start", "call": "CA2"}')
            with pytest.raises(ConnectionClosed):
                await peer.recv()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("getpatter", "uvicorn"))]
    assert any("media.refused" in line for line in ours)
    assert not any(token in line for line in ours)


async def test_the_log_configuration_of_the_process_is_left_alone() -> None:
    names = ("uvicorn", "uvicorn.access", "uvicorn.error", "asyncio", "")
    before = [
        (one.level, one.propagate, list(one.handlers), one.disabled)
        for one in map(logging.getLogger, names)
    ]
    async with serving("fast"):
        pass
    after = [
        (one.level, one.propagate, list(one.handlers), one.disabled)
        for one in map(logging.getLogger, names)
    ]
    assert before == after


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist there")
def test_the_fast_loop_serves_a_call() -> None:
    async def call() -> str:
        async with serving("fast") as served:
            peer = await connect(served.ws + "/ws/stream/CA1", proxy=None)
            await peer.send(start(served.board.expect()))
            await peer.send(media("over uvloop"))
            answer = json.loads(await peer.recv())["data"]
            await peer.close()
            assert isinstance(answer, str)
            return answer

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(call()) == "over uvloop"
        assert type(runner.get_loop()).__module__.startswith("uvloop")
