"""Encrypted connections: whoever cannot prove its name is not spoken to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from getpatter.errors import PatterConnectionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import HttpRequest
from getpatter.net.sockets import WebSocket
from getpatter.net.tls import client_context

HARMLESS = logging.getLogger("test.websockets.tls")
HARMLESS.setLevel(logging.CRITICAL)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, bytes]:
    """A server's context for 127.0.0.1, and the root that vouches for it (itself)."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: the context that all tests share keeps every root it was given.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"loopback {serial % 10**9}")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    path = tmp_path / "server.pem"
    path.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, pem


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
