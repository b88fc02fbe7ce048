"""The part of Twilio's REST API that makes and steers calls, as strict as its specification.

Parameters and types are those of https://github.com/twilio/twilio-oai (`twilio_api_v2010.json`), and a test
compares the tables below with it. What the real API would quietly ignore is refused here, so that a wrong
name is found in a test and not in production.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from getpatter.net.messages import HttpRequest, HttpResponse

Form = Mapping[str, Sequence[str]]

_CREATE_CALL: Final = """
To! text; From! text; Url url; Twiml text; ApplicationSid sid:AP; Method method; FallbackUrl url
FallbackMethod method; StatusCallback url; StatusCallbackMethod method
StatusCallbackEvent list:initiated|ringing|answered|completed
SendDigits text; Timeout int:0-600; TimeLimit int:1-86400; Record bool; RecordingChannels enum:mono|dual
RecordingTrack enum:inbound|outbound|both; RecordingStatusCallback url; RecordingStatusCallbackMethod method
RecordingStatusCallbackEvent list:in-progress|completed|absent; Trim enum:trim-silence|do-not-trim
MachineDetection enum:Enable|DetectMessageEnd; MachineDetectionTimeout int:3-59
MachineDetectionSpeechThreshold int:1000-6000; MachineDetectionSpeechEndThreshold int:500-5000
MachineDetectionSilenceTimeout int:2000-10000; AsyncAmd enum:true|false; AsyncAmdStatusCallback url
AsyncAmdStatusCallbackMethod method; SipAuthUsername text; SipAuthPassword text; CallerId text
Byoc sid:BY; CallReason text; CallToken text; ClientNotificationUrl url
"""
_UPDATE_CALL: Final = """
Status enum:canceled|completed; Url url; Twiml text; Method method; FallbackUrl url; FallbackMethod method
StatusCallback url; StatusCallbackMethod method; TimeLimit int:1-86400
"""
_LIST_CALLS: Final = """
To text; From text; ParentCallSid sid:CA
Status enum:queued|ringing|in-progress|completed|busy|failed|no-answer|canceled
StartTime text; StartTime< text; StartTime> text; EndTime text; EndTime< text; EndTime> text
PageSize int:1-1000; Page int:0-9999999; PageToken text
"""
_CREATE_RECORDING: Final = """
RecordingStatusCallbackEvent list:in-progress|completed|absent; RecordingStatusCallback url
RecordingStatusCallbackMethod method; Trim enum:trim-silence|do-not-trim; RecordingChannels enum:mono|dual
RecordingTrack enum:inbound|outbound|both
"""
_UPDATE_RECORDING: Final = """
Status! enum:in-progress|paused|stopped|processing|completed|absent; PauseBehavior enum:skip|silence
"""
_LIST_NUMBERS: Final = """
Beta bool; FriendlyName text; PhoneNumber text; Origin text
PageSize int:1-1000; Page int:0-9999999; PageToken text
"""
_FIND_OFFERS: Final = """
AreaCode int:200-999; Contains text; SmsEnabled bool; MmsEnabled bool; VoiceEnabled bool; FaxEnabled bool; Beta bool
ExcludeAllAddressRequired bool; ExcludeLocalAddressRequired bool; ExcludeForeignAddressRequired bool
NearNumber text; NearLatLong text; Distance int:0-500; InPostalCode text; InRegion text; InRateCenter text; InLata text
InLocality text; PageSize int:1-1000; Page int:0-9999999; PageToken text
"""
_BUY_NUMBER: Final = """
PhoneNumber text; AreaCode text; ApiVersion text; FriendlyName text; SmsApplicationSid sid:AP; SmsFallbackMethod method
SmsFallbackUrl url; SmsMethod method; SmsUrl url; StatusCallback url; StatusCallbackMethod method
VoiceApplicationSid sid:AP; VoiceCallerIdLookup bool; VoiceFallbackMethod method; VoiceFallbackUrl url
VoiceMethod method; VoiceUrl url; EmergencyStatus enum:Active|Inactive; EmergencyAddressSid sid:AD
TrunkSid sid:TK; VoiceReceiveMode enum:voice|fax; IdentitySid sid:RI; AddressSid sid:AD; BundleSid sid:BU
"""
_UPDATE_NUMBER: Final = """
AccountSid sid:AC; ApiVersion text; FriendlyName text; SmsApplicationSid sid:AP; SmsFallbackMethod method
SmsFallbackUrl url; SmsMethod method; SmsUrl url; StatusCallback url; StatusCallbackMethod method
VoiceApplicationSid sid:AP; VoiceCallerIdLookup bool; VoiceFallbackMethod method; VoiceFallbackUrl url
VoiceMethod method; VoiceUrl url; EmergencyStatus enum:Active|Inactive; EmergencyAddressSid sid:AD
TrunkSid sid:TK; VoiceReceiveMode enum:voice|fax; IdentitySid sid:RI; AddressSid sid:AD; BundleSid sid:BU
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter may hold."""

    kind: str
    """`text`, `url`, `method`, `bool`, `int`, `enum`, `list` or `sid`."""
    limits: str = ""
    """`3-59` of an `int`, `a|b` of an `enum` or `list`, the prefix of a `sid`."""
    is_required: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of an `enum` or `list`."""
        return tuple(self.limits.split("|"))

    def takes(self, value: str) -> bool:
        """Whether `value` is one of them."""
        match self.kind:
            case "url":
                return urlsplit(value).scheme in {"http", "https"} and bool(
                    urlsplit(value).hostname
                )
            case "method":
                return value in {"GET", "POST"}
            case "bool":
                return value.lower() in {"true", "false"}
            case "int":
                low, high = map(int, self.limits.split("-"))
                return value.isascii() and value.isdecimal() and low <= int(value) <= high
            case "enum":
                return value in self.choices
            case "list":  # repeated, or several in one value
                return all(each in self.choices for each in value.split()) and bool(value.strip())
            case "sid":
                return re.fullmatch(self.limits + r"[0-9a-fA-F]{32}", value) is not None
            case _:
                return True


