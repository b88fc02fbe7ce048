"""A Twilio on this machine: REST API, phone calls, media streams, webhooks with genuine signatures.

```python
async with SimulatedTwilio() as twilio:
    phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url="agent.example")
    ...                                      # phone.serve(...) on port 8000
    twilio.server = "127.0.0.1:8000"         # where agent.example leads to
    call = await twilio.ring(Polite("hello", "goodbye"))
    await call.ended()
    assert not twilio.problems and not call.complaints
    call.tape().wav()                        # what both sides said, to listen to
```

It is strict where the real one is lenient: parameters that Twilio would ignore and frames it would only warn
about are refused and remembered, so that a test can end with `assert not twilio.problems`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from email.utils import formatdate
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from getpatter.carriers.twilio import Twilio
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.runtime import clock
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Program, SilentOne
from getpatter.testing.line import Conditions
from getpatter.testing.network import LocalServer, Loopback, LostAnswers, Network
from getpatter.testing.twilio_api import Api, ApiError, ApiRequest, Form, not_found
from getpatter.testing.twilio_calls import FINAL, SimulatedCall
from getpatter.testing.twilio_deeds import LONGEST_CALL_S, Delivery, Orders
from getpatter.testing.twilio_rooms import Room
from getpatter.types import is_e164

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

__all__ = ["Callee", "Number", "Recording", "SimulatedCall", "SimulatedTwilio"]

_T = TypeVar("_T")

CALLER: Final = "+15550009876"
"""Who rings, unless a test says otherwise."""
_INBOUND, _OUTBOUND = 0.0095, 0.0165
"""Dollars a minute: of nobody, so that a price is not taken for an estimate."""
_LONGEST_TWIML: Final = 4000


@dataclass(slots=True)
class Number:
    """A phone number of the account."""

    sid: str
    phone_number: str
    voice_url: str = ""
    voice_method: str = "POST"
    voice_application_sid: str = ""
    trunk_sid: str = ""
    status_callback: str = ""


@dataclass(slots=True)
class Recording:
    """A recording of a call."""

    sid: str
    call: SimulatedCall
    channels: int
    callback: str
    events: frozenset[str]
    status: str = "in-progress"


class SimulatedTwilio:
    """One account with its numbers, calls and REST API. An async context manager."""

    def __init__(
        self,
        *,
        account_sid: str = "AC" + "5e" * 16,
        auth_token: str = "simulated-auth-token",  # noqa: S107 - of nothing
        number: str = "+15550001234",
        network: Network | None = None,
        conditions: Conditions | None = None,
        listens: bool = True,
    ) -> None:
        """Make an account with one number.

        Args:
            account_sid: `AC` and 32 hexadecimal digits.
            auth_token: Signs webhooks and opens the REST API.
            number: E.164; the account's phone number.
            network: How webhooks and streams reach the server; loopback sockets unless given.
            conditions: What is wrong with every line.
            listens: Whether the REST API has a port; without one use `run` or `answer`.
        """
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.number = number
        self.network: Network = network if network is not None else Loopback()
        self.conditions = conditions or Conditions()
        self.base_url = ""
        """Of the REST API, once started."""
        self.calls: list[SimulatedCall] = []
        self.callees: dict[str, Callee] = {}
        """Who can be called, by number or SIP URI; others answer after a second and are silent."""
        self.recordings: list[Recording] = []
        self.rooms: list[Room] = []
        """Conferences, in the order in which they were made."""
        self.delivers_twice = False
        """Whether every webhook is sent a second time with the same idempotency token."""
        self.priced_after_s = 60.0
        """Seconds from a call's end until its price is known."""
        self.delay_s = 0.0
        """How long each REST answer takes."""
        self.api = Api(self)
        self._lost = LostAnswers()
        self._serials = 0
        self.numbers: list[Number] = [Number(self.new_sid("PN"), number)]
        self.for_sale: dict[str, list[str]] = {"US/Local": ["+15550002001", "+15550002002"]}
        """Numbers that can be bought, by `country/kind`; a kind that is not there answers 404."""
        self.sold_meanwhile: set[str] = set()
        """Offered, but somebody else buys them first."""
        self._listens = listens
        self._changed = asyncio.Event()
        self._rest = LocalServer(
            Starlette(routes=[Route("/{path:path}", self._over_http, methods=["GET", "POST"])])
        )

    # ------------------------------------------------------------------------------------- lifecycle

    async def __aenter__(self) -> Self:
        """Start the REST API."""
        if self._listens:
            port = await self._rest.start()
            self.base_url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End every call and close everything."""
        for call in self.calls:
            call.end("test")
        for call in self.calls:
            await call.close()
        await self.network.close()
        await self._rest.stop()

    # --------------------------------------------------------------------------------- what tests use

    @property
    def server(self) -> str:
        """Address and port of the server under test (loopback networks only)."""
        assert isinstance(self.network, Loopback)
        return self.network.server

    @server.setter
    def server(self, address: str) -> None:
        assert isinstance(self.network, Loopback)
        self.network.server = address

    @property
    def requests(self) -> list[ApiRequest]:
        """Every REST request that was made, in order."""
        return self.api.requests

    @property
    def problems(self) -> list[str]:
        """Everything the program under test did that Twilio's documentation does not allow."""
        return self.api.problems + [
            f"{call.sid[:6]}: {what}"
            for call in self.calls
            for what in (*call.complaints, *(f"{code} {text}" for code, text in call.errors))
        ]

    def asked(self, operation: str) -> list[ApiRequest]:
        """The requests of one operation, such as `"POST /Calls.json"`."""
        return [request for request in self.requests if request.operation == operation]

    def carrier(self, **options: Any) -> Twilio:
        """A `Twilio` for this account."""
        return Twilio(self.account_sid, self.auth_token, base_url=self.base_url, **options)

    def ring(
        self,
        caller: Program | None = None,
        *,
        from_number: str = CALLER,
        to: str = "",
        voice_url: str = "",
        conditions: Conditions | None = None,
    ) -> SimulatedCall:
        """Somebody calls a number of the account. Returns at once; `await call.ended()`.

        `voice_url` is used instead of the one that is set for the number. `caller` is silent unless given.

        Raises:
            ValueError: the number leads nowhere.
        """
        number = self._number(to or self.number)
        url = voice_url or number.voice_url
        if number.voice_application_sid or number.trunk_sid:
            raise ValueError(f"{number.phone_number} belongs to an application or a trunk")
        if not url:
            raise ValueError(f"no webhook is set for {number.phone_number}: give voice_url")
        events = frozenset({"completed"}) if number.status_callback else frozenset[str]()
        return self._begin(
            SimulatedCall(
                self,
                direction="inbound",
                caller=from_number,
                callee=number.phone_number,
                person=caller or SilentOne(),
                orders=Orders(number.status_callback, events, url=url),
                conditions=conditions or self.conditions,
            )
        )

    async def dialled(self, count: int = 1, within_s: float = 30.0) -> SimulatedCall:
        """Wait until the program has placed `count` calls; returns the latest."""
        async with asyncio.timeout(within_s):
            while (
                len(placed := [each for each in self.calls if each.direction != "inbound"]) < count
            ):
                self._changed.clear()
                await self._changed.wait()
        return placed[count - 1]

    async def run(self, exchange: Exchange[_T]) -> _T:
        """Run the logic of a carrier against this account without any socket."""
        try:
            request = next(exchange)
            while True:
                await asyncio.sleep(self.delay_s)
                request = exchange.send(self.answer(request))
        except StopIteration as stop:
            result: _T = stop.value
            return result

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one REST request."""
        return self.api.answer(request)

    def refuse_next(
        self,
        status: int,
        code: int = 0,
        message: str = "refused by the test",
        *,
        operation: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse one REST request to come, the next of `operation` if one is named."""
        self.api.refuse_next(status, code, message, operation=operation, headers=headers)

    def lose_next(self, operation: str = "") -> None:
        """Obey one REST request to come, the next of `operation` if one is named, and never answer it."""
        self._lost.lose_next(operation)

    async def _over_http(self, request: Request) -> Response:
        body = await request.body()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        answer = self.answer(HttpRequest(request.method, str(request.url), request.headers, body))
        await self._lost.keep_waiting(request, self.requests[-1].operation)
        return Response(answer.body, answer.status, dict(answer.headers))

    # ------------------------------------------------------------------------------------- webhooks

    def sign(self, url: str, form: Mapping[str, str]) -> str:
        """`X-Twilio-Signature` of a request."""
        signed = url + "".join(f"{name}{form[name]}" for name in sorted(form))
        return b64encode(
            hmac.new(self.auth_token.encode(), signed.encode(), hashlib.sha1).digest()
        ).decode()

    async def deliver(
        self, call: SimulatedCall, kind: str, url: str, form: Mapping[str, str]
    ) -> bytes:
        """Send a signed webhook; returns the answer's body, empty when it was no success."""
        url = urlunsplit(urlsplit(url)._replace(fragment=""))
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "user-agent": "TwilioProxy/1.1",
            "x-twilio-signature": self.sign(url, form),
            "i-twilio-idempotency-token": self.new_sid(""),
        }
        body = urlencode(form).encode()
        answer = await self.network.post(url, body, headers)
        call.deliveries.append(Delivery(kind, url, dict(form), answer.status))
        if self.delivers_twice:
            answer = await self.network.post(url, body, headers)
        is_success = answer.status in range(200, 300)
        if not is_success:
            call.errors.append((11200, f"{kind}: {answer.status} of {urlsplit(url).path}"))
        elif answer.body and "xml" not in answer.content_type:
            call.errors.append((12300, f"{kind}: content type {answer.content_type!r}"))
        return answer.body if is_success else b""

    def new_sid(self, prefix: str) -> str:
        """A fresh id, the same in every run."""
        self._serials += 1
        serial = f"{self.account_sid}{self._serials}".encode()
        return prefix + hashlib.sha256(serial).hexdigest()[:32]

    def room(self, name: str) -> Room:
        """The conference of this name that is running, or a new one."""
        for room in self.rooms:
            if room.name == name and not room.is_over:
                return room
        self.rooms.append(Room(self, name))
        return self.rooms[-1]

    def date(self) -> str:
        """Now, as RFC 2822 says it."""
        return formatdate(clock.wall(), usegmt=True)

    def _begin(self, call: SimulatedCall) -> SimulatedCall:
        self.calls.append(call)
        self._changed.set()
        call.begin()
        return call

    # --------------------------------------------------------------------------------- the REST API

    def place_call(self, form: Form) -> Mapping[str, object]:
        """Begin an outbound call."""
        get = _getter(form)
        if not any(get(name) for name in ("Url", "Twiml", "ApplicationSid")):
            raise ApiError(400, 21205, "Url parameter is required")
        if not is_e164(get("To")) and not get("To").startswith(("sip:", "sips:", "client:")):
            raise ApiError(
                400,
                21211,
                f"The phone number you are attempting to call, {get('To')}, is not valid",
            )
        if get("From") not in {each.phone_number for each in self.numbers}:
            raise ApiError(
                400, 21210, f"The source phone number provided, {get('From')}, is not yet verified"
            )
        if len(get("Twiml")) > _LONGEST_TWIML:
            raise ApiError(400, 21601, "Twiml is longer than 4000 characters")
        callee = self.callees.get(get("To")) or Callee()
        call = SimulatedCall(
            self,
            direction="outbound-api",
            caller=get("From"),
            callee=get("To"),
            person=callee.caller,
            orders=_orders(form),
            conditions=self.conditions,
        )
        return self._shown(self._begin(call))

    def find_calls(self, form: Form) -> Sequence[Mapping[str, object]]:
        """Calls by number and status."""
        get = _getter(form)
        wanted = {"To": "callee", "From": "caller", "Status": "status"}
        return [
            self._shown(call)
            for call in self.calls
            if all(getattr(call, own) == get(name) for name, own in wanted.items() if get(name))
        ]

    def show_call(self, sid: str) -> Mapping[str, object]:
        """One call."""
        return self._shown(self._call(sid))

    def update_call(self, sid: str, form: Form) -> Mapping[str, object]:
        """End, redirect or limit a call."""
        call, get = self._call(sid), _getter(form)
        is_waiting = call.status in {"queued", "ringing"}
        wants_running = get("Status") == "completed" or get("Twiml") or get("Url")
        if (
            call.is_over
            or (wants_running and is_waiting)
            or (get("Status") == "canceled" and not is_waiting)
        ):
            raise ApiError(400, 21220, "Call is not in-progress. Cannot redirect.")
        if get("Twiml") and get("Url"):
            raise ApiError(400, 20001, "Twiml and Url are mutually exclusive")
        if get("TimeLimit"):
            call.limit(float(get("TimeLimit")))
        if get("Status"):
            call.end("api", "completed" if get("Status") == "completed" else "canceled")
        elif get("Twiml"):
            call.redirect(get("Twiml"))
        elif get("Url"):
            call.redirect(f"<Response><Redirect>{get('Url')}</Redirect></Response>")
        return self._shown(call)

    def start_recording(self, call_sid: str, form: Form) -> Mapping[str, object]:
        """Record a running call."""
        call, get = self._call(call_sid), _getter(form)
        if call.status != "in-progress":
            raise ApiError(400, 21220, "Requested resource is not eligible for recording")
        events = " ".join(form.get("RecordingStatusCallbackEvent", ["completed"])).split()
        recording = Recording(
            self.new_sid("RE"),
            call,
            2 if get("RecordingChannels") == "dual" else 1,
            get("RecordingStatusCallback"),
            frozenset(events),
        )
        self.recordings.append(recording)
        call.recordings.append(recording.sid)
        call.at_end.append(lambda: self._finish_recording(recording))
        return self._shown_recording(recording)

    async def _finish_recording(self, recording: Recording) -> None:
        recording.status = "completed" if recording.call.rides else "absent"
        if recording.callback and recording.status in recording.events:
            form = {
                "AccountSid": self.account_sid,
                "CallSid": recording.call.sid,
                "RecordingSid": recording.sid,
                "RecordingUrl": self._recording_url(recording),
                "RecordingStatus": recording.status,
                "RecordingDuration": str(round(recording.call.duration_s)),
                "RecordingChannels": str(recording.channels),
                "RecordingStartTime": self.date(),
                "RecordingSource": "StartCallRecordingAPI",
                "RecordingTrack": "both",
            }
            await self.deliver(recording.call, "recording", recording.callback, form)

    def show_recording(self, call_sid: str, sid: str) -> Mapping[str, object]:
        """One recording."""
        return self._shown_recording(self._recording(sid, call_sid))

    def update_recording(self, call_sid: str, sid: str, form: Form) -> Mapping[str, object]:
        """Pause, resume or stop a recording."""
        recording = self._recording(sid, call_sid)
        if recording.call.is_over:
            raise ApiError(400, 21220, "Recording is not in-progress")
        recording.status = _getter(form)("Status")
        return self._shown_recording(recording)

    def recording_wav(self, sid: str) -> bytes:
        """The sound of a finished recording: caller left, agent right."""
        recording = self._recording(sid)
        if recording.status != "completed":
            raise not_found(f"/Recordings/{sid}")
        return recording.call.tape().wav()

    def find_numbers(self, form: Form) -> Sequence[Mapping[str, object]]:
        """Numbers of the account."""
        wanted = _getter(form)("PhoneNumber")
        return [_shown_number(each) for each in self.numbers if wanted in {"", each.phone_number}]

    def show_number(self, sid: str) -> Mapping[str, object]:
        """One number."""
        return _shown_number(self._number(sid))

    def find_offers(self, country: str, kind: str, form: Form) -> Sequence[Mapping[str, object]]:
        """Numbers for sale."""
        offers = self.for_sale.get(f"{country}/{kind}")
        if offers is None:
            raise not_found(f"/AvailablePhoneNumbers/{country}/{kind}.json")
        most = int(_getter(form)("PageSize") or 30)
        return [
            {
                "phone_number": number,
                "friendly_name": number,
                "iso_country": country,
                "address_requirements": "none",
                "beta": False,
                "capabilities": {"voice": True, "SMS": True, "MMS": False, "fax": False},
            }
            for number in offers[:most]
        ]

    def buy_number(self, form: Form) -> Mapping[str, object]:
        """Sell a number to the account."""
        wanted = _getter(form)("PhoneNumber")
        shelf = next((offers for offers in self.for_sale.values() if wanted in offers), None)
        if shelf is None or wanted in self.sold_meanwhile:
            raise ApiError(400, 21422, f"{wanted} is not available.")
        shelf.remove(wanted)
        bought = Number(self.new_sid("PN"), wanted)
        self.numbers.append(bought)
        return _shown_number(bought)

    def update_number(self, sid: str, form: Form) -> Mapping[str, object]:
        """Set the webhooks of a number."""
        number, get = self._number(sid), _getter(form)
        number.voice_url = get("VoiceUrl") or number.voice_url
        number.voice_method = get("VoiceMethod") or number.voice_method
        number.status_callback = get("StatusCallback") or number.status_callback
        return _shown_number(number)

    def _call(self, sid: str) -> SimulatedCall:
        for call in self.calls:
            if call.sid == sid:
                return call
        raise not_found(f"/Calls/{sid}.json")

    def _recording(self, sid: str, call_sid: str = "") -> Recording:
        for each in self.recordings:
            if each.sid == sid and call_sid in {"", each.call.sid}:
                return each
        raise not_found(f"/Recordings/{sid}.json")

    def _number(self, name: str) -> Number:
        for number in self.numbers:
            if name in {number.sid, number.phone_number}:
                return number
        raise not_found(f"/IncomingPhoneNumbers/{name}.json")

    def _recording_url(self, recording: Recording) -> str:
        return f"{self.base_url}/2010-04-01/Accounts/{self.account_sid}/Recordings/{recording.sid}"

    def _price(self, call: SimulatedCall) -> str | None:
        loop = asyncio.get_running_loop()
        if call.ended_at is None or loop.time() < call.ended_at + self.priced_after_s:
            return None
        rate = _INBOUND if call.direction == "inbound" else _OUTBOUND
        return f"-{ceil(call.duration_s / 60) * rate:.5f}"

    def _shown(self, call: SimulatedCall) -> Mapping[str, object]:
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Calls/{call.sid}"
        return {
            "sid": call.sid,
            "account_sid": self.account_sid,
            "from": call.caller,
            "to": call.callee,
            "status": call.status,
            "direction": call.direction,
            "api_version": "2010-04-01",
            "duration": str(round(call.duration_s)) if call.status in FINAL else None,
            "price": self._price(call),
            "price_unit": "USD",
            "answered_by": call.answered_by,
            "parent_call_sid": None,
            "queue_time": "0",
            "uri": f"{uri}.json",
            "subresource_uris": {"recordings": f"{uri}/Recordings.json"},
        }

    def _shown_recording(self, recording: Recording) -> Mapping[str, object]:
        return {
            "sid": recording.sid,
            "account_sid": self.account_sid,
            "call_sid": recording.call.sid,
            "status": recording.status,
            "channels": recording.channels,
            "source": "StartCallRecordingAPI",
            "media_url": self._recording_url(recording),
        }


def _getter(form: Form) -> Callable[[str], str]:
    return lambda name: form.get(name, [""])[-1]


def _orders(form: Form) -> Orders:
    get = _getter(form)
    events = " ".join(form.get("StatusCallbackEvent", ["completed"])).split()
    return Orders(
        status_callback=get("StatusCallback"),
        status_events=frozenset(events),
        ring_timeout_s=float(get("Timeout") or 60),
        time_limit_s=float(get("TimeLimit") or LONGEST_CALL_S),
        twiml=get("Twiml"),
        url=get("Url"),
        # Documented: digits that are sent after the answer switch the detection off.
        detects_machines=bool(get("MachineDetection")) and not get("SendDigits"),
        detects_beside=get("AsyncAmd") == "true",
        amd_callback=get("AsyncAmdStatusCallback"),
    )


def _shown_number(number: Number) -> Mapping[str, object]:
    return {
        "sid": number.sid,
        "phone_number": number.phone_number,
        "voice_url": number.voice_url,
        "voice_method": number.voice_method,
        "voice_application_sid": number.voice_application_sid or None,
        "trunk_sid": number.trunk_sid or None,
        "status_callback": number.status_callback,
    }
