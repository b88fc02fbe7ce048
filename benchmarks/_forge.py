"""What a stranger could send in a carrier's name: webhooks and media frames, genuine to the last byte or not at all.

Each carrier has a forge of its own; it signs with the key of the simulated account, so that a case can spoil exactly
one thing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

from benchmarks._stage import CALLER, HOST, OURS, Stage, must
from getpatter.runtime import clock
from getpatter.testing.plivo_leg import PlivoLeg
from getpatter.testing.telnyx_leg import StreamFacts, TelnyxLeg
from getpatter.testing.twilio_leg import TwilioLeg
from getpatter.types import PCM16_16K

_ANSWER_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, to be sent as it stands."""

    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"

    def but(self, **changes: str | None) -> Request:
        """With other headers (`_` stands for `-`); `None` leaves one out."""
        headers = dict(self.headers)
        for name, value in changes.items():
            headers.pop(name.replace("_", "-"), None)
            if value is not None:
                headers[name.replace("_", "-")] = value
        return replace(self, headers=headers)

    async def send(self, port: int) -> Answer:
        """Send it on a connection of its own."""
        headers = {
            "host": HOST,
            "content-length": str(len(self.body)),
            "connection": "close",
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return await send_raw(
            port, f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body
        )


async def send_raw(port: int, data: bytes) -> Answer:
    """Write these bytes to the server and read its answer to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            got = await _read(reader)
    except (ConnectionError, TimeoutError):
        return Answer(0)
    finally:
        writer.transport.abort()
    head, _, body = got.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 (\d{3})", head)
    return Answer(int(found[1]) if found else 0, body)


async def _read(reader: asyncio.StreamReader) -> bytes:
    got = b""
    try:
        while piece := await reader.read(65536):
            got += piece
            declared = re.search(rb"(?i)\r\ncontent-length: (\d+)", got)
            head, end, body = got.partition(b"\r\n\r\n")
            if end and declared and head and len(body) >= int(declared[1]):
                break
    except ConnectionError:
        pass
    return got


@dataclass(frozen=True, slots=True)
class Ticket:
    """An invitation to open a media socket: what a carrier is told, once, by the answer to its webhook."""

    call_id: str
    reference: str
    token: str = field(repr=False)


class Forge(Protocol):
    """Writes what a carrier would send."""

    signature: str
    """Name of the header that holds it."""

    def new_call_id(self) -> str:
        """The id of a call that nobody knows."""
        ...

    def voice(self, call_id: str, *, host: str = HOST, age_s: float = 0) -> Request:
        """Somebody rings; signed for `host`, `age_s` seconds ago."""
        ...

    def over(self, call_id: str) -> Request:
        """The call has ended."""
        ...

    def signed(self, path: str, body: bytes) -> Request:
        """Any body, signed as far as that can be done."""
        ...

    async def ticket(self, stage: Stage) -> Ticket:
        """Have a call ring, and learn where its stream shall go."""
        ...

    def path(self, ticket: Ticket) -> str:
        """Path of the media socket, with its query."""
        ...

    def frames(self, ticket: Ticket) -> list[str]:
        """The first frames on the socket, the start included."""
        ...

    def media(self, payload: str) -> str:
        """A frame of sound with this payload."""
        ...

    def key(self, digit: str) -> str:
        """A frame of a key."""
        ...


def _body(form: Mapping[str, str]) -> bytes:
    return urlencode(form).encode()


_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


class _Serial:
    """Numbers that are never given twice."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> int:
        self._count += 1
        return self._count


class TwilioForge:
    """Forms, HMAC-SHA1 over URL and fields."""

    signature = "x-twilio-signature"

    def __init__(self, stage: Stage) -> None:
        self._account = stage.carrier
        self._serial = _Serial()

    def new_call_id(self) -> str:
        return f"CA{self._serial.next():032x}"

    def _form(self, call_id: str, **more: str) -> dict[str, str]:
        form = {"CallSid": call_id, "AccountSid": self._account.account_sid, "From": CALLER}
        return {**form, "To": OURS, "CallStatus": "ringing", "Direction": "inbound", **more}

    def _request(self, kind: str, form: Mapping[str, str], host: str = HOST) -> Request:
        path = f"/webhooks/twilio/{kind}"
        signature = self._account.sign(f"https://{host}{path}", form)
        token = {"i-twilio-idempotency-token": f"{self._serial.next():032x}"}
        return Request(path, _body(form), {**_FORM, **token, self.signature: signature})

    def voice(self, call_id: str, *, host: str = HOST, age_s: float = 0) -> Request:
        return self._request("voice", self._form(call_id), host)

    def over(self, call_id: str) -> Request:
        more = {"CallStatus": "completed", "SequenceNumber": "9", "CallDuration": "1"}
        return self._request("status", self._form(call_id, **more))

    def signed(self, path: str, body: bytes) -> Request:
        signature = self._account.sign(f"https://{HOST}{path}", {})
        return Request(path, body, {**_FORM, self.signature: signature})

    async def ticket(self, stage: Stage) -> Ticket:
        call_id = self.new_call_id()
        answer = await self.voice(call_id).send(stage.port)
        must(answer.status == 200, f"a genuine webhook was answered {answer.status}")
        text = answer.body.decode()
        [url] = re.findall(r'<Stream url="([^"]+)"', text)
        [token] = re.findall(r'name="token" value="([^"]+)"', text)
        return Ticket(call_id, urlsplit(unescape(url)).path.rpartition("/")[2], unescape(token))

    def path(self, ticket: Ticket) -> str:
        return f"/ws/stream/{ticket.reference}"

    def frames(self, ticket: Ticket) -> list[str]:
        now = clock.now()
        return TwilioLeg(
            now,
            stream_sid="MZ" + "0" * 32,
            call_sid=ticket.call_id,
            account_sid=self._account.account_sid,
            parameters={"token": ticket.token} if ticket.token else {},
        ).tick(now)

    def media(self, payload: str) -> str:
        return json.dumps(
            {
                "event": "media",
                "sequenceNumber": "3",
                "streamSid": "MZ" + "0" * 32,
                "media": {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload},
            }
        )

    def key(self, digit: str) -> str:
        dtmf = {"track": "inbound_track", "digit": digit}
        return json.dumps({"event": "dtmf", "streamSid": "MZ" + "0" * 32, "dtmf": dtmf})


class TelnyxForge:
    """JSON, Ed25519 over timestamp and body."""

    signature = "telnyx-signature-ed25519"

    def __init__(self, stage: Stage) -> None:
        self._account = stage.carrier
        self._serial = _Serial()

    def new_call_id(self) -> str:
        return f"v3:forged-{self._serial.next():024d}"

    def _event(self, event: str, call_id: str, age_s: float = 0, **facts: Any) -> Request:
        payload = {
            "call_control_id": call_id,
            "connection_id": self._account.connection_id,
            "client_state": None,
            "from": CALLER,
            "to": OURS,
            "direction": "incoming",
            **facts,
        }
        data = {"record_type": "event", "event_type": event, "id": f"{self._serial.next():032x}"}
        body = json.dumps({"data": {**data, "payload": payload}, "meta": {"attempt": 1}}).encode()
        return self._signed("/webhooks/telnyx/voice", body, age_s)

    def _signed(self, path: str, body: bytes, age_s: float) -> Request:
        headers = self._account.sign(body, int(clock.wall() - age_s))
        return Request(path, body, {"content-type": "application/json", **headers})

    def voice(self, call_id: str, *, host: str = HOST, age_s: float = 0) -> Request:
        return self._event("call.initiated", call_id, age_s, state="parked")

    def over(self, call_id: str) -> Request:
        return self._event("call.hangup", call_id, hangup_cause="normal_clearing")

    def signed(self, path: str, body: bytes) -> Request:
        return self._signed(path, body, 0)

    async def ticket(self, stage: Stage) -> Ticket:
        call_id = self.new_call_id()

        def about(verb: str) -> list[Any]:
            asked = stage.asked(f"POST /calls/{{id}}/actions/{verb}")
            return [each for each in asked if call_id in each.path.replace("%3A", ":")]

        answer = await self.voice(call_id).send(stage.port)
        must(answer.status == 200, f"a genuine webhook was answered {answer.status}")
        await stage.until(lambda: about("answer"), "the call was not answered")
        state = about("answer")[0]["client_state"]
        await self._event("call.answered", call_id, client_state=state).send(stage.port)
        await stage.until(lambda: about("streaming_start"), "no stream was asked for")
        url = urlsplit(about("streaming_start")[0]["stream_url"])
        return Ticket(call_id, url.path.rpartition("/")[2], url.query.removeprefix("token="))

    def path(self, ticket: Ticket) -> str:
        return f"/ws/stream/{ticket.reference}" + (f"?token={ticket.token}" if ticket.token else "")

    def frames(self, ticket: Ticket) -> list[str]:
        now = clock.now()
        facts = StreamFacts("FORGED", ticket.call_id, CALLER, OURS, None, PCM16_16K, PCM16_16K)
        return TelnyxLeg(now, facts).tick(now)

    def media(self, payload: str) -> str:
        media = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload}
        return json.dumps({"event": "media", "stream_id": "FORGED", "media": media})

    def key(self, digit: str) -> str:
        return json.dumps({"event": "dtmf", "stream_id": "FORGED", "dtmf": {"digit": digit}})


