"""The part of Telnyx's REST API that makes and steers calls, as strict as its documentation.

The parameters are those of Telnyx's client library (4.189), and a test compares the tables below with it. What
the real API would quietly ignore is refused here, so that a wrong name is found in a test and not in production.
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

_SAME_EVERYWHERE: Final = "client_state base64; command_id text"
_WEBHOOKS: Final = """
webhook_retries_policies any; webhook_url url; webhook_url_method enum:POST|GET; webhook_urls any
webhook_urls_method enum:POST|GET
"""
_RECORDING: Final = """
record enum:record-from-answer; record_channels enum:single|dual; record_custom_file_name text
record_format enum:wav|mp3; record_max_length int:0-14400; record_timeout_secs int:0-14400
record_track enum:both|inbound|outbound; record_trim enum:trim-silence
"""
_STREAM: Final = """
stream_bidirectional_codec enum:PCMU|PCMA|G722|OPUS|AMR-WB|L16; stream_bidirectional_mode enum:mp3|rtp
stream_bidirectional_target_legs enum:both|self|opposite
stream_codec enum:PCMU|PCMA|G722|OPUS|AMR-WB|L16|default
stream_track enum:inbound_track|outbound_track|both_tracks; stream_url wss
"""
_RATE: Final = """
stream_bidirectional_sampling_rate enum:8000|16000|22050|24000|48000; stream_auth_token text
"""
_DETECTION: Final = """
answering_machine_detection enum:premium|premium_ios_call_screening_detection|detect|detect_beep|detect_words|\
greeting_end|disabled
answering_machine_detection_config any
"""
_LEG: Final = """
audio_url url; custom_headers any; diversion text; from_display_name text
media_encryption enum:disabled|SRTP|DTLS; media_name text; park_after_unbridge text; preferred_codecs text
privacy enum:id|none; route_to_mobile bool; send_digits_on_answer text; sip_auth_password text
sip_auth_username text; sip_headers any; sip_region enum:US|Europe|Canada|Australia|Middle_East
sip_transport_protocol enum:UDP|TCP|TLS; sound_modifications any; time_limit_secs int:30-14400
timeout_secs int:5-600
"""
_ANSWER: Final = """
assistant any; billing_group_id text; conversation_relay_config any; custom_headers any
deepfake_detection any; preferred_codecs text; send_silence_when_idle bool; sip_headers any
sound_modifications any; transcription bool; transcription_config any
"""
_DIAL: Final = """
assistant any; billing_group_id text; bridge_intent bool; bridge_on_answer bool; conference_config any
connection_id! text; conversation_relay_config any; deepfake_detection any; dialogflow_config any
enable_dialogflow bool; from! text; link_to text; prevent_double_bridge bool; retry_on_timeout bool
send_silence_when_idle bool; stream_establish_before_call_originate bool; supervise_call_control_id text
supervisor_role enum:barge|whisper|monitor; to! any; transcription bool; transcription_config any
"""
_TRANSFER: Final = """
early_media bool; from text; mute_dtmf enum:none|both|self|opposite; target_leg_client_state base64; to! text
"""
_SPEAK: Final = """
language enum:arb|cmn-CN|cy-GB|da-DK|de-DE|en-AU|en-GB|en-GB-WLS|en-IN|en-US|es-ES|es-MX|es-US|fr-CA|fr-FR|hi-IN|\
is-IS|it-IT|ja-JP|ko-KR|nb-NO|nl-NL|pl-PL|pt-BR|pt-PT|ro-RO|ru-RU|sv-SE|tr-TR
loop any; payload! text; payload_type enum:text|ssml; service_level enum:basic|premium; stop text
target_legs enum:self|opposite|both; voice! text; voice_settings any
"""
_RECORD_START: Final = """
channels! enum:single|dual; custom_file_name text; format! enum:wav|mp3; max_length int:0-14400; play_beep bool
recording_track enum:both|inbound|outbound; timeout_secs int:0-14400; transcription bool
transcription_engine enum:A|B|deepgram/nova-3; transcription_language text
transcription_max_speaker_count int:1-99; transcription_min_speaker_count int:1-99
transcription_profanity_filter bool; transcription_speaker_diarization bool; trim enum:trim-silence
"""
_BRIDGE: Final = """
call_control_id! text; hold_after_unbridge bool; mute_dtmf enum:none|both|self|opposite; park_after_unbridge text
play_ringtone bool; prevent_double_bridge bool; queue text
ringtone enum:at|au|be|bg|br|ch|cl|cn|cz|de|dk|ee|es|fi|fr|gr|hu|il|in|it|jp|lt|mx|my|nl|no|nz|ph|pl|pt|ru|se|sg|\
th|tw|uk|us-old|us|ve|za
video_room_context text; video_room_id text
"""
_PLAYBACK: Final = """
audio_type enum:mp3|wav; audio_url url; cache_audio bool; loop any; media_name text; overlay bool
playback_content base64; stop text; target_legs text
"""
_STREAMING_START: Final = "custom_parameters any; dialogflow_config any; enable_dialogflow bool"
_APPLICATION: Final = """
application_name! text; webhook_event_url! url; webhook_event_failover_url url; webhook_api_version enum:1|2
webhook_timeout_secs int:0-30; active bool; first_command_timeout bool; first_command_timeout_secs int:0-600
call_cost_in_webhooks bool; dtmf_type text; inbound any; outbound any
"""


_FIND_OFFERS: Final = """
filter[administrative_area] text; filter[best_effort] text; filter[country_code] text
filter[exclude_held_numbers] text; filter[features][] enum:sms|mms|voice|fax|emergency|hd_voice|international_sms|\
local_calling
filter[limit] text; filter[locality] text; filter[national_destination_code] text
filter[phone_number][contains] text; filter[phone_number][ends_with] text; filter[phone_number][starts_with] text
filter[phone_number_type] enum:local|toll_free|mobile|national|shared_cost; filter[quickship] text
filter[rate_center] text; filter[reservable] text
"""
_ORDER: Final = """
billing_group_id text; connection_id text; customer_reference text; messaging_profile_id text; phone_numbers any
"""
_FIND_NUMBERS: Final = """
filter[billing_group_id] text; filter[connection_id] text; filter[country_iso_alpha2] text
filter[customer_reference] text; filter[emergency_address_id] text; filter[number_type][eq] text
filter[phone_number] text; filter[source] enum:ported|purchased; filter[status] text; filter[tag] text
filter[voice.connection_name][contains] text; filter[voice.usage_payment_method] text; filter[without_tags] text
handle_messaging_profile_error enum:true|false; page[number] text; page[size] text; sort text
"""
_UPDATE_NUMBER: Final = """
address_id text; billing_group_id text; connection_id text; customer_reference text; external_pin text
hd_voice_enabled bool; tags any
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter may hold."""

    kind: str
    """`text`, `base64`, `url`, `wss`, `bool`, `int`, `enum` or `any`."""
    limits: str = ""
    """`5-600` of an `int`, `a|b` of an `enum`."""
    is_required: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of an `enum`."""
        return tuple(
            each.replace("_", " ") if each == "Middle_East" else each
            for each in self.limits.split("|")
        )

    def takes(self, value: object) -> bool:
        """Whether `value` is one of them."""
        match self.kind, value:
            case "any", _:
                return True
            case "bool", bool():
                return True
            case "int", int() if not isinstance(value, bool):
                low, high = map(int, self.limits.split("-"))
                return low <= value <= high
            case "enum", str() | int():
                return str(value) in self.choices
            case "text", str():
                return True
            case "base64", str():
                return _is_base64(value)
            case "url" | "wss", str():
                schemes = {"ws", "wss"} if self.kind == "wss" else {"http", "https"}
                return urlsplit(value).scheme in schemes and bool(urlsplit(value).hostname)
            case _:
                return False