def _table(text: str) -> Mapping[str, Parameter]:
    found: dict[str, Parameter] = {}
    for entry in re.split(r"[;\n]", text.strip()):
        name, what = entry.split()
        kind, _, limits = what.partition(":")
        found[name.rstrip("!")] = Parameter(kind, limits, name.endswith("!"))
    return found


OPERATIONS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "POST /Calls.json": _table(_CREATE_CALL),
    "GET /Calls.json": _table(_LIST_CALLS),
    "POST /Calls/{Sid}.json": _table(_UPDATE_CALL),
    "GET /Calls/{Sid}.json": {},
    "POST /Calls/{CallSid}/Recordings.json": _table(_CREATE_RECORDING),
    "POST /Calls/{CallSid}/Recordings/{Sid}.json": _table(_UPDATE_RECORDING),
    "GET /Calls/{CallSid}/Recordings/{Sid}.json": {},
    "GET /AvailablePhoneNumbers/{CountryCode}/Local.json": _table(_FIND_OFFERS),
    "GET /AvailablePhoneNumbers/{CountryCode}/National.json": _table(_FIND_OFFERS),
    "GET /AvailablePhoneNumbers/{CountryCode}/Mobile.json": _table(_FIND_OFFERS),
    "GET /IncomingPhoneNumbers.json": _table(_LIST_NUMBERS),
    "POST /IncomingPhoneNumbers.json": _table(_BUY_NUMBER),
    "GET /IncomingPhoneNumbers/{Sid}.json": {},
    "POST /IncomingPhoneNumbers/{Sid}.json": _table(_UPDATE_NUMBER),
}
"""What the simulation offers, below `/2010-04-01/Accounts/{AccountSid}`."""

ROOT: Final = "/2010-04-01/Accounts/"
_PAGES: Final = {"PageSize": "50", "Page": "0"}
_RAW_RECORDING: Final = re.compile(r"/Recordings/(RE[0-9a-f]{32})(?:\.wav)?$")


class ApiError(Exception):
    """A refusal, with Twilio's code and text."""

    def __init__(self, status: int, code: int, message: str) -> None:
        """`status` is that of HTTP."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def not_found(path: str) -> ApiError:
    """20404: there is no such resource."""
    return ApiError(404, 20404, f"The requested resource {path} was not found")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request that was made, for assertions. Hides its values, which may be secret, in `repr`."""

    operation: str
    """Such as `POST /Calls/{Sid}.json`; the plain path where there is no such operation."""
    path: str
    form: Form = field(repr=False)
    """Parameters of body and query; each has a list of values."""
    status: int
    """What was answered."""

    def __getitem__(self, name: str) -> str:
        """The last value of a parameter; empty when it was not sent."""
        return self.form.get(name, [""])[-1]


