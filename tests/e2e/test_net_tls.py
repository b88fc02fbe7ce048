"""Encrypted connections: whoever cannot prove its name is not spoken to."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from getpatter.errors import PatterConnectionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import HttpRequest
from getpatter.net.sockets import WebSocket
from getpatter.net.tls import client_context
from tests.e2e.tls_kit import loopback_certificate

HARMLESS = logging.getLogger("test.websockets.tls")
HARMLESS.setLevel(logging.CRITICAL)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, bytes]:
    return loopback_certificate(tmp_path)


async def _echo(peer: ServerConnection) -> None:
    async for message in peer:
        await peer.send(message)


async def test_a_socket_is_opened_to_whom_we_trust_only(
    certificate: tuple[ssl.SSLContext, bytes],
) -> None:
    context, root = certificate
    async with serve(_echo, "127.0.0.1", 0, ssl=context, logger=HARMLESS) as server:
        url = f"wss://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        with pytest.raises(PatterConnectionError, match=r"(?i)certificate"):
            await WebSocket.open(url)
        client_context().load_verify_locations(cadata=root.decode())
        socket = await WebSocket.open(url)
        socket.send("x" * 100_000)
        assert await socket.receive() == "x" * 100_000
        await socket.close()


async def test_a_request_is_sent_to_whom_we_trust_only(
    certificate: tuple[ssl.SSLContext, bytes],
) -> None:
    context, root = certificate
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    request = HttpRequest(
        "GET",
        f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
        {"Authorization": "Basic x"},
    )
    client = HttpClient("acme", jitter=lambda: -0.45)
    with pytest.raises(PatterConnectionError, match=r"(?i)certificate"):
        await client.send(request)
    assert heads == []
    client_context().load_verify_locations(cadata=root.decode())
    assert (await client.send(request)).body == b"ok"
    await client.aclose()
    server.close()
    await server.wait_closed()


async def test_a_handshake_that_never_ends_is_given_up() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(PatterConnectionError, match="did not open a socket within"):
        await WebSocket.open(url, open_timeout=0.1)
    await gone.wait()
    server.close()
    await server.wait_closed()