class PlivoForge:
    """Forms, HMAC-SHA256 over URL, fields and a nonce."""

    signature = "x-plivo-signature-v3"

    def __init__(self, stage: Stage) -> None:
        self._account = stage.carrier
        self._serial = _Serial()

    def new_call_id(self) -> str:
        return f"00000000-0000-0000-0000-{self._serial.next():012d}"

    def _request(self, kind: str, form: Mapping[str, str], host: str = HOST) -> Request:
        path, nonce = f"/webhooks/plivo/{kind}", f"nonce-{self._serial.next()}"
        signature = self._account.sign(f"https://{host}{path}", form, nonce)
        signed = {self.signature: signature, f"{self.signature}-nonce": nonce}
        return Request(path, _body(form), {**_FORM, **signed})

    def _form(self, call_id: str, **more: str) -> dict[str, str]:
        numbers = {"From": CALLER.removeprefix("+"), "To": OURS.removeprefix("+")}
        return {
            "CallUUID": call_id,
            **numbers,
            "CallStatus": "ringing",
            "Direction": "inbound",
            **more,
        }

    def voice(self, call_id: str, *, host: str = HOST, age_s: float = 0) -> Request:
        return self._request("voice", self._form(call_id, Event="StartApp"), host)

    def over(self, call_id: str) -> Request:
        more = {"CallStatus": "completed", "Event": "Hangup", "Duration": "1"}
        return self._request("status", self._form(call_id, **more))

    def signed(self, path: str, body: bytes) -> Request:
        nonce = f"nonce-{self._serial.next()}"
        signature = self._account.sign(f"https://{HOST}{path}", {}, nonce)
        signed = {self.signature: signature, f"{self.signature}-nonce": nonce}
        return Request(path, body, {**_FORM, **signed})

    async def ticket(self, stage: Stage) -> Ticket:
        call_id = self.new_call_id()
        answer = await self.voice(call_id).send(stage.port)
        must(answer.status == 200, f"a genuine webhook was answered {answer.status}")
        [url] = re.findall(r"<Stream [^>]*>([^<]+)</Stream>", answer.body.decode())
        parts = urlsplit(unescape(url))
        return Ticket(call_id, parts.path.rpartition("/")[2], parts.query.removeprefix("token="))

    def path(self, ticket: Ticket) -> str:
        return f"/ws/stream/{ticket.reference}" + (f"?token={ticket.token}" if ticket.token else "")

    def frames(self, ticket: Ticket) -> list[str]:
        now = clock.now()
        account = self._account.auth_id
        return PlivoLeg(now, stream_id="forged", call_id=ticket.call_id, account_id=account).tick(
            now
        )

    def media(self, payload: str) -> str:
        media = {"track": "inbound", "chunk": 1, "timestamp": "0", "payload": payload}
        return json.dumps(
            {"event": "media", "sequenceNumber": 2, "streamId": "forged", "media": media}
        )

    def key(self, digit: str) -> str:
        dtmf = {"track": "inbound", "digit": digit, "timestamp": "1"}
        return json.dumps(
            {"event": "dtmf", "sequenceNumber": 2, "streamId": "forged", "dtmf": dtmf}
        )


FORGES: Final[Mapping[str, Callable[[Stage], Forge]]] = {
    "twilio": TwilioForge,
    "telnyx": TelnyxForge,
    "plivo": PlivoForge,
}