def _table(*texts: str) -> Mapping[str, Parameter]:
    found: dict[str, Parameter] = {}
    for entry in filter(None, re.split(r"[;\n]\s*", ";".join(texts))):
        name, what = entry.split()
        kind, _, limits = what.partition(":")
        found[name.rstrip("!")] = Parameter(kind, limits, name.endswith("!"))
    return found


_ACTION: Final = "POST /calls/{id}/actions/"
OPERATIONS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "POST /calls": _table(
        _SAME_EVERYWHERE, _WEBHOOKS, _RECORDING, _STREAM, _RATE, _DETECTION, _LEG, _DIAL
    ),
    "GET /calls/{id}": {},
    _ACTION + "answer": _table(_SAME_EVERYWHERE, _WEBHOOKS, _RECORDING, _STREAM, _ANSWER),
    _ACTION + "reject": _table(
        _SAME_EVERYWHERE, "cause! enum:CALL_REJECTED|NOT_FOUND|TEMPORARILY_UNAVAILABLE|USER_BUSY"
    ),
    _ACTION + "hangup": _table(_SAME_EVERYWHERE, "custom_headers any; reason text"),
    _ACTION + "streaming_start": _table(_SAME_EVERYWHERE, _STREAM, _RATE, _STREAMING_START),
    _ACTION + "record_start": _table(_SAME_EVERYWHERE, _RECORD_START),
    _ACTION + "speak": _table(_SAME_EVERYWHERE, _SPEAK),
    _ACTION + "transfer": _table(
        _SAME_EVERYWHERE, _WEBHOOKS, _RECORDING, _DETECTION, _LEG, _TRANSFER
    ),
    _ACTION + "bridge": _table(_SAME_EVERYWHERE, _RECORDING, _BRIDGE),
    _ACTION + "playback_start": _table(_SAME_EVERYWHERE, _PLAYBACK),
    _ACTION + "playback_stop": _table(_SAME_EVERYWHERE, "overlay bool; stop text"),
    _ACTION + "send_dtmf": _table(_SAME_EVERYWHERE, "digits! text; duration_millis int:100-500"),
    "GET /call_control_applications/{id}": {},
    "PATCH /call_control_applications/{id}": _table(_APPLICATION),
    "GET /available_phone_numbers": _table(_FIND_OFFERS),
    "POST /number_orders": _table(_ORDER),
    "GET /number_orders/{id}": {},
    "GET /phone_numbers": _table(_FIND_NUMBERS),
    "PATCH /phone_numbers/{id}": _table(_UPDATE_NUMBER),
}
"""What the simulation offers."""


