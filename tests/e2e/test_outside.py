"""Tools and `on_message` somewhere on the web: over real sockets, within their bounds, to nobody private."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from getpatter.errors import PatterConnectionError, WireError
from getpatter.net.addresses import AddressRefusedError
from getpatter.net.messages import HttpRequest
from getpatter.net.public import NotSentError, PublicHttp
from getpatter.net.tls import client_context
from getpatter.runtime import webhook_tools
from getpatter.runtime.remote import RemoteMessages, RemoteReplies
from getpatter.runtime.tools import State
from getpatter.runtime.webhook_tools import WebhookTools
from getpatter.tools import Tool

Script = Callable[["Asked"], Awaitable[None]]


class Asked:
    """One request that arrived, and how to answer it."""

    def __init__(self, writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        self.head, self.body, self._writer = head, body, writer

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    async def answer(self, status: int, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", *headers, "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)
        await self._writer.drain()

    def cut(self) -> None:
        self._writer.transport.abort()


class Elsewhere:
    """A server of somebody else's; `script` answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                asked = Asked(writer, head, b"")
                asked.body = await reader.readexactly(int(asked.header("content-length") or 0))
                self.asked.append(asked)
                await self.script(asked)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def elsewhere(script: Script, **options: Any) -> AsyncIterator[Elsewhere]:
    ours = Elsewhere(script)
    server = await asyncio.start_server(ours.talk, "127.0.0.1", 0, **options)
    ours.port = server.sockets[0].getsockname()[1]
    try:
        yield ours
    finally:
        server.close()
        await ours.close()