class Account(Protocol):
    """What happens when a request is accepted."""

    account_sid: str
    auth_token: str

    def place_call(self, form: Form) -> Mapping[str, object]:
        """Begin an outbound call."""
        ...

    def find_calls(self, form: Form) -> Sequence[Mapping[str, object]]:
        """Calls by number and status."""
        ...

    def show_call(self, sid: str) -> Mapping[str, object]:
        """One call."""
        ...

    def update_call(self, sid: str, form: Form) -> Mapping[str, object]:
        """End, redirect or limit a call."""
        ...

    def start_recording(self, call_sid: str, form: Form) -> Mapping[str, object]:
        """Record a running call."""
        ...

    def show_recording(self, call_sid: str, sid: str) -> Mapping[str, object]:
        """One recording."""
        ...

    def update_recording(self, call_sid: str, sid: str, form: Form) -> Mapping[str, object]:
        """Pause, resume or stop a recording."""
        ...

    def recording_wav(self, sid: str) -> bytes:
        """The sound of a finished recording."""
        ...

    def find_numbers(self, form: Form) -> Sequence[Mapping[str, object]]:
        """Numbers of the account."""
        ...

    def show_number(self, sid: str) -> Mapping[str, object]:
        """One number."""
        ...

    def find_offers(self, country: str, kind: str, form: Form) -> Sequence[Mapping[str, object]]:
        """Numbers for sale; `kind` is `Local`, `National` or `Mobile`."""
        ...

    def buy_number(self, form: Form) -> Mapping[str, object]:
        """Sell a number to the account."""
        ...

    def update_number(self, sid: str, form: Form) -> Mapping[str, object]:
        """Set the webhooks of a number."""
        ...


class Api:
    """Answers requests. Pure but for what the account does."""

    def __init__(self, account: Account) -> None:
        """Requests for other accounts are refused."""
        self._account = account
        self.requests: list[ApiRequest] = []
        """Everything that was asked, refused requests included."""
        self.problems: list[str] = []
        """Requests that break the specification."""
        self._refusals: list[tuple[str, ApiError, Mapping[str, str]]] = []

    def refuse_next(
        self,
        status: int,
        code: int = 0,
        message: str = "refused by the test",
        *,
        operation: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse one request to come, the next of `operation` if one is named."""
        self._refusals.append((operation, ApiError(status, code, message), headers or {}))

    def answer(self, request: HttpRequest) -> HttpResponse:
        """What Twilio answers."""
        url = urlsplit(request.url)
        operation, ids = _operation(request.method, url.path)
        form: dict[str, list[str]] = {}
        pairs = parse_qsl(url.query, keep_blank_values=True)
        pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        for name, value in pairs:
            form.setdefault(name, []).append(value)
        response = self._answer(request, operation, ids, form)
        self.requests.append(ApiRequest(operation, url.path, form, response.status))
        return response

    def _answer(
        self, request: HttpRequest, operation: str, ids: Mapping[str, str], form: Form
    ) -> HttpResponse:
        try:
            self._authenticate(request, ids)
            refused = self._next_refusal(operation)
            if refused is not None:
                return _refusal(*refused)
            path = urlsplit(request.url).path
            if (sound := _RAW_RECORDING.search(path)) and request.method == "GET":
                wav = self._account.recording_wav(sound[1])
                return HttpResponse(200, {"content-type": "audio/x-wav"}, wav)
            if operation not in OPERATIONS:
                raise not_found(path)
            self._check(operation, form)
            status = 201 if operation in _CREATES else 200
            return _json(status, self._do(operation, ids, form))
        except ApiError as refusal:
            return _refusal(refusal, {})

    def _authenticate(self, request: HttpRequest, ids: Mapping[str, str]) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        scheme, _, login = headers.get("authorization", "").partition(" ")
        try:
            given = b64decode(login, validate=True) if scheme == "Basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        wanted = f"{self._account.account_sid}:{self._account.auth_token}".encode()
        if not hmac.compare_digest(given, wanted):
            raise ApiError(401, 20003, "Authenticate")
        if ids.get("AccountSid") != self._account.account_sid:
            raise not_found(urlsplit(request.url).path)

    def _next_refusal(self, operation: str) -> tuple[ApiError, Mapping[str, str]] | None:
        for index, (wanted, refusal, headers) in enumerate(self._refusals):
            if wanted in {"", operation}:
                del self._refusals[index]
                return refusal, headers
        return None

    def _check(self, operation: str, form: Form) -> None:
        parameters = OPERATIONS[operation]
        for name, values in form.items():
            parameter = parameters.get(name)
            if parameter is None:
                self._broken(f"{operation}: no parameter {name}")
            elif parameter.kind != "list" and len(values) > 1:
                self._broken(f"{operation}: {name} was given {len(values)} times")
            elif not all(map(parameter.takes, values)):
                self._broken(f"{operation}: {name} does not take {values[-1][:40]!r}")
        for name, parameter in parameters.items():
            if parameter.is_required and not form.get(name, [""])[-1]:
                self._broken(f"{operation}: {name} is required", _MISSING.get(name, 20001))

    def _broken(self, problem: str, code: int = 20001) -> None:
        self.problems.append(problem)
        raise ApiError(400, code, problem)

    def _do(  # noqa: C901, PLR0911 - one operation after the other
        self, operation: str, ids: Mapping[str, str], form: Form
    ) -> Mapping[str, object]:
        account = self._account
        sid, call_sid = ids.get("Sid", ""), ids.get("CallSid", "")
        match operation:
            case "POST /Calls.json":
                return account.place_call(form)
            case "GET /Calls.json":
                return _page("calls", account.find_calls(form))
            case "POST /Calls/{Sid}.json":
                return account.update_call(sid, form)
            case "GET /Calls/{Sid}.json":
                return account.show_call(sid)
            case "POST /Calls/{CallSid}/Recordings.json":
                return account.start_recording(call_sid, form)
            case "POST /Calls/{CallSid}/Recordings/{Sid}.json":
                return account.update_recording(call_sid, sid, form)
            case "GET /Calls/{CallSid}/Recordings/{Sid}.json":
                return account.show_recording(call_sid, sid)
            case "GET /IncomingPhoneNumbers.json":
                return _numbers_page(account.account_sid, account.find_numbers(form), form)
            case "POST /IncomingPhoneNumbers.json":
                return account.buy_number(form)
            case offers if offers.startswith("GET /AvailablePhoneNumbers/"):
                kind = offers.rpartition("/")[2].removesuffix(".json")
                found = account.find_offers(ids["CountryCode"], kind, form)
                return {"available_phone_numbers": [dict(each) for each in found], "uri": ""}
            case "GET /IncomingPhoneNumbers/{Sid}.json":
                return account.show_number(sid)
            case _:
                return account.update_number(sid, form)


_CREATES: Final = frozenset(
    {
        "POST /Calls.json",
        "POST /Calls/{CallSid}/Recordings.json",
        "POST /IncomingPhoneNumbers.json",
    }
)
_MISSING: Final = {"To": 21201, "From": 21213}


def _operation(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The operation of a request, and the ids in its path."""
    account, _, below = path.removeprefix(ROOT).partition("/")
    ids = {"AccountSid": unquote(account)}
    for operation in OPERATIONS:
        verb, template = operation.split()
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+?)", re.escape(template))
        found = re.fullmatch(pattern, "/" + below)
        if found and verb == method:
            return operation, ids | {
                name: unquote(text) for name, text in found.groupdict().items()
            }
    return f"{method} {path}", ids


