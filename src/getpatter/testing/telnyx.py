"""A Telnyx on this machine: REST API, phone calls, media streams, webhooks with genuine signatures.

```python
async with SimulatedTelnyx() as telnyx:
    phone = Patter(carrier=telnyx.carrier(), phone_number=telnyx.number, webhook_url="agent.example")
    ...                                      # phone.serve(...) on port 8000
    telnyx.server = "127.0.0.1:8000"         # where agent.example leads to
    call = telnyx.ring(Polite("hello", "goodbye"))
    await call.ended()
    assert not telnyx.problems
```

It is strict where the real one is lenient: parameters that Telnyx would ignore and frames it would only answer with
an error are remembered, so that a test can end with `assert not telnyx.problems`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from getpatter.carriers.telnyx import Telnyx
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.runtime import clock
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Program, SilentOne
from getpatter.testing.line import Conditions
from getpatter.testing.network import LocalServer, Loopback, LostAnswers, Network
from getpatter.testing.telnyx_api import Api, ApiError, ApiRequest, Body, not_found
from getpatter.testing.telnyx_calls import Habits, Report, SimulatedTelnyxCall
from getpatter.types import is_e164

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Callee", "Habits", "SimulatedTelnyx", "SimulatedTelnyxCall"]

_T = TypeVar("_T")

CALLER: Final = "+15550009876"
"""Who rings, unless a test says otherwise."""
_SHORTEST_ID: Final = 24


class SimulatedTelnyx:
    """One account with one application, one number, calls and REST API. An async context manager."""

    def __init__(  # noqa: PLR0913 - what a test may want different
        self,
        *,
        api_key: str = "KEY0123456789SIMULATED",
        connection_id: str = "2000000000000000000",
        number: str = "+15550001234",
        habits: Habits | None = None,
        network: Network | None = None,
        conditions: Conditions | None = None,
        listens: bool = True,
    ) -> None:
        """Make an account with one number.

        Args:
            api_key: Opens the REST API.
            connection_id: Of the Call Control application.
            number: E.164; belongs to the application.
            habits: What Telnyx's documentation leaves open.
            network: How webhooks and streams reach the server; loopback sockets unless given.
            conditions: What is wrong with every line.
            listens: Whether the REST API has a port; without one use `run` or `answer`.
        """
        self.api_key = api_key
        self.connection_id = connection_id
        self.number = number
        self.habits = habits or Habits()
        self.network: Network = network if network is not None else Loopback()
        self.conditions = conditions or Conditions()
        self.base_url = ""
        """Of the REST API, once started."""
        self.webhook_url = ""
        """Of the application."""
        self.calls: list[SimulatedTelnyxCall] = []
        self.callees: dict[str, Callee] = {}
        """Who can be called, by number or SIP URI; others answer after a second and are silent."""
        self.numbers: dict[str, dict[str, str]] = {
            number: {"id": "1000000000000000001", "connection_id": connection_id}
        }
        """Numbers of the account, each with its id and application."""
        self.for_sale: dict[str, list[str]] = {"US": ["+15550002001", "+15550002002"]}
        """Numbers that can be bought, by country."""
        self.sold_meanwhile: set[str] = set()
        """Offered, but somebody else buys them first."""
        self.order_takes = 0
        """How often an order is asked about before it is complete; negative: it fails."""
        self._orders: dict[str, int] = {}
        self.costs_reported_after_s: float | None = None
        """Seconds from a call's end to `call.cost`; `None`: the application does not ask for it."""
        self.delivers_twice = False
        """Whether every webhook is sent a second time with the same id."""
        self.delay_s = 0.0
        """How long each REST answer takes."""
        self.api = Api(self)
        self._lost = LostAnswers()
        self._serials = 0
        self._listens = listens
        self._changed = asyncio.Event()
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(api_key.encode()).digest())
        methods = ["GET", "POST", "PATCH"]
        self._rest = LocalServer(
            Starlette(routes=[Route("/{path:path}", self._over_http, methods=methods)])
        )

    # ------------------------------------------------------------------------------------- lifecycle

    async def __aenter__(self) -> Self:
        """Start the REST API."""
        if self._listens:
            port = await self._rest.start()
            self.base_url = f"http://127.0.0.1:{port}/v2"
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
    def public_key(self) -> str:
        """Checks the webhooks of this account: base64 of 32 bytes."""
        return b64encode(
            self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        ).decode()

    @property
    def requests(self) -> list[ApiRequest]:
        """Every REST request that was made, in order."""
        return self.api.requests

    @property
    def problems(self) -> list[str]:
        """Everything the program under test did that Telnyx's documentation does not allow."""
        return self.api.problems + [
            f"{call.id[:6]}: {what}"
            for call in self.calls
            for what in (*call.complaints, *call.errors)
        ]

    def asked(self, operation: str) -> list[ApiRequest]:
        """The requests of one operation, such as `"POST /calls"`; `"answer"` is short for that action."""
        operation = _in_full(operation)
        return [request for request in self.requests if request.operation == operation]

    def carrier(self, **options: Any) -> Telnyx:
        """A `Telnyx` for this account."""
        return Telnyx(
            self.api_key, self.connection_id, self.public_key, base_url=self.base_url, **options
        )

    def ring(
        self,
        caller: Program | None = None,
        *,
        from_number: str = CALLER,
        custom_headers: Mapping[str, str] | None = None,
        conditions: Conditions | None = None,
    ) -> SimulatedTelnyxCall:
        """Somebody calls the number. Returns at once; `await call.ended()`.

        `caller` is silent unless given; `custom_headers`: SIP headers that came with the call.

        Raises:
            ValueError: the application has no webhook.
        """
        if not self.webhook_url:
            raise ValueError("no webhook is set for the application: set webhook_url")
        return self._begin(
            SimulatedTelnyxCall(
                self,
                direction="incoming",
                caller=from_number,
                callee=self.number,
                person=caller or SilentOne(),
                conditions=conditions or self.conditions,
                custom_headers=custom_headers,
            )
        )

    async def dialled(self, count: int = 1, within_s: float = 30.0) -> SimulatedTelnyxCall:
        """Wait until the program has placed `count` calls; returns the latest."""
        async with asyncio.timeout(within_s):
            while (
                len(placed := [each for each in self.calls if each.direction == "outgoing"]) < count
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
        code: str = "",
        title: str = "refused by the test",
        *,
        operation: str = "",
        pointer: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse one REST request to come, the next of `operation` (see `asked`) if one is named."""
        self.api.refuse_next(
            status,
            code,
            title,
            operation=_in_full(operation),
            pointer=pointer,
            headers=headers,
        )

    def lose_next(self, operation: str = "") -> None:
        """Obey one REST request to come, the next of `operation` if one is named, and never answer it."""
        self._lost.lose_next(_in_full(operation))

    async def _over_http(self, request: Request) -> Response:
        body = await request.body()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        answer = self.answer(HttpRequest(request.method, str(request.url), request.headers, body))
        await self._lost.keep_waiting(request, self.requests[-1].operation)
        return Response(answer.body, answer.status, dict(answer.headers))

    # ------------------------------------------------------------------------------------- webhooks

    def sign(self, body: bytes, timestamp: int) -> dict[str, str]:
        """The two headers of a signed webhook."""
        signature = self._key.sign(str(timestamp).encode() + b"|" + body)
        return {
            "telnyx-timestamp": str(timestamp),
            "telnyx-signature-ed25519": b64encode(signature).decode(),
        }

    async def deliver(
        self, call: SimulatedTelnyxCall, event: str, payload: Mapping[str, Any]
    ) -> None:
        """Send a signed webhook."""
        data = {
            "record_type": "event",
            "event_type": event,
            "id": self.new_id(""),
            "occurred_at": self.date(),
            "payload": dict(payload),
        }
        meta = {"attempt": 1, "delivered_to": self.webhook_url}
        body = json.dumps({"data": data, "meta": meta}).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "telnyx-webhooks",
            **self.sign(body, int(clock.wall())),
        }
        for _ in range(2 if self.delivers_twice else 1):
            answer = await self.network.post(self.webhook_url, body, headers)
            call.reports.append(Report(event, dict(payload), answer.status))
            if answer.status not in range(200, 300):
                call.errors.append(f"{event} was answered {answer.status}")

    def new_id(self, prefix: str) -> str:
        """A fresh id, the same in every run."""
        self._serials += 1
        serial = f"{self.connection_id}{self._serials}".encode()
        return prefix + hashlib.sha256(serial).hexdigest()[:_SHORTEST_ID]

    def date(self) -> str:
        """Now, as ISO 8601 says it."""
        return datetime.fromtimestamp(clock.wall(), UTC).isoformat().replace("+00:00", "Z")

    def _begin(self, call: SimulatedTelnyxCall) -> SimulatedTelnyxCall:
        self.calls.append(call)
        self._changed.set()
        call.begin()
        return call

    # --------------------------------------------------------------------------------- the REST API

    def place_call(self, body: Body) -> Mapping[str, object]:
        """Begin an outbound call."""
        to = str(body["to"])
        if body["connection_id"] != self.connection_id:
            raise ApiError(422, "10015", "Invalid value for connection_id", "/connection_id")
        if not is_e164(to) and not to.startswith(("sip:", "sips:")):
            raise ApiError(422, "10016", "Phone number must be in +E164 format", "/to")
        if body["from"] not in self.numbers:
            raise ApiError(403, "10010", "The from number does not belong to the account", "/from")
        callee = self.callees.get(to) or Callee()
        call = SimulatedTelnyxCall(
            self,
            direction="outgoing",
            caller=str(body["from"]),
            callee=to,
            person=callee.caller,
            body=body,
            conditions=self.conditions,
        )
        return self._shown(self._begin(call))

    def leg_of(self, call: SimulatedTelnyxCall, body: Body) -> SimulatedTelnyxCall:
        """Begin the new leg of a transfer."""
        to = str(body["to"])
        if not is_e164(to) and not to.startswith(("sip:", "sips:")):
            raise ApiError(422, "10016", "Phone number must be in +E164 format", "/to")
        state = body.get("target_leg_client_state")
        callee = self.callees.get(to) or Callee()
        leg = SimulatedTelnyxCall(
            self,
            direction="outgoing",
            caller=str(body.get("from") or call.callee),
            callee=to,
            person=callee.caller,
            body={**body, **({"client_state": state} if state else {})},
            conditions=self.conditions,
        )
        return self._begin(leg)

    def show_call(self, call_id: str) -> Mapping[str, object]:
        """One call."""
        return self._shown(self.find(call_id))

    def command(self, call_id: str, verb: str, body: Body) -> Mapping[str, object]:
        """Steer a call."""
        return self.find(call_id).command(verb, body)

    def show_application(self, application_id: str) -> Mapping[str, object]:
        """The Call Control application."""
        if application_id != self.connection_id:
            raise not_found()
        return {
            "record_type": "call_control_application",
            "id": self.connection_id,
            "application_name": "simulated",
            "webhook_event_url": self.webhook_url or None,
            "webhook_api_version": "2",
        }

    def update_application(self, application_id: str, body: Body) -> Mapping[str, object]:
        """Set its webhook."""
        shown = self.show_application(application_id)
        self.webhook_url = str(body["webhook_event_url"])
        return {**shown, "webhook_event_url": self.webhook_url}

    def find_offers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers for sale."""
        offers = self.for_sale.get(str(body.get("filter[country_code]", "US")), [])
        return [
            {"record_type": "available_phone_number", "phone_number": number, "quickship": True}
            for number in offers[: int(body.get("filter[limit]", 100))]
        ]

    def order_numbers(self, body: Body) -> Mapping[str, object]:
        """Sell numbers to the account."""
        wanted = [str(each["phone_number"]) for each in body.get("phone_numbers", ())]
        for number in wanted:
            shelf = next((each for each in self.for_sale.values() if number in each), None)
            if shelf is None or number in self.sold_meanwhile:
                raise ApiError(422, "10015", f"{number} is not available", "/phone_numbers")
            shelf.remove(number)
            self.numbers[number] = {
                "id": self.new_id("1"),
                "connection_id": str(body.get("connection_id", "")),
            }
        order_id = self.new_id("order-")
        self._orders[order_id] = self.order_takes
        status = "pending" if self.order_takes else "success"
        return {"record_type": "number_order", "id": order_id, "status": status}

    def show_order(self, order_id: str) -> Mapping[str, object]:
        """How an order stands."""
        if order_id not in self._orders:
            raise not_found()
        left = self._orders[order_id]
        self._orders[order_id] = left - 1 if left > 0 else left
        status = "failure" if left < 0 else "pending" if left > 1 else "success"
        return {"record_type": "number_order", "id": order_id, "status": status}

    def find_numbers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers of the account."""
        wanted = str(body.get("filter[phone_number]", ""))
        return [
            {"record_type": "phone_number", "phone_number": number, **facts}
            for number, facts in self.numbers.items()
            if wanted in number
        ]

    def update_number(self, number_id: str, body: Body) -> Mapping[str, object]:
        """Put a number elsewhere."""
        for number, facts in self.numbers.items():
            if facts["id"] == number_id:
                facts["connection_id"] = str(body["connection_id"])
                return {"record_type": "phone_number", "phone_number": number, **facts}
        raise not_found()

    def find(self, call_id: str) -> SimulatedTelnyxCall:
        """The call of this id. Raises `ApiError`."""
        for call in self.calls:
            if call.id == call_id:
                return call
        raise not_found()

    def _shown(self, call: SimulatedTelnyxCall) -> Mapping[str, object]:
        return {
            "record_type": "call",
            "call_control_id": call.id,
            "call_leg_id": f"leg-{call.id}",
            "call_session_id": f"session-{call.id}",
            "is_alive": not call.is_over,
            "client_state": call.client_state,
            "recording_id": None,
        }


def _in_full(operation: str) -> str:
    """`"hangup"` is short for that action; a whole operation, or none, stays as it is."""
    if not operation or " " in operation:
        return operation
    return f"POST /calls/{{id}}/actions/{operation}"
