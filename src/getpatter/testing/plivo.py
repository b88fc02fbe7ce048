"""A Plivo on this machine: REST API, phone calls, audio streams, webhooks with genuine signatures.

```python
async with SimulatedPlivo() as plivo:
    phone = Patter(carrier=plivo.carrier(), phone_number=plivo.number, webhook_url="agent.example")
    ...                                      # phone.serve(...) on port 8000
    plivo.server = "127.0.0.1:8000"          # where agent.example leads to
    call = plivo.ring(Polite("hello", "goodbye"))
    await call.ended()
    assert not plivo.problems
```

It is strict where the real one is lenient, so that a test can end with `assert not plivo.problems`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from getpatter.carriers.plivo import Plivo
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Program, SilentOne
from getpatter.testing.line import Conditions
from getpatter.testing.network import LocalServer, Loopback, LostAnswers, Network
from getpatter.testing.plivo_api import Api, ApiError, ApiRequest, Body, not_found
from getpatter.testing.plivo_calls import Delivery, SimulatedPlivoCall
from getpatter.testing.plivo_rooms import Rooms

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Callee", "SimulatedPlivo", "SimulatedPlivoCall"]

_T = TypeVar("_T")
_LONGEST_PAGE: Final = 20

CALLER: Final = "+15550009876"
"""Who rings, unless a test says otherwise."""


class SimulatedPlivo:
    """One account with one number, applications, calls and REST API. An async context manager."""

    def __init__(
        self,
        *,
        auth_id: str = "MA" + "SIMULATED" * 2,
        auth_token: str = "simulated-auth-token",  # noqa: S107 - of nothing
        number: str = "+15550001234",
        network: Network | None = None,
        conditions: Conditions | None = None,
        listens: bool = True,
    ) -> None:
        """Make an account with one number.

        Args:
            auth_id: `MA` and 18 more letters and digits.
            auth_token: Signs webhooks and opens the REST API.
            number: E.164; the account's phone number.
            network: How webhooks and streams reach the server; loopback sockets unless given.
            conditions: What is wrong with every line.
            listens: Whether the REST API has a port; without one use `run` or `answer`.
        """
        self.auth_id = auth_id
        self.auth_token = auth_token
        self.number = number
        self.network: Network = network if network is not None else Loopback()
        self.conditions = conditions or Conditions()
        self.base_url = ""
        """Of the REST API, once started."""
        self.calls: list[SimulatedPlivoCall] = []
        self.callees: dict[str, Callee] = {}
        """Who can be called, by number without `+` or SIP URI; others answer after a second and are silent."""
        self.applications: dict[str, dict[str, Any]] = {}
        """By id."""
        self.numbers: list[str] = [number.removeprefix("+")]
        """Numbers of the account, without `+`."""
        self.for_sale: dict[str, list[str]] = {"US": ["15550002001", "15550002002"]}
        """Numbers that can be rented, by country."""
        self.sold_meanwhile: set[str] = set()
        """Offered, but somebody else rents them first."""
        self.linked_to = ""
        """Id of the application that the number belongs to."""
        self.priced_after_s = 60.0
        """Seconds from a call's end until its price is known."""
        self.delivers_twice = False
        """Whether every webhook is sent a second time with the same nonce."""
        self.api = Api(self)
        self._lost = LostAnswers()
        self._serials = 0
        self.rooms = Rooms(self.new_id)
        """Conferences."""
        self._listens = listens
        self._changed = asyncio.Event()
        methods = ["GET", "POST", "DELETE"]
        self._rest = LocalServer(
            Starlette(routes=[Route("/{path:path}", self._over_http, methods=methods)])
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
        """Everything the program under test did that Plivo's documentation does not allow."""
        return self.api.problems + [
            f"{call.id[:6]}: {what}"
            for call in self.calls
            for what in (*call.complaints, *call.errors)
        ]

    def asked(self, operation: str) -> list[ApiRequest]:
        """The requests of one operation, such as `"POST /Call/"`."""
        return [request for request in self.requests if request.operation == operation]

    def carrier(self, **options: Any) -> Plivo:
        """A `Plivo` for this account."""
        return Plivo(self.auth_id, self.auth_token, base_url=self.base_url, **options)

    def ring(
        self,
        caller: Program | None = None,
        *,
        from_number: str = CALLER,
        headers: Mapping[str, str] | None = None,
        conditions: Conditions | None = None,
    ) -> SimulatedPlivoCall:
        """Somebody calls the number. Returns at once; `await call.ended()`.

        `caller` is silent unless given; `headers`: SIP headers that came with the call (`X-PH-…`).

        Raises:
            ValueError: the number belongs to no application.
        """
        application = self.applications.get(self.linked_to)
        if application is None:
            raise ValueError("the number belongs to no application")
        return self._begin(
            SimulatedPlivoCall(
                self,
                direction="inbound",
                caller=from_number.removeprefix("+"),
                callee=self.number.removeprefix("+"),
                person=caller or SilentOne(),
                body=application,
                conditions=conditions or self.conditions,
                headers=headers,
            )
        )

    async def dialled(self, count: int = 1, within_s: float = 30.0) -> SimulatedPlivoCall:
        """Wait until the program has placed `count` calls; returns the latest."""
        async with asyncio.timeout(within_s):
            while (
                len(placed := [each for each in self.calls if each.direction == "outbound"]) < count
            ):
                self._changed.clear()
                await self._changed.wait()
        return placed[count - 1]

    async def run(self, exchange: Exchange[_T]) -> _T:
        """Run the logic of a carrier against this account without any socket."""
        try:
            request = next(exchange)
            while True:
                await asyncio.sleep(0)
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
        error: str = "refused by the test",
        *,
        operation: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse one REST request to come, the next of `operation` if one is named."""
        self.api.refuse_next(status, error, operation=operation, headers=headers)

    def lose_next(self, operation: str = "") -> None:
        """Obey one REST request to come, the next of `operation` if one is named, and never answer it."""
        self._lost.lose_next(operation)

    async def _over_http(self, request: Request) -> Response:
        body = await request.body()
        answer = self.answer(HttpRequest(request.method, str(request.url), request.headers, body))
        await self._lost.keep_waiting(request, self.requests[-1].operation)
        return Response(answer.body, answer.status, dict(answer.headers))

    # ------------------------------------------------------------------------------------- webhooks

    def sign(self, url: str, form: Mapping[str, str], nonce: str) -> str:
        """`X-Plivo-Signature-V3` of a POST."""
        parts = urlsplit(url)
        query = "&".join(sorted(f"{n}={v}" for n, v in parse_qsl(parts.query, True)))  # noqa: FBT003
        told = "".join(f"{name}{form[name]}" for name in sorted(form))
        asked = f"?{query}" if query or told else ""
        base = f"{parts.scheme}://{parts.netloc}{parts.path}{asked}"
        if told:
            base += ("." if query else "") + told
        digest = hmac.new(self.auth_token.encode(), f"{base}.{nonce}".encode(), hashlib.sha256)
        return b64encode(digest.digest()).decode()

    async def deliver(
        self, call: SimulatedPlivoCall, kind: str, url: str, form: Mapping[str, str]
    ) -> str:
        """Send a signed webhook; returns the answer's body, empty when it was no success."""
        nonce = self.new_id()
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "user-agent": "Plivo",
            "x-plivo-signature-v3": f"c29tZWJvZHkgZWxzZQ==,{self.sign(url, form, nonce)}",
            "x-plivo-signature-v3-nonce": nonce,
        }
        body = urlencode(form).encode()
        answer = await self.network.post(url, body, headers)
        if self.delivers_twice:
            answer = await self.network.post(url, body, headers)
        call.deliveries.append(Delivery(kind, url, dict(form), answer.status))
        if answer.status not in range(200, 300):
            call.errors.append(f"{kind} was answered {answer.status}")
            return ""
        if answer.body and "xml" not in answer.content_type:
            call.errors.append(f"{kind}: content type {answer.content_type!r}")
        return answer.body.decode("utf-8", "replace")

    def new_id(self) -> str:
        """A fresh id, the same in every run."""
        self._serials += 1
        text = hashlib.sha256(f"{self.auth_id}{self._serials}".encode()).hexdigest()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"

    def _begin(self, call: SimulatedPlivoCall) -> SimulatedPlivoCall:
        self.calls.append(call)
        self._changed.set()
        call.begin()
        return call

    # --------------------------------------------------------------------------------- the REST API

    def place_call(self, body: Body) -> Mapping[str, object]:
        """Begin an outbound call."""
        to, source = str(body["to"]), str(body["from"])
        if source not in self.numbers:
            raise ApiError(403, "the from number does not belong to the account")
        if not to.isdecimal() and not to.startswith(("sip:", "sips:")):
            raise ApiError(400, f"{to} is not a valid phone number")
        callee = self.callees.get(to) or Callee()
        call = SimulatedPlivoCall(
            self,
            direction="outbound",
            caller=source,
            callee=to,
            person=callee.caller,
            body=body,
            conditions=self.conditions,
        )
        self._begin(call)
        return {"message": "call fired", "request_uuid": call.request_id}

    def show_call(self, call_id: str, *, is_live: bool) -> Mapping[str, object]:
        """A live call, or the record of one that has ended."""
        call = self._call(call_id)
        if is_live == call.is_over:
            raise not_found()
        shown: dict[str, object] = {"call_uuid": call.id, "from": call.caller, "to": call.callee}
        if is_live:
            return {**shown, "call_status": call.status, "direction": call.direction}
        amount: str | None = f"{0.0085 * ceil(call.duration_s / 60):.5f}"
        now = asyncio.get_running_loop().time()
        if call.ended_at is None or now < call.ended_at + self.priced_after_s:
            amount = None
        return {**shown, "call_duration": round(call.duration_s), "total_amount": amount}

    def redirect_call(self, call_id: str, body: Body) -> None:
        """Let a call follow another document."""
        self._live(call_id).redirect(str(body["aleg_url"]))

    def end_call(self, call_id: str) -> None:
        """Hang up."""
        call = self._live(call_id)
        call.end("api", "completed" if call.answered_at is not None else "cancel")

    def record_call(self, call_id: str, body: Body) -> Mapping[str, object]:
        """Record a running call."""
        recording_id = self._live(call_id).record(body)
        return {"message": "call recording started", "recording_id": recording_id, "url": ""}

    def press(self, call_id: str, body: Body) -> None:
        """Press keys."""
        self._live(call_id).digits.append(str(body["digits"]))

    def find_applications(self, name: str) -> Sequence[Mapping[str, object]]:
        """Applications whose names begin so."""
        return [
            each for each in self.applications.values() if str(each["app_name"]).startswith(name)
        ]

    def set_application(self, app_id: str, body: Body) -> Mapping[str, object]:
        """Make an application, or change one."""
        if app_id and app_id not in self.applications:
            raise not_found()
        if not app_id:
            if body["app_name"] in {each["app_name"] for each in self.applications.values()}:
                raise ApiError(400, "app_name is already in use")
            app_id = self.new_id()
        self.applications[app_id] = {
            **self.applications.get(app_id, {}),
            **body,
            "app_id": app_id,
        }
        return {"message": "changed", "app_id": app_id}

    def link_number(self, number: str, app_id: str) -> None:
        """Let calls to a number go to an application."""
        if number not in self.numbers or app_id not in self.applications:
            raise not_found()
        self.linked_to = app_id

    def show_application(self, app_id: str) -> Mapping[str, object]:
        """One application."""
        if app_id not in self.applications:
            raise not_found()
        return self.applications[app_id]

    def find_numbers(self, body: Body) -> Mapping[str, object]:
        """A page of the account's numbers."""
        limit, offset = int(body.get("limit", 20)), int(body.get("offset", 0))
        if not 1 <= limit <= _LONGEST_PAGE:
            raise ApiError(400, "limit must be 1 to 20")
        path = f"/v1/Account/{self.auth_id}/Application/{self.linked_to}/"
        page = [
            {
                "number": number,
                "application": path if self.linked_to else None,
                "alias": None,
                "voice_enabled": True,
                "resource_uri": f"/v1/Account/{self.auth_id}/Number/{number}/",
            }
            for number in self.numbers[offset : offset + limit]
        ]
        meta = {"limit": limit, "offset": offset, "total_count": len(self.numbers)}
        return {"meta": {**meta, "next": None, "previous": None}, "objects": page}

    def find_offers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers to be rented."""
        offers = self.for_sale.get(str(body["country_iso"]), [])
        return [
            {
                "number": number,
                "country": body["country_iso"],
                "type": "local",
                "voice_enabled": True,
            }
            for number in offers[: int(body.get("limit", 20))]
        ]

    def buy_number(self, number: str) -> Mapping[str, object]:
        """Rent a number to the account."""
        shelf = next((each for each in self.for_sale.values() if number in each), None)
        if shelf is None or number in self.sold_meanwhile:
            raise ApiError(400, f"{number} is not available")
        shelf.remove(number)
        self.numbers.append(number)
        return {"numbers": [{"number": number, "status": "Success"}], "status": "fulfilled"}

    def _call(self, call_id: str) -> SimulatedPlivoCall:
        for call in self.calls:
            if call.id == call_id:
                return call
        raise not_found()

    def _live(self, call_id: str) -> SimulatedPlivoCall:
        call = self._call(call_id)
        if call.is_over:
            raise not_found()
        return call