def _json(status: int, fields: Mapping[str, object]) -> HttpResponse:
    return HttpResponse(
        status, {"content-type": "application/json"}, json.dumps(dict(fields)).encode()
    )


def _refusal(refusal: ApiError, headers: Mapping[str, str]) -> HttpResponse:
    body = {
        "code": refusal.code,
        "message": refusal.message,
        "more_info": f"https://www.twilio.com/docs/errors/{refusal.code}",
        "status": refusal.status,
    }
    answer = _json(refusal.status, body)
    return HttpResponse(answer.status, {**answer.headers, **headers}, answer.body)


def _numbers_page(
    account_sid: str, items: Sequence[Mapping[str, object]], form: Form
) -> Mapping[str, object]:
    size, page = (int(form.get(name, [usual])[-1]) for name, usual in _PAGES.items())
    begin = page * size
    shown = _page("incoming_phone_numbers", items[begin : begin + size])
    is_last = begin + size >= len(items)
    below = f"IncomingPhoneNumbers.json?PageSize={size}&Page={page + 1}&PageToken=PN{page + 1}"
    uri = None if is_last else f"{ROOT}{account_sid}/{below}"
    return {**shown, "page": page, "page_size": size, "next_page_uri": uri}


def _page(name: str, items: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    return {
        name: [dict(item) for item in items],
        "page": 0,
        "page_size": 50,
        "start": 0,
        "end": max(0, len(items) - 1),
        "next_page_uri": None,
        "previous_page_uri": None,
        "first_page_uri": "",
        "uri": "",
    }
