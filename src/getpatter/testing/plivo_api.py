"""The part of Plivo's REST API that makes and steers calls, as strict as its documentation.

There is no machine-readable specification of it; the parameters are those of Plivo's client library (4.63), and a
test compares the tables below with it. What the real API would quietly ignore is refused here.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from getpatter.net.messages import HttpRequest, HttpResponse

Body = Mapping[str, Any]

_CALL: Final = """
from! to! answer_url! answer_method ring_url ring_method hangup_url hangup_method fallback_url fallback_method
caller_name send_digits send_on_preanswer time_limit hangup_on_ring machine_detection machine_detection_time
machine_detection_url machine_detection_method sip_headers ring_timeout parent_call_uuid
error_if_parent_not_found callback_url callback_method
"""
_TRANSFER: Final = "legs aleg_url aleg_method bleg_url bleg_method callback_url callback_method"
_RECORD: Final = """
time_limit file_format transcription_type transcription_url transcription_method transcription_report_type
callback_url callback_method record_channel_type
"""
_APPLICATION: Final = """
answer_url answer_method hangup_url hangup_method fallback_answer_url fallback_method message_url message_method
default_number_app default_endpoint_app subaccount log_incoming_messages public_uri callback_url callback_method
"""


def _names(text: str) -> Mapping[str, bool]:
    """Parameter -> whether it is required."""
    return {name.rstrip("!"): name.endswith("!") for name in text.split()}


OPERATIONS: Final[Mapping[str, Mapping[str, bool]]] = {
    "POST /Call/": _names(_CALL),
    "POST /Call/{id}/": _names(_TRANSFER),
    "GET /Call/{id}/": _names("status"),
    "DELETE /Call/{id}/": _names("callback_url callback_method"),
    "POST /Call/{id}/Record/": _names(_RECORD),
    "POST /Call/{id}/DTMF/": _names("digits! leg callback_url callback_method"),
    "GET /Application/": _names("app_name subaccount limit offset"),
    "GET /Application/{id}/": {},
    "POST /Application/": _names("app_name! " + _APPLICATION),
    "POST /Application/{id}/": _names(_APPLICATION),
    "GET /PhoneNumber/": _names(
        "country_iso! type pattern region services lata rate_center limit offset eligible city npanxx "
        "local_calling_area"
    ),
    "POST /PhoneNumber/{id}/": _names(
        "app_id verification_info cnam_lookup ha_enable compliance_application_id"
    ),
    "GET /Number/": _names(
        "type number_startswith subaccount alias services tendlc_registration_status tendlc_campaign_id "
        "toll_free_sms_verification cnam_lookup limit offset"
    ),
    "POST /Number/{id}/": _names("app_id subaccount alias verification_info cnam_lookup"),
}
"""What the simulation offers, below `/v1/Account/{auth_id}`."""

_STATUSES: Final = {
    "POST /Call/": 201,
    "POST /Application/": 201,
    "POST /Call/{id}/": 202,
    "POST /Call/{id}/Record/": 202,
    "POST /Call/{id}/DTMF/": 202,
    "POST /Application/{id}/": 202,
    "POST /Number/{id}/": 202,
    "POST /PhoneNumber/{id}/": 201,
    "DELETE /Call/{id}/": 204,
}
_LIMITS: Final = {
    "time_limit": (1, 86400),
    "ring_timeout": (1, 600),
    "machine_detection_time": (2000, 10000),
}
_REPEATED_IDS: Final = frozenset({"call_uuid", "app_id"})
"""The client library repeats the id of the path in the body."""
_CHOICES: Final = {
    "legs": {"aleg", "bleg", "both"},
    "leg": {"aleg", "bleg", "both"},
    "file_format": {"mp3", "wav"},
    "record_channel_type": {"mono", "stereo"},
    "machine_detection": {"true", "hangup"},
    "status": {"live", "queued"},
}


class ApiError(Exception):
    """A refusal."""

    def __init__(self, status: int, error: str) -> None:
        """`status` is that of HTTP."""
        super().__init__(error)
        self.status = status
        self.error = error


def not_found() -> ApiError:
    """404: there is no such resource."""
    return ApiError(404, "not found")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request that was made, for assertions. Hides its values, which may be secret, in `repr`."""

    operation: str
    """Such as `POST /Call/{id}/`; the plain path where there is no such operation."""
    path: str
    body: Body = field(repr=False)
    """Parameters of body and query."""
    status: int
    """What was answered."""

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter; `None` when it was not sent."""
        return self.body.get(name)


class Account(Protocol):
    """What happens when a request is accepted."""

    auth_id: str
    auth_token: str

    def place_call(self, body: Body) -> Mapping[str, object]:
        """Begin an outbound call."""
        ...

    def show_call(self, call_id: str, *, is_live: bool) -> Mapping[str, object]:
        """A live call, or the record of one that has ended."""
        ...

    def redirect_call(self, call_id: str, body: Body) -> None:
        """Let a call follow another document."""
        ...

    def end_call(self, call_id: str) -> None:
        """Hang up."""
        ...

    def record_call(self, call_id: str, body: Body) -> Mapping[str, object]:
        """Record a running call."""
        ...

    def press(self, call_id: str, body: Body) -> None:
        """Press keys."""
        ...

    def find_applications(self, name: str) -> Sequence[Mapping[str, object]]:
        """Applications whose names begin so."""
        ...

    def set_application(self, app_id: str, body: Body) -> Mapping[str, object]:
        """Make an application, or change one."""
        ...

    def link_number(self, number: str, app_id: str) -> None:
        """Let calls to a number go to an application."""
        ...

    def show_application(self, app_id: str) -> Mapping[str, object]:
        """One application."""
        ...

    def find_numbers(self, body: Body) -> Mapping[str, object]:
        """A page of the account's numbers."""
        ...

    def find_offers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers to be rented."""
        ...

    def buy_number(self, number: str) -> Mapping[str, object]:
        """Rent a number to the account."""
        ...


class Api:
    """Answers requests. Pure but for what the account does."""

    def __init__(self, account: Account) -> None:
        """Requests for other accounts are refused."""
        self._account = account
        self.requests: list[ApiRequest] = []
        """Everything that was asked, refused requests included."""
        self.problems: list[str] = []
        """Requests that break the documentation."""
        self._refusals: list[tuple[str, ApiError, Mapping[str, str]]] = []

    def refuse_next(
        self,
        status: int,
        error: str = "refused by the test",
        *,
        operation: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse one request to come, the next of `operation` if one is named."""
        self._refusals.append((operation, ApiError(status, error), headers or {}))

    def answer(self, request: HttpRequest) -> HttpResponse:
        """What Plivo answers."""
        path = urlsplit(request.url).path
        operation, found = _operation(request.method, path)
        body: Body = {}
        try:
            body = _body(request)
            response = self._answer(request, operation, found, body)
        except ApiError as refusal:
            response = _json(refusal.status, {"api_id": "simulated", "error": refusal.error})
        self.requests.append(ApiRequest(operation, path, body, response.status))
        return response

    def _answer(self, request: HttpRequest, operation: str, found: str, body: Body) -> HttpResponse:
        self._authenticate(request)
        for index, (wanted, refusal, headers) in enumerate(self._refusals):
            if wanted in {"", operation}:
                del self._refusals[index]
                refused = _json(refusal.status, {"error": refusal.error})
                return HttpResponse(refused.status, {**refused.headers, **headers}, refused.body)
        if operation not in OPERATIONS:
            raise not_found()
        self._check(operation, body)
        done = self._do(operation, found, body)
        status = _STATUSES.get(operation, 200)
        return _json(status, {"api_id": "simulated", **done}) if done else HttpResponse(status)

    def _authenticate(self, request: HttpRequest) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        scheme, _, login = headers.get("authorization", "").partition(" ")
        try:
            given = b64decode(login, validate=True) if scheme == "Basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        wanted = f"{self._account.auth_id}:{self._account.auth_token}".encode()
        account = urlsplit(request.url).path.split("/")[3:4]
        if not hmac.compare_digest(given, wanted) or account != [self._account.auth_id]:
            raise ApiError(401, "Authentication failed")

    def _check(self, operation: str, body: Body) -> None:
        parameters = OPERATIONS[operation]
        for name, value in body.items():
            if name in _REPEATED_IDS:
                continue
            if name not in parameters:
                self._broken(f"{operation}: no parameter {name}")
            elif not _takes(name, value):
                self._broken(f"{operation}: {name} does not take {str(value)[:40]!r}")
        for name, is_required in parameters.items():
            if is_required and not body.get(name):
                self._broken(f"{operation}: {name} is required")

    def _broken(self, problem: str) -> None:
        self.problems.append(problem)
        raise ApiError(400, problem)

    def _do(  # noqa: C901, PLR0911, PLR0912 - one operation after the other
        self, operation: str, found: str, body: Body
    ) -> Mapping[str, object]:
        account = self._account
        message: Mapping[str, object] = {"message": "done"}
        match operation:
            case "POST /Call/":
                return account.place_call(body)
            case "GET /Call/{id}/":
                return account.show_call(found, is_live=body.get("status") == "live")
            case "POST /Call/{id}/":
                account.redirect_call(found, body)
            case "DELETE /Call/{id}/":
                account.end_call(found)
                return {}
            case "POST /Call/{id}/Record/":
                return account.record_call(found, body)
            case "POST /Call/{id}/DTMF/":
                account.press(found, body)
            case "GET /Application/":
                return {"objects": list(account.find_applications(str(body.get("app_name", ""))))}
            case "GET /Application/{id}/":
                return account.show_application(found)
            case "GET /Number/":
                return account.find_numbers(body)
            case "GET /PhoneNumber/":
                return {"objects": list(account.find_offers(body))}
            case "POST /PhoneNumber/{id}/":
                return account.buy_number(found)
            case "POST /Application/" | "POST /Application/{id}/":
                return account.set_application(found, body)
            case _:
                account.link_number(found, str(body.get("app_id", "")))
        return message