class Names:
    """A name server that says what a test wants, and counts how often it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def public(names: Names | None = None, **options: Any) -> AsyncIterator[PublicHttp]:
    client = PublicHttp("tool", ask=names or Names(["127.0.0.1"]), **options)
    try:
        yield client
    finally:
        await client.aclose()
        await client.aclose()


def ok(body: bytes = b'{"ok":true}', *headers: str) -> Script:
    return lambda asked: asked.answer(200, body, *headers)


async def get(client: PublicHttp, url: str, *, max_body: int = 1000, timeout: float = 5.0) -> Any:  # noqa: ASYNC109
    return await client.send(HttpRequest("GET", url), max_body=max_body, timeout=timeout)


# ------------------------------------------------------------------------------------- whom it asks


async def test_a_name_that_leads_to_this_machine_is_refused_before_anything_is_sent() -> None:
    async with elsewhere(ok()) as there, public() as client:
        for host in ("tools.example", "127.0.0.1", "localhost"):
            with pytest.raises(AddressRefusedError):
                await get(client, f"http://{host}:{there.port}/")
    assert there.connections == 0


async def test_a_connection_goes_to_the_address_that_was_checked_and_keeps_the_name() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    async with elsewhere(ok()) as there, public(names, allow_private=True) as client:
        url = f"http://tools.example:{there.port}/x?y=1"
        assert (await get(client, url)).body == b'{"ok":true}'
        assert (await get(client, url)).status == 200
    assert names.asked == ["tools.example"]  # the second request used the first connection
    assert there.connections == 1
    assert there.asked[0].head.startswith("GET /x?y=1 HTTP/1.1")
    assert there.asked[0].header("host") == f"tools.example:{there.port}"


async def test_a_name_that_changes_its_mind_is_judged_again_for_each_connection() -> None:
    async def once(asked: Asked) -> None:
        await asked.answer(200, b"", "Connection: close")

    names = Names(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"])
    async with elsewhere(once) as there:
        lenient, strict = PublicHttp("a", ask=names, allow_private=True), PublicHttp("b", ask=names)
        await get(lenient, f"http://tools.example:{there.port}/")
        with pytest.raises(AddressRefusedError):
            await get(strict, f"http://tools.example:{there.port}/")
        await lenient.aclose()
        await strict.aclose()
    assert there.connections == 1


async def test_an_address_that_does_not_answer_is_passed_over_for_the_next() -> None:
    async with (
        elsewhere(ok()) as there,
        public(Names(["127.0.0.2", "127.0.0.1"]), allow_private=True) as client,
    ):
        assert (await get(client, f"http://tools.example:{there.port}/")).status == 200


async def test_nobody_there_means_that_nothing_was_sent() -> None:
    async with elsewhere(ok()) as there:
        port = there.port
    async with public(allow_private=True) as client:
        with pytest.raises(NotSentError):
            await get(client, f"http://tools.example:{port}/")


@pytest.mark.parametrize(
    "location", ["/elsewhere", "http://127.0.0.1/", "https://other.example/", "//other.example/x"]
)
async def test_redirects_to_other_places_are_not_followed(location: str) -> None:
    async def redirect(asked: Asked) -> None:
        await asked.answer(307, b"", f"Location: {location}")

    async with elsewhere(redirect) as there, public(allow_private=True) as client:
        assert (await get(client, f"http://tools.example:{there.port}/")).status == 307
    assert len(there.asked) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's context for `tools.example`, whose root is trusted from now on."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tools {serial % 10**9}")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("tools.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "server.pem"
    path.write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    client_context().load_verify_locations(cadata=pem.decode())
    return context


async def test_the_certificate_must_be_that_of_the_name(certificate: ssl.SSLContext) -> None:
    async with (
        elsewhere(ok(), ssl=certificate) as there,
        public(allow_private=True) as client,
    ):
        assert (await get(client, f"https://tools.example:{there.port}/")).status == 200
        with pytest.raises(NotSentError):
            await get(client, f"https://other.example:{there.port}/")


async def test_one_redirect_to_the_same_host_over_tls_is_followed(
    certificate: ssl.SSLContext,
) -> None:
    async with elsewhere(ok(), ssl=certificate) as safe:
        target = f"https://tools.example:{safe.port}/safe"

        async def redirect(asked: Asked) -> None:
            await asked.answer(308, b"", f"Location: {target}")

        async with elsewhere(redirect) as there, public(allow_private=True) as client:
            request = HttpRequest("POST", f"http://tools.example:{there.port}/", {}, b"body")
            answer = await client.send(request, max_body=100, timeout=5.0)
    assert answer.body == b'{"ok":true}'
    assert safe.asked[0].body == b"body"


# ------------------------------------------------------------------------------------------ how much


async def test_answers_are_read_up_to_their_limit_compressed_or_not() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    bodies = {
        "/fits": (b"x" * 1000, ""),
        "/long": (b"x" * 1001, ""),
        "/packed": (gzip.compress(b"x" * 1000), "gzip"),
        "/bomb": (bomb, "gzip"),
        "/odd": (b"x", "br"),
        "/broken": (b"no gzip", "gzip"),
    }

    async def answer(asked: Asked) -> None:
        body, encoding = bodies[asked.head.split(" ")[1]]
        await asked.answer(200, body, *([f"Content-Encoding: {encoding}"] if encoding else []))

    async with elsewhere(answer) as there, public(allow_private=True) as client:
        base = f"http://tools.example:{there.port}"
        assert (await get(client, f"{base}/fits")).body == b"x" * 1000
        assert (await get(client, f"{base}/packed")).body == b"x" * 1000
        for path in ("/long", "/bomb", "/odd", "/broken"):
            with pytest.raises(PatterConnectionError):
                await get(client, base + path)


async def test_silence_ends_after_its_time() -> None:
    async def silent(asked: Asked) -> None:
        await asyncio.Event().wait()

    async with elsewhere(silent) as there, public(allow_private=True) as client:
        with pytest.raises(PatterConnectionError, match="no answer within"):
            await get(client, f"http://tools.example:{there.port}/", timeout=0.05)


# ------------------------------------------------------------------------------------- webhook tools

CONTEXT = {"call_id": "CA1", "caller": "+1555", "callee": "+1666", "idempotency_key": "K"}


def webhook(there: Elsewhere, **options: Any) -> Tool:
    return Tool("book", webhook_url=f"http://tools.example:{there.port}/book", **options)


def in_turn(*scripts: Script) -> Script:
    left = list(scripts)

    async def next_of_them(asked: Asked) -> None:
        script = left.pop(0) if len(left) > 1 else left[0]
        await script(asked)

    return next_of_them


async def cut(asked: Asked) -> None:
    asked.cut()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_tools, "PAUSE", 0.001)


async def test_a_webhook_is_asked_with_the_documented_body() -> None:
    async with elsewhere(ok(b'{"seat": "7A"}')) as there, public(allow_private=True) as client:
        answer = await WebhookTools(client).ask(webhook(there), {"day": "mon"}, CONTEXT)
    assert (answer.text, answer.state) == ('{"seat":"7A"}', State.DONE)
    (asked,) = there.asked
    assert asked.head.startswith("POST /book ")
    assert asked.header("content-type") == "application/json"
    assert asked.header("idempotency-key") == "K"
    assert asked.json == {
        "tool": "book",
        "arguments": {"day": "mon"},
        "call_id": "CA1",
        "caller": "+1555",
        "callee": "+1666",
        "attempt": 1,
    }


@pytest.mark.parametrize("trouble", [cut, lambda asked: asked.answer(503)])
async def test_a_webhook_in_trouble_is_asked_three_times_with_one_key(trouble: Script) -> None:
    async with (
        elsewhere(in_turn(trouble, trouble, ok())) as there,
        public(allow_private=True) as client,
    ):
        answer = await WebhookTools(client).ask(webhook(there), {}, CONTEXT)
    assert answer.state is State.DONE
    assert [asked.json["attempt"] for asked in there.asked] == [1, 2, 3]
    assert {asked.header("idempotency-key") for asked in there.asked} == {"K"}


@pytest.mark.parametrize("trouble", [cut, lambda asked: asked.answer(500)])
async def test_what_cannot_be_undone_is_not_asked_for_twice(trouble: Script) -> None:
    async with elsewhere(trouble) as there, public(allow_private=True) as client:
        tool = webhook(there, effect="irreversible")
        answer = await WebhookTools(client).ask(tool, {}, CONTEXT)
    assert answer.state is State.UNKNOWN
    assert json.loads(answer.text) == {"error": "The tool did not answer.", "fallback": True}
    assert len(there.asked) == 1


async def test_what_was_not_sent_at_all_may_be_asked_for_again() -> None:
    async with elsewhere(ok()) as there:
        tool = webhook(there, effect="irreversible")
    names = Names(["127.0.0.1"])
    async with public(names, allow_private=True) as client:
        await WebhookTools(client).ask(tool, {}, CONTEXT)
    assert len(names.asked) == 3


@pytest.mark.parametrize(
    ("body", "text", "state"),
    [
        (b'"seven"', "seven", State.DONE),
        (b"", "null", State.DONE),
        (b'{"error": "full"}', '{"error":"full"}', State.REFUSED),
        (b"<html>", '{"error": "The tool\'s answer was not JSON.", "fallback": true}', State.UNKNOWN),
    ],
)  # fmt: skip
async def test_answers_of_webhooks(body: bytes, text: str, state: State) -> None:
    async with elsewhere(ok(body)) as there, public(allow_private=True) as client:
        answer = await WebhookTools(client).ask(webhook(there), {}, CONTEXT)
    assert (answer.text, answer.state) == (text, state)


async def test_a_webhook_that_leads_inside_is_an_error_for_the_model_without_the_address() -> None:
    async with elsewhere(ok()) as there, public() as client:
        answer = await WebhookTools(client).ask(webhook(there), {}, CONTEXT)
    assert json.loads(answer.text) == {"error": "The tool did not answer.", "fallback": True}
    assert there.connections == 0


async def test_a_webhook_that_fails_again_and_again_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("getpatter.runtime.clock.now", lambda: now[0])
    async with (
        elsewhere(lambda asked: asked.answer(404)) as there,
        public(allow_private=True) as client,
    ):
        tools, tool = WebhookTools(client), webhook(there)
        for _ in range(5):
            await tools.ask(tool, {}, CONTEXT)
        assert len(there.asked) == 15
        answer = await tools.ask(tool, {}, CONTEXT)
        assert answer.state is State.REFUSED
        assert len(there.asked) == 15
        now[0] += 30.0
        there.script = ok()
        assert (await tools.ask(tool, {}, CONTEXT)).state is State.DONE


# ----------------------------------------------------------------------------------------- on_message


def payload(text: str) -> dict[str, object]:
    return {"text": text, "call_id": "CA1", "caller": "+1555", "callee": "+1666", "history": []}


async def said(replies: RemoteReplies, text: str) -> list[str]:
    return [piece async for piece in replies.reply(text, 0)]


async def test_on_message_by_http_is_signed_and_answers_in_json_or_plain_text() -> None:
    scripts = in_turn(ok(b'{"text": "Which day?"}'), ok("Più tardi.".encode()), ok(b'{"text": ""}'))
    async with elsewhere(scripts) as there, public(allow_private=True) as client:
        url = f"http://tools.example:{there.port}/m"
        replies = RemoteMessages(url, client, secret="s3cret", allow_private=True).for_call(payload)
        assert await said(replies, "a") == ["Which day?"]
        assert await said(replies, "b") == ["Più tardi."]
        assert await said(replies, "c") == []
        await replies.close()
    first = there.asked[0]
    assert first.json == payload("a")
    wanted = hmac.new(b"s3cret", first.body, hashlib.sha256).hexdigest()
    assert first.header("x-patter-signature") == wanted
    assert int(first.header("x-patter-timestamp")) > 1_700_000_000


@pytest.mark.parametrize(
    "script",
    [
        lambda asked: asked.answer(500),
        ok(b'{"text": 5}'),
        ok(b"{brok", "Content-Type: application/json"),
        ok(b"\xff\xfe"),
        ok(b"x" * 70_000),
        cut,
    ],
)
async def test_an_on_message_that_fails_is_an_error(script: Script) -> None:
    async with elsewhere(script) as there, public(allow_private=True) as client:
        url = f"http://tools.example:{there.port}/m"
        replies = RemoteMessages(url, client, allow_private=True).for_call(payload)
        with pytest.raises((PatterConnectionError, WireError)):
            await said(replies, "a")
    assert len(there.asked) == 1  # a turn is asked about once


@asynccontextmanager
async def talking(
    handler: Callable[[ServerConnection], Awaitable[None]], **options: Any
) -> AsyncIterator[RemoteReplies]:
    async with serve(handler, "127.0.0.1", 0) as server, public(allow_private=True) as client:
        port = next(iter(server.sockets)).getsockname()[1]
        where = RemoteMessages(
            f"ws://tools.example:{port}/talk",
            client,
            ask=Names(["127.0.0.1"]),
            **{"allow_private": True, **options},
        )
        replies = where.for_call(payload)
        try:
            yield replies
        finally:
            await replies.close()


async def test_on_message_by_websocket_is_one_connection_and_speaks_as_it_comes() -> None:
    seen: list[Any] = []
    heads: list[Any] = []

    async def handler(peer: ServerConnection) -> None:
        assert peer.request is not None
        heads.append(dict(peer.request.headers))
        async for message in peer:
            asked = json.loads(message)
            seen.append(asked)
            await peer.send('{"text": "One. "}')
            await peer.send('{"text": "Two."}')
            await peer.send('{"done": true}')

    async with talking(handler, secret="s3cret") as replies:
        assert await said(replies, "a") == ["One. ", "Two."]
        assert await said(replies, "b") == ["One. ", "Two."]
    assert [each["text"] for each in seen] == ["a", "b"]
    (head,) = heads
    assert urlsplit(f"//{head['host']}").hostname == "tools.example"
    stamp = head["x-patter-timestamp"].encode()
    assert head["x-patter-signature"] == hmac.new(b"s3cret", stamp, hashlib.sha256).hexdigest()


async def test_an_interruption_is_told_and_what_comes_late_is_not_said() -> None:
    told: list[str] = []

    async def handler(peer: ServerConnection) -> None:
        async for message in peer:
            asked = json.loads(message)
            told.append(asked.get("type", asked.get("text")))
            if asked.get("text") == "first":
                await peer.send('{"text": "Well, ", "turn": 1}')
            elif asked.get("text") == "second":
                await peer.send('{"text": "late", "turn": 1}')
                await peer.send('{"text": "Yes.", "turn": 2, "done": true}')

    async with talking(handler) as replies:
        stream = replies.reply("first", 0)
        assert await anext(stream) == "Well, "
        await stream.aclose()  # type: ignore[attr-defined]
        assert await said(replies, "second") == ["Yes."]
    assert told == ["first", "cancel", "second"]


async def test_a_lost_connection_is_an_error_once_and_opened_again() -> None:
    count = 0

    async def handler(peer: ServerConnection) -> None:
        nonlocal count
        count += 1
        await peer.recv()
        if count == 1:
            await peer.close()
        else:
            await peer.send('{"text": "Back.", "done": true}')
            await peer.wait_closed()

    async with talking(handler) as replies:
        with pytest.raises(PatterConnectionError):
            await said(replies, "a")
        assert await said(replies, "b") == ["Back."]


@pytest.mark.parametrize("rubbish", ["{", "[]", "5"])
async def test_rubbish_is_an_error(rubbish: str) -> None:
    async def handler(peer: ServerConnection) -> None:
        await peer.recv()
        await peer.send(rubbish)
        await peer.wait_closed()

    async with talking(handler) as replies:
        with pytest.raises(WireError):
            await said(replies, "a")


async def test_a_socket_to_a_private_address_is_refused() -> None:
    async def handler(peer: ServerConnection) -> None:
        pytest.fail("nobody may come here")

    async with talking(handler, allow_private=False) as replies:
        with pytest.raises(AddressRefusedError):
            await said(replies, "a")
