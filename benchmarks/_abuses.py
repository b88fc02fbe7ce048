"""What a stranger can try against a phone that serves: the rows of `benchmarks.abuse`.

Each case sends something and says what came back, such as `403` or `closed 1008`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from benchmarks._forge import Forge, Request, Ticket, send_raw
from benchmarks._stage import HOST, Stage, Ways

Attack = Callable[["Arena"], Awaitable[str]]

_MIB: Final = 1024 * 1024
_STRANGER: Final = Ticket("", "nobody", "")
_FORMS: Final = frozenset({"twilio", "plivo"})
"""Carriers that sign the URL, and send forms."""


@dataclass(slots=True)
class Arena:
    """Where it happens: a phone that serves, a forge, and a call that must not notice."""

    stage: Stage
    forge: Forge
    good: Ticket
    """What the carrier was told for the good call; its token is spent."""
    sent: list[Request] = field(default_factory=list)
    """The webhooks of the good call so far, byte for byte."""

    @property
    def ways(self) -> Ways:
        """The carrier."""
        return self.stage.ways

    async def send(self, request: Request) -> str:
        """The status of the answer."""
        return str((await request.send(self.stage.port)).status)

    async def raw(self, data: bytes) -> str:
        """The status of the answer to these bytes."""
        return str((await send_raw(self.stage.port, data)).status)

    def voice(self) -> Request:
        """A genuine ring of a call that nobody knows."""
        return self.forge.voice(self.forge.new_call_id())

    def dial(self, path: str, headers: Mapping[str, str] | None = None) -> connect:
        """A WebSocket client."""
        return connect(
            f"ws://127.0.0.1:{self.stage.port}{path}",
            proxy=None,
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            open_timeout=None,
        )

    async def visit(
        self, path: str, *frames: str | bytes, headers: Mapping[str, str] | None = None
    ) -> str:
        """Open a media socket, send this, and wait for what becomes of it."""
        try:
            async with self.dial(path, headers) as client:
                return await said(client, *frames)
        except InvalidStatus as refused:
            return str(refused.response.status_code)
        except InvalidHandshake:
            return "no handshake"

    async def start(self, ticket: Ticket) -> str:
        """Open the socket of a ticket and say its start."""
        return await self.visit(self.forge.path(ticket), *self.forge.frames(ticket))


async def said(client: ClientConnection, *frames: str | bytes) -> str:
    """Send frames; returns how the server closed."""
    with contextlib.suppress(ConnectionClosed):
        for frame in frames:
            await client.send(frame)
        while True:
            await client.recv()
    return f"closed {client.close_code}"


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    attack: Attack
    expected: str
    only: frozenset[str] = frozenset({"twilio", "telnyx", "plivo"})
    waits: bool = False
    """It takes its time: played on a stage without a good call."""


CASES: Final[list[Case]] = []


def case(
    name: str, expected: str, *, only: Sequence[str] = (), waits: bool = False
) -> Callable[[Attack], Attack]:
    """Add a row."""

    def add(attack: Attack) -> Attack:
        carriers = frozenset(only) or frozenset({"twilio", "telnyx", "plivo"})
        CASES.append(Case(name, attack, expected, carriers, waits))
        return attack

    return add


def spoilt(text: str) -> str:
    """The same but for its first character."""
    return ("B" if text[0] != "B" else "C") + text[1:]


# ----------------------------------------------------------------------------------------- webhooks


@case("webhook: no signature", "403")
async def no_signature(arena: Arena) -> str:
    return await arena.send(arena.voice().but(**{arena.forge.signature: None}))


@case("webhook: empty signature", "403")
async def empty_signature(arena: Arena) -> str:
    return await arena.send(arena.voice().but(**{arena.forge.signature: ""}))


@case("webhook: signature is not base64", "403")
async def no_base64(arena: Arena) -> str:
    return await arena.send(arena.voice().but(**{arena.forge.signature: "%%% no base64 %%%"}))


@case("webhook: signature changed by one character", "403")
async def changed_signature(arena: Arena) -> str:
    request = arena.voice()
    name = arena.forge.signature
    return await arena.send(request.but(**{name: spoilt(request.headers[name])}))


@case("webhook: signature of another delivery", "403")
async def other_signature(arena: Arena) -> str:
    name = arena.forge.signature
    return await arena.send(arena.voice().but(**{name: arena.voice().headers[name]}))


@case("webhook: signed with another key", "403")
async def other_key(arena: Arena) -> str:
    stranger = arena.ways.make(
        listens=False, **{"api_key" if arena.ways.name == "telnyx" else "auth_token": "x" * 24}
    )
    forge = type(arena.forge)(replace_carrier(arena.stage, stranger))  # type: ignore[call-arg]
    return await arena.send(forge.voice(forge.new_call_id()))


def replace_carrier(stage: Stage, carrier: object) -> Stage:
    """What a forge needs of a stage, with another account."""
    other = object.__new__(Stage)
    other.carrier = carrier
    return other


@case("webhook: one byte of the body changed", "403")
async def changed_body(arena: Arena) -> str:
    request = arena.voice()
    at = request.body.index(b"5550009876")
    body = request.body[:at] + b"9" + request.body[at + 1 :]
    return await arena.send(replace(request, body=body))


@case("webhook: truncated body", "403")
async def truncated_body(arena: Arena) -> str:
    request = arena.voice()
    return await arena.send(replace(request, body=request.body[: len(request.body) // 2]))


@case("webhook: a field added after signing", "403", only=("twilio", "plivo"))
async def added_field(arena: Arena) -> str:
    request = arena.voice()
    return await arena.send(replace(request, body=request.body + b"&Admin=1"))


@case("webhook: a query added after signing", "403", only=("twilio", "plivo"))
async def added_query(arena: Arena) -> str:
    request = arena.voice()
    return await arena.send(replace(request, path=request.path + "?ref=forged"))


@case("webhook: signed for another host", "403", only=("twilio", "plivo"))
async def other_host(arena: Arena) -> str:
    return await arena.send(arena.forge.voice(arena.forge.new_call_id(), host="evil.example"))


@case("webhook: signed for the host in Host and X-Forwarded-Host", "403", only=("twilio", "plivo"))
async def spoofed_host(arena: Arena) -> str:
    request = arena.forge.voice(arena.forge.new_call_id(), host="evil.example")
    return await arena.send(request.but(host="evil.example", x_forwarded_host="evil.example"))


@case("webhook: signed for another route", "403", only=("twilio", "plivo"))
async def other_route(arena: Arena) -> str:
    request = arena.forge.over(arena.forge.new_call_id())
    return await arena.send(replace(request, path=arena.voice().path))


@case("webhook: signed 301 s ago", "403", only=("telnyx",))
async def stale(arena: Arena) -> str:
    return await arena.send(arena.forge.voice(arena.forge.new_call_id(), age_s=302))


@case("webhook: signed 31 s in the future", "403", only=("telnyx",))
async def future(arena: Arena) -> str:
    return await arena.send(arena.forge.voice(arena.forge.new_call_id(), age_s=-33))


@case("webhook: an old signature under a new timestamp", "403", only=("telnyx",))
async def fresh_timestamp(arena: Arena) -> str:
    old = arena.forge.voice(arena.forge.new_call_id(), age_s=400)
    now = arena.voice().headers["telnyx-timestamp"]
    return await arena.send(old.but(telnyx_timestamp=now))


@case("webhook: a timestamp that is none", "403", only=("telnyx",))
async def no_timestamp(arena: Arena) -> str:
    return await arena.send(arena.voice().but(telnyx_timestamp="-1e309"))


@case("webhook: no nonce", "403", only=("plivo",))
async def no_nonce(arena: Arena) -> str:
    return await arena.send(arena.voice().but(x_plivo_signature_v3_nonce=None))


@case("webhook: settings that ask for another kind of signature", "403", only=("twilio",))
async def shared_key(arena: Arena) -> str:
    settings = "version=2;alg=none"
    return await arena.send(arena.voice().but(x_twilio_webhooks_signature_settings=settings))


@case("webhook: not JSON, though signed", "400", only=("telnyx",))
async def not_json(arena: Arena) -> str:
    return await arena.send(arena.forge.signed(arena.voice().path, b"not json"))


@case("webhook: a list, though signed", "400", only=("telnyx",))
async def a_list(arena: Arena) -> str:
    return await arena.send(arena.forge.signed(arena.voice().path, b"[]"))


@case("webhook: 100 000 brackets, though signed", "400", only=("telnyx",))
async def brackets(arena: Arena) -> str:
    return await arena.send(arena.forge.signed(arena.voice().path, b"[" * 100_000))


@case("webhook: no form, though signed", "403", only=("twilio", "plivo"))
async def not_a_form(arena: Arena) -> str:
    return await arena.send(arena.forge.signed(arena.voice().path, b"\xff\xfe{not a form}"))


@case("webhook: without a call id, though signed", "400")
async def no_call_id(arena: Arena) -> str:
    return await arena.send(arena.forge.voice(""))


@case("webhook: a call id that is a path, though signed", "400")
async def path_as_id(arena: Arena) -> str:
    return await arena.send(arena.forge.voice("../../Accounts"))


@case("webhook: 1 MiB and a byte", "413")
async def oversized(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), body=b"x" * (_MIB + 1)))


@case("webhook: the same without saying how long it is", "413")
async def oversized_chunks(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    return await arena.raw(head.encode() + chunk * 17)


@case("webhook: says 1 TB, sends nothing", "413")
async def says_much(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), body=b"").but(content_length="1" + "0" * 12))


@case("webhook: two lengths", "400")
async def two_lengths(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n"
    return await arena.raw(head.encode() + b"12345")


@case("webhook: a length that is none", "400")
async def odd_length(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), body=b"").but(content_length="-5"))


@case("webhook: a header of 1 MiB", "400")
async def long_header(arena: Arena) -> str:
    return await arena.send(arena.voice().but(x_long="x" * _MIB))


@case("webhook: a second signature, forged, after the genuine one", "403")
async def two_signatures(arena: Arena) -> str:
    request = arena.voice()
    names = {**request.headers, arena.forge.signature.upper(): "Zm9yZ2Vk"}
    return await arena.send(replace(request, headers=names))


@case("webhook: both a length and chunks", "403")
async def length_and_chunks(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n"
    return await arena.raw(
        head.encode() + b"connection: close\r\n\r\n0\r\n\r\nPOST /x HTTP/1.1\r\n\r\n"
    )


@case("webhook: no Host", "400")
async def no_host(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
    return await arena.raw(head.encode())


@case("webhook: a header with a line break in it", "400")
async def broken_header(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\nhost: {HOST}\r\nx-a: 1\r\n x-b\x00: 2\r\n\r\n"
    return await arena.raw(head.encode())


@case("webhook: no HTTP at all", "400")
async def no_http(arena: Arena) -> str:
    return await arena.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")


@case("webhook: body never comes", "408", waits=True)
async def slow_body(arena: Arena) -> str:
    request = arena.voice()
    head = f"POST {request.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100\r\n\r\nCall"
    return await arena.raw(head.encode())


@case("webhook: GET", "405")
async def by_get(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), method="GET", body=b""))


@case("webhook: GET that says it is a POST", "405")
async def overridden(arena: Arena) -> str:
    request = replace(arena.voice(), method="GET", body=b"")
    return await arena.send(request.but(x_http_method_override="POST"))


@case("webhook: DELETE", "405")
async def by_delete(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), method="DELETE"))


@case("webhook: a kind that does not exist", "404")
async def unknown_kind(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), path=f"/webhooks/{arena.ways.name}/nothing"))


@case("webhook: a carrier that is not configured", "503")
async def other_carrier(arena: Arena) -> str:
    other = "telnyx" if arena.ways.name != "telnyx" else "twilio"
    return await arena.send(replace(arena.voice(), path=f"/webhooks/{other}/voice"))


@case("webhook: a carrier that does not exist", "404")
async def no_carrier(arena: Arena) -> str:
    return await arena.send(replace(arena.voice(), path="/webhooks/acme/voice"))


@case("webhook: path with a trailing slash", "404")
async def trailing_slash(arena: Arena) -> str:
    request = arena.voice()
    return await arena.send(replace(request, path=request.path + "/"))


@case("path: documentation that frameworks serve", "404 404 404")
async def documentation(arena: Arena) -> str:
    paths = ("/docs", "/openapi.json", "/redoc")
    return " ".join([await arena.send(Request(path, method="GET")) for path in paths])


@case("path: up and out", "404 404")
async def traversal(arena: Arena) -> str:
    paths = ("/../../etc/passwd", "/static/..%2f..%2fetc%2fpasswd")
    return " ".join([await arena.send(Request(path, method="GET")) for path in paths])


# ---------------------------------------------------------- genuine, but a second time or out of order


@case("webhook: a genuine ring of the good call, replayed", "200")
async def replayed_ring(arena: Arena) -> str:
    return await arena.send(arena.forge.voice(arena.good.call_id))


@case("webhook: every one of the good call again, byte for byte", "2xx")
async def replayed(arena: Arena) -> str:
    got = {await arena.send(request) for request in arena.sent}
    return "2xx" if arena.sent and got <= {"200", "204"} else " ".join(sorted(got))


@case("webhook: a genuine end of a call that nobody knows, twice", "2xx 2xx")
async def unknown_call(arena: Arena) -> str:
    request = arena.forge.over(arena.forge.new_call_id())
    got = [await arena.send(request) for _ in range(2)]
    return " ".join("2xx" if each in {"200", "204"} else each for each in got)


# ------------------------------------------------------------------------------------------ sockets


@case("socket: outside /ws", "404")
async def outside(arena: Arena) -> str:
    return await arena.visit("/stream/nobody")


@case("socket: no reference", "404")
async def no_reference(arena: Arena) -> str:
    return await arena.visit("/ws/stream/")


@case("socket: plain GET", "426")
async def plain_get(arena: Arena) -> str:
    return await arena.send(Request("/ws/stream/nobody", method="GET"))


@case("socket: a key that is none", "400")
async def odd_key(arena: Arena) -> str:
    head = (
        f"GET /ws/stream/nobody HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\n"
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: nonsense\r\n\r\n"
    )
    return await arena.raw(head.encode())


@case("socket: a forged signature on the upgrade", "403", only=("twilio", "telnyx"))
async def forged_upgrade(arena: Arena) -> str:
    headers = {arena.forge.signature: "Zm9yZ2Vk", "telnyx-timestamp": "1"}
    return await arena.visit("/ws/stream/nobody", headers=headers)


@case("socket: start without a token", "closed 1008")
async def no_token(arena: Arena) -> str:
    return await arena.start(replace(arena.good, token=""))


@case("socket: start with an invented token", "closed 1008")
async def invented_token(arena: Arena) -> str:
    return await arena.start(replace(arena.good, token="A" * 43))


@case("socket: the token of a call, used a second time", "closed 1008")
async def used_token(arena: Arena) -> str:
    return await arena.start(arena.good)


@case("socket: a second one for a call that has its stream", "closed 1008")
async def second_socket(arena: Arena) -> str:
    fresh = await arena.forge.ticket(arena.stage)
    return await arena.start(replace(fresh, call_id=arena.good.call_id))


@case("socket: the token of another call", "closed 1008")
async def other_token(arena: Arena) -> str:
    one, other = [await arena.forge.ticket(arena.stage) for _ in range(2)]
    return await arena.start(replace(one, token=other.token))


@case("socket: the right token on another call's path", "closed 1008")
async def other_path(arena: Arena) -> str:
    one, other = [await arena.forge.ticket(arena.stage) for _ in range(2)]
    return await arena.start(replace(one, reference=other.reference))


@case("socket: the right token for another call's id", "closed 1008")
async def other_call(arena: Arena) -> str:
    one, other = [await arena.forge.ticket(arena.stage) for _ in range(2)]
    return await arena.start(replace(one, call_id=other.call_id))


@case("socket: a token 61 s old", "closed 1008", waits=True)
async def expired_token(arena: Arena) -> str:
    ticket = await arena.forge.ticket(arena.stage)
    await asyncio.sleep(61)
    return await arena.start(ticket)


@case("socket: sound before the start", "closed 1008")
async def sound_first(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", arena.forge.media("fn5+"))


@case("socket: a key before the start", "closed 1008")
async def key_first(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", arena.forge.key("1"))


@case("socket: not JSON before the start", "closed 1008")
async def rubbish_first(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", "not json")


@case("socket: a list before the start", "closed 1008")
async def list_first(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", "[]")


@case("socket: a binary frame before the start", "closed 1008")
async def binary_first(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", b"\x00\x01")


@case("socket: greetings without end", "closed 1008")
async def greetings(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody", *['{"event":"novelty"}'] * 20)


@case("socket: 65 KiB before the start", "closed 1008")
async def too_much(arena: Arena) -> str:
    frame = '{"event":"novelty","pad":"' + "x" * 66_560 + '"}'
    return await arena.visit("/ws/stream/nobody", frame)


@case("socket: silent for 10 s", "closed 1008", waits=True)
async def silent(arena: Arena) -> str:
    return await arena.visit("/ws/stream/nobody")


async def _flood(arena: Arena, headers: Callable[[int], Mapping[str, str]]) -> str:
    async with contextlib.AsyncExitStack() as open_ones:
        clients = [
            await open_ones.enter_async_context(arena.dial("/ws/stream/nobody", headers(number)))
            for number in range(10)
        ]
        eleventh = await arena.visit("/ws/stream/nobody", headers=headers(11))
        for client in clients:
            await client.close()
    while True:  # the places are given back, or this never ends
        with contextlib.suppress(InvalidStatus):
            async with arena.dial("/ws/stream/nobody"):
                return eleventh
        await asyncio.sleep(0.01)


@case("flood: the eleventh silent socket", "429")
async def flood(arena: Arena) -> str:
    return await _flood(arena, lambda _: {})


@case("flood: each with another X-Forwarded-For", "429")
async def spoofed_flood(arena: Arena) -> str:
    return await _flood(arena, lambda number: {"x-forwarded-for": f"198.51.100.{number}"})


@case("flood: each with other addresses in every such header", "429")
async def spoofed_more(arena: Arena) -> str:
    names = ("cf-connecting-ip", "x-real-ip", "true-client-ip", "fly-client-ip")
    return await _flood(
        arena,
        lambda number: {
            "forwarded": f"for=198.51.100.{number}",
            **dict.fromkeys(names, f"198.51.100.{number}"),
        },
    )


@case("flood: ten silent sockets, gone after 10 s", "closed 1008, ten times", waits=True)
async def ten_gone(arena: Arena) -> str:
    got = await asyncio.gather(*(arena.visit("/ws/stream/nobody") for _ in range(10)))
    return f"{got[0]}, ten times" if len(set(got)) == 1 else ", ".join(got)


# ----------------------------------------------------------------------------------- inside a call


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Frames that break the protocol, on a socket that belongs to a call."""

    name: str
    frames: Callable[[Forge], Sequence[str | bytes]]
    expected: str = "goes on"