def _takes(name: str, value: object) -> bool:
    if name in _CHOICES:
        return value in _CHOICES[name]
    if name in _LIMITS:
        low, high = _LIMITS[name]
        return isinstance(value, int) and low <= value <= high
    if name.endswith("_url"):
        parts = urlsplit(value if isinstance(value, str) else "")
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    if name.endswith("_method"):
        return value in {"GET", "POST"}
    if name in {"from", "to"}:
        return isinstance(value, str) and not value.startswith("+")
    return True


def _operation(method: str, path: str) -> tuple[str, str]:
    """The operation of a request, and the id in its path."""
    below = re.sub(r"^/v1/Account/[^/]+", "", path)
    for operation in OPERATIONS:
        verb, template = operation.split(" ")
        found = re.fullmatch(template.replace("{id}", "([^/]+)"), below)
        if found and verb == method:
            return operation, unquote(found[1]) if found.groups() else ""
    return f"{method} {path}", ""


def _body(request: HttpRequest) -> Body:
    query = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    if not request.body:
        return query
    try:
        parsed: object = json.loads(request.body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError(400, "The body is no JSON object")
    return {**query, **parsed}


def _json(status: int, fields: Mapping[str, object]) -> HttpResponse:
    return HttpResponse(
        status, {"content-type": "application/json"}, json.dumps(dict(fields)).encode()
    )