class ApiError(Exception):
    """A refusal, with Telnyx's code and text."""

    def __init__(self, status: int, code: str, title: str, pointer: str = "") -> None:
        """`status` is that of HTTP; `pointer` names the field that is wrong."""
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.pointer = pointer


def not_found() -> ApiError:
    """10005: there is no such resource."""
    return ApiError(404, "10005", "Resource not found")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request that was made, for assertions. Hides its values, which may be secret, in `repr`."""

    operation: str
    """Such as `POST /calls/{id}/actions/hangup`; the plain path where there is no such operation."""
    path: str
    body: Body = field(repr=False)
    status: int
    """What was answered."""

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter; `None` when it was not sent."""
        return self.body.get(name)


class Account(Protocol):
    """What happens when a request is accepted."""

    api_key: str

    def place_call(self, body: Body) -> Mapping[str, object]:
        """Begin an outbound call."""
        ...

    def show_call(self, call_id: str) -> Mapping[str, object]:
        """One call."""
        ...

    def command(self, call_id: str, verb: str, body: Body) -> Mapping[str, object]:
        """Steer a call."""
        ...

    def show_application(self, application_id: str) -> Mapping[str, object]:
        """The Call Control application."""
        ...

    def update_application(self, application_id: str, body: Body) -> Mapping[str, object]:
        """Set its webhook."""
        ...

    def find_offers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers for sale."""
        ...

    def order_numbers(self, body: Body) -> Mapping[str, object]:
        """Sell numbers to the account."""
        ...

    def show_order(self, order_id: str) -> Mapping[str, object]:
        """How an order stands."""
        ...

    def find_numbers(self, body: Body) -> Sequence[Mapping[str, object]]:
        """Numbers of the account."""
        ...

    def update_number(self, number_id: str, body: Body) -> Mapping[str, object]:
        """Put a number elsewhere."""
        ...


class Api:
    """Answers requests. Pure but for what the account does."""

    def __init__(self, account: Account) -> None:
        """Requests with another key are refused."""
        self._account = account
        self.requests: list[ApiRequest] = []
        """Everything that was asked, refused requests included."""
        self.problems: list[str] = []
        """Requests that break the documentation."""
        self.repeated: list[str] = []
        """Commands that were ignored because Telnyx had seen their id."""
        self._refusals: list[tuple[str, ApiError, Mapping[str, str]]] = []
        self._seen: dict[tuple[str, str], HttpResponse] = {}

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
        """Refuse one request to come, the next of `operation` if one is named."""
        refusal = ApiError(status, code, title, pointer)
        self._refusals.append((operation, refusal, headers or {}))

    def answer(self, request: HttpRequest) -> HttpResponse:
        """What Telnyx answers."""
        path = urlsplit(request.url).path.removeprefix("/v2")
        operation, found = _operation(request.method, path)
        body: Body = {}
        try:
            body = _body(request)
            response = self._answer(request, operation, found, body)
        except ApiError as refusal:
            response = _refusal(refusal, {})
        self.requests.append(ApiRequest(operation, path, body, response.status))
        return response

    def _answer(self, request: HttpRequest, operation: str, found: str, body: Body) -> HttpResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        given = headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._account.api_key}".encode()):
            raise ApiError(401, "10009", "Authentication failed")
        for index, (wanted, refusal, extra) in enumerate(self._refusals):
            if wanted in {"", operation}:
                del self._refusals[index]
                return _refusal(refusal, extra)
        if operation not in OPERATIONS:
            raise not_found()
        self._check(operation, body)
        command_id = body.get("command_id")
        mark = (found, str(command_id))
        if command_id and mark in self._seen:
            self.repeated.append(f"{operation} {command_id}")
            return self._seen[mark]
        done = self._do(operation, found, body)
        whole = {"data": dict(done)} if isinstance(done, Mapping) else _page(done, body)
        response = _json(200, whole)
        self._seen[mark] = response
        return response

    def _check(self, operation: str, body: Body) -> None:
        parameters = OPERATIONS[operation]
        for name, value in body.items():
            parameter = parameters.get(name)
            if parameter is None:
                self._broken(f"{operation}: no parameter {name}", name)
            elif not parameter.takes(value):
                self._broken(f"{operation}: {name} does not take {str(value)[:40]!r}", name)
        for name, parameter in parameters.items():
            if parameter.is_required and not body.get(name):
                self._broken(f"{operation}: {name} is required", name)
        if operation.startswith(_ACTION) and not body.get("command_id"):
            self._broken(f"{operation}: without a command_id it cannot be repeated", "command_id")

    def _broken(self, problem: str, name: str) -> None:
        self.problems.append(problem)
        raise ApiError(422, "10015", problem, f"/{name}")

    def _do(  # noqa: PLR0911 - one operation after the other
        self, operation: str, found: str, body: Body
    ) -> Mapping[str, object] | Sequence[Mapping[str, object]]:
        account = self._account
        match operation.split("/"):
            case ["POST ", "calls"]:
                return account.place_call(body)
            case ["GET ", "calls", _]:
                return account.show_call(found)
            case ["POST ", "calls", _, "actions", verb]:
                return account.command(found, verb, body)
            case ["GET ", "available_phone_numbers"]:
                return account.find_offers(body)
            case ["POST ", "number_orders"]:
                return account.order_numbers(body)
            case ["GET ", "number_orders", _]:
                return account.show_order(found)
            case ["GET ", "phone_numbers"]:
                return account.find_numbers(body)
            case ["PATCH ", "phone_numbers", _]:
                return account.update_number(found, body)
            case ["GET ", *_]:
                return account.show_application(found)
            case _:
                return account.update_application(found, body)


def _page(items: Sequence[Mapping[str, object]], body: Body) -> Mapping[str, object]:
    number, size = int(body.get("page[number]", 1)), int(body.get("page[size]", 20))
    shown = items[(number - 1) * size : number * size]
    meta = {
        "page_number": number,
        "page_size": size,
        "total_results": len(items),
        "total_pages": -(-len(items) // size),
    }
    return {"data": [dict(each) for each in shown], "meta": meta}


def _operation(method: str, path: str) -> tuple[str, str]:
    """The operation of a request, and the id in its path."""
    for operation in OPERATIONS:
        verb, template = operation.split(" ")
        found = re.fullmatch(template.replace("{id}", "([^/]+)"), path)
        if found and verb == method:
            return operation, unquote(found[1]) if found.groups() else ""
    return f"{method} {path}", ""


def _body(request: HttpRequest) -> Body:
    if not request.body:
        return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    try:
        parsed: object = json.loads(request.body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError(400, "10015", "The body is no JSON object")
    return parsed


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _json(status: int, fields: Mapping[str, object]) -> HttpResponse:
    return HttpResponse(
        status, {"content-type": "application/json"}, json.dumps(dict(fields)).encode()
    )


def _refusal(refusal: ApiError, headers: Mapping[str, str]) -> HttpResponse:
    error: dict[str, object] = {
        "code": refusal.code,
        "title": refusal.title,
        "detail": refusal.title,
        "meta": {"url": f"https://developers.telnyx.com/docs/overview/errors/{refusal.code}"},
    }
    if refusal.pointer:
        error["source"] = {"pointer": refusal.pointer}
    answer = _json(refusal.status, {"errors": [error]})
    return HttpResponse(answer.status, {**answer.headers, **headers}, answer.body)