NUISANCES: Final = (
    Nuisance("in a call: not JSON", lambda _: ["not json", "", "\x00", "{"]),
    Nuisance("in a call: JSON that is no object", lambda _: ["[]", "5", "null", '"media"']),
    Nuisance("in a call: 100 000 brackets", lambda _: ["[" * 100_000]),
    Nuisance("in a call: binary frames", lambda _: [b"\x00\x01", b""]),
    Nuisance("in a call: frames of 257 KiB", lambda forge: [forge.media("A" * 263_168)] * 2),
    Nuisance("in a call: bad base64", lambda forge: [forge.media("%%%"), forge.media("QUJ")]),
    Nuisance(
        "in a call: fields of wrong types",
        lambda _: ['{"event":5}', '{"event":"media","media":[]}'],
    ),
    Nuisance("in a call: an event that nobody knows", lambda _: ['{"event":"novelty"}'] * 200),
    Nuisance("in a call: 100 bad frames", lambda _: ["not json"] * 100),
    Nuisance(
        "in a call: 101 bad frames", lambda _: ["not json"] * 101, "closed 1008, carrier_error"
    ),
)


async def bother(arena: Arena, nuisance: Nuisance) -> str:
    """Be admitted, send the frames, and see whether a key still gets its answer."""
    ticket = await arena.forge.ticket(arena.stage)
    heard = arena.stage.of(ticket.call_id)
    async with arena.dial(arena.forge.path(ticket)) as client:
        for frame in arena.forge.frames(ticket):
            await client.send(frame)
        await client.recv()
        for bad in nuisance.frames(arena.forge):
            await client.send(bad)
        await client.send(arena.forge.key("5"))
        listening = asyncio.create_task(said(client))
        for _ in range(500):
            if listening.done() or ("user", "[DTMF: 5]") in heard.said:
                break
            await asyncio.sleep(0.02)
        if not listening.done():
            await client.close()
            await listening
            await arena.stage.farewell(ticket.call_id)
            return "goes on" if ("user", "[DTMF: 5]") in heard.said else "the key was not heard"
    end = await arena.stage.farewell(ticket.call_id)
    return f"{listening.result()}, {end['reason']}"
