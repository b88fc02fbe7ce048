"""Twilio's carrier against the protocol as Twilio documents it, and against Twilio's own client library."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    CallProgressed,
    Dial,
    KeyReceived,
    MachineJudged,
    MarkReturned,
    RecordingFinished,
    Stream,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    Verdict,
)
from getpatter.carriers.twilio import Carrier, Twilio
from getpatter.errors import (
    AuthenticationError,
    PatterConfigError,
    PatterConnectionError,
    ProvisionError,
    RateLimitError,
    WireError,
)
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse, WebhookRequest
from getpatter.types import MULAW_8K

if TYPE_CHECKING:
    from getpatter.carriers._twilio_wire import Wire

_T = TypeVar("_T")

SID = "AC" + "2" * 32
CALL = "CA" + "1" * 32
TOKEN = "12345"
HOST = "example.com"
TWILIO = Twilio(SID, TOKEN)
STREAM = Stream(HOST, CALL, "secret-token", "+15550009876", "+15550001234")


def webhook(
    path: str = "/hook",
    form: list[tuple[str, str]] | dict[str, str] | None = None,
    *,
    signature: str = "",
    query: str = "",
    **headers: str,
) -> WebhookRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if signature:
        names["x-twilio-signature"] = signature
    return WebhookRequest("POST", path, query, names, urlencode(form or {}).encode())


def verdict(request: WebhookRequest, host: str = HOST) -> Verdict:
    return TWILIO.verify(request, host=host, now=0)


def run(exchange: Exchange[_T], *answers: HttpResponse) -> tuple[_T, list[HttpRequest]]:
    """Run an exchange with these answers; all must be asked for."""
    requests: list[HttpRequest] = []
    waiting = list(answers)
    try:
        request = next(exchange)
        while True:
            requests.append(request)
            request = exchange.send(waiting.pop(0))
    except StopIteration as stop:
        assert not waiting
        result: _T = stop.value
        return result, requests


def answer(http_status: int = 200, /, **fields: object) -> HttpResponse:
    return HttpResponse(http_status, {}, json.dumps(fields).encode())


def refusal(status: int, code: int, message: str = "no") -> HttpResponse:
    return answer(status, code=code, message=message, status=status)


def form_of(request: HttpRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), keep_blank_values=True)


# --------------------------------------------------------------------------------------- credentials


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", SID)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "from-env")
    assert Twilio().auth_token == "from-env"
    assert Twilio(auth_token="given").auth_token == "given"
    assert Twilio().account_sid == SID


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWILIO_ACCOUNT_SID", raising=False)
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    with pytest.raises(ValueError, match=r"TWILIO_ACCOUNT_SID.*TWILIO_AUTH_TOKEN"):
        Twilio(account_sid=SID)


def test_the_token_is_not_shown() -> None:
    assert "hush" not in repr(Twilio(SID, "hush"))


def test_it_is_frozen_and_comparable() -> None:
    assert Twilio(SID, TOKEN) == Carrier(SID, TOKEN)
    with pytest.raises(AttributeError):
        TWILIO.auth_token = "other"  # type: ignore[misc]


def test_an_option_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="dtmf_via"):
        Twilio(SID, TOKEN, dtmf_via="pigeon")  # type: ignore[arg-type]


def test_without_credentials_nothing_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "from-env")
    bare = Twilio.without_credentials()
    assert (bare.account_sid, bare.auth_token, bare.dtmf_via) == ("", "", "audio")
    assert bare.verify(webhook(), host=HOST, now=0) is Verdict.UNSIGNABLE
    with pytest.raises(AuthenticationError, match="auth token"):
        next(bare.is_alive(CALL))


# ----------------------------------------------------------------------------------------- signatures

VECTORS = [
    (
        "/myapp.php",
        "foo=1&bar=2",
        [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675310"),
            ("Digits", "1234"),
            ("From", "+14158675310"),
            ("To", "+18005551212"),
        ],
        "L/OH5YylLD5NRKLltdqwSvS0BnU=",
    ),
    ("/hook", "", [("A", "2"), ("B", "x"), ("A", "1"), ("A", "2")], "jnIFCWr2+o4axlwDM41AyUxSsD4="),
    ("/hook", "", [("A", "")], "LqtbfFf3xDcWU+743a2Nvgh0atE="),
]


@pytest.mark.parametrize(("path", "query", "form", "signature"), VECTORS)
def test_documented_signatures_are_genuine(
    path: str, query: str, form: list[tuple[str, str]], signature: str
) -> None:
    assert verdict(webhook(path, form, query=query, signature=signature)) is Verdict.GENUINE


@pytest.mark.parametrize("path", ["/ws/stream/CA1", "/ws/stream/CA1/"])
def test_documented_upgrade_signatures_are_genuine(path: str) -> None:
    signatures = {
        "/ws/stream/CA1": "QGGdyxhdzmaP0OeZGYVi/bO13hQ=",
        "/ws/stream/CA1/": "FKzSnf6QdJZ0Ar//RqiTBfIf/v0=",
    }
    upgrade = WebhookRequest(
        "GET", path, "", {"upgrade": "websocket", "x-twilio-signature": signatures[path]}
    )
    assert verdict(upgrade) is Verdict.GENUINE
    assert verdict(upgrade, "other.com") is Verdict.FORGED


def test_an_upgrade_signed_with_a_trailing_slash_is_genuine() -> None:
    headers = {"upgrade": "WebSocket", "x-twilio-signature": "FKzSnf6QdJZ0Ar//RqiTBfIf/v0="}
    assert verdict(WebhookRequest("GET", "/ws/stream/CA1", "", headers)) is Verdict.GENUINE


def test_a_json_body_is_checked_by_its_hash() -> None:
    body = b'{"CallSid":"CA1234567890ABCDE","Caller":"+12349013030"}'
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator(TOKEN).compute_signature(f"https://{HOST}/myapp?{query}", {})
    genuine = WebhookRequest("POST", "/myapp", query, {"x-twilio-signature": signature}, body)
    assert verdict(genuine) is Verdict.GENUINE
    other = WebhookRequest("POST", "/myapp", query, {"x-twilio-signature": signature}, body + b" ")
    assert verdict(other) is Verdict.FORGED


@pytest.mark.parametrize("at", range(len("https://example.com/hookCallSidCA1TTo+1")))
def test_each_changed_byte_is_forged(at: int) -> None:
    text = f"https://{HOST}/hookCallSidCA1TTo+1"
    changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
    signature = RequestValidator(TOKEN).compute_signature(changed, {})
    request = webhook("/hook", [("CallSid", "CA1T"), ("To", "+1")], signature=signature)
    assert verdict(request) is Verdict.FORGED


@pytest.mark.parametrize("signature", ["", "%%%", "é", "QGGdyxhdzmaP0OeZGYVi/bO13hQ", "\udcff"])
def test_a_missing_or_broken_signature_is_forged(signature: str) -> None:
    request = WebhookRequest("POST", "/hook", "", {"x-twilio-signature": signature}, b"A=1")
    assert verdict(request) is Verdict.FORGED
    assert verdict(webhook()) is Verdict.FORGED


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"A=%ff", b"&".join([b"a=1"] * 2000)])
def test_a_body_that_is_no_form_is_forged(body: bytes) -> None:
    request = WebhookRequest("POST", "/hook", "", {"x-twilio-signature": "QGGdyx=="}, body)
    assert verdict(request) is Verdict.FORGED


@pytest.mark.parametrize("signed", ["https://h.example:8443/hook", "https://h.example/hook"])
def test_a_port_may_be_signed_or_not(signed: str) -> None:
    signature = RequestValidator(TOKEN).compute_signature(signed, {"A": "1"})
    assert (
        verdict(webhook("/hook", {"A": "1"}, signature=signature), "h.example:8443")
        is Verdict.GENUINE
    )


def test_the_raw_path_is_signed_not_what_it_stands_for() -> None:
    signature = RequestValidator(TOKEN).compute_signature(f"https://{HOST}/a%2Fb", {})
    assert verdict(webhook("/a%2Fb", signature=signature)) is Verdict.GENUINE


def test_unknown_fields_take_part() -> None:
    form = {"CallSid": CALL, "NewIn2027": " spaces & signs = é "}
    signature = RequestValidator(TOKEN).compute_signature(f"https://{HOST}/hook", form)
    assert verdict(webhook("/hook", form, signature=signature)) is Verdict.GENUINE


def test_a_shared_key_signature_is_refused_and_said(caplog: pytest.LogCaptureFixture) -> None:
    request = webhook(
        "/hook",
        VECTORS[0][2],
        signature="qMztBq0IANMH/q0K9sCfKQJLylezvRdRzRS647SAVow=",
        x_twilio_webhooks_signature_settings="key=K1,algorithm=HMAC_SHA256",
    )
    assert verdict(request) is Verdict.FORGED
    assert "twilio.shared_key_unsupported" in caplog.text


# ------------------------------------------------------------------------------------------- webhooks

INBOUND = {
    "CallSid": CALL,
    "AccountSid": SID,
    "From": "+15550009876",
    "To": "+15550001234",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "FromCity": "",
}


def test_a_call_arrives_with_its_custom_parameters() -> None:
    form = INBOUND | {"From": "anonymous", "SipHeader_X-Ticket": "42", "SipHeader_Via": "x"}
    [event] = TWILIO.read("voice", webhook("/v", form, query="campaign=a%20b&x=1"))
    assert event == CallArrived(
        CALL,
        "anonymous",
        "+15550001234",
        {"campaign": "a b", "x": "1", "SipHeader_X-Ticket": "42"},
        f"{CALL}:voice",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"CallSid": ""},
        {"CallSid": "CA123"},
        {"CallSid": CALL + "0"},
        {"CallSid": "CA" + "٣" * 32},
        {"CallSid": "CA" + "g" * 32},
    ],
)
def test_a_call_id_of_the_wrong_shape_is_refused(change: dict[str, str]) -> None:
    for kind in sorted(TWILIO.webhook_kinds):
        with pytest.raises(WireError, match="Invalid webhook payload"):
            TWILIO.read(kind, webhook("/v", INBOUND | change))


@pytest.mark.parametrize("missing", ["From", "To"])
def test_a_call_without_numbers_is_refused(missing: str) -> None:
    form = {name: value for name, value in INBOUND.items() if name != missing}
    with pytest.raises(WireError):
        TWILIO.read("voice", webhook("/v", form))


def test_a_final_status_at_the_voice_url_is_no_new_call() -> None:
    [event] = TWILIO.read("voice", webhook("/v", INBOUND | {"CallStatus": "completed"}))
    assert isinstance(event, CallProgressed)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("queued", "initiated"),
        ("initiated", "initiated"),
        ("ringing", "ringing"),
        ("in-progress", "in-progress"),
        ("completed", "completed"),
        ("busy", "busy"),
        ("no-answer", "no-answer"),
        ("failed", "failed"),
        ("canceled", "canceled"),
    ],
)
def test_statuses_are_read(raw: str, status: str) -> None:
    form = {"CallSid": CALL, "CallStatus": raw, "CallDuration": "31", "SequenceNumber": "2"}
    [event] = TWILIO.read("status", webhook("/s", form))
    assert isinstance(event, CallProgressed)
    assert (event.status, event.duration_seconds, event.delivery) == (status, 31, f"{CALL}:{raw}:2")


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(WireError):
        TWILIO.read("status", webhook("/s", {"CallSid": CALL, "CallStatus": "asleep"}))


def test_the_idempotency_token_names_a_delivery() -> None:
    request = webhook(
        "/s", {"CallSid": CALL, "CallStatus": "busy"}, i_twilio_idempotency_token="t-1"
    )
    [event] = TWILIO.read("status", request)
    assert event.delivery == "t-1"


@pytest.mark.parametrize(
    ("raw", "classification", "greeting_ended"),
    [
        ("human", "human", False),
        ("machine_start", "machine", False),
        ("machine_end_beep", "machine", True),
        ("machine_end_silence", "machine", True),
        ("machine_end_other", "machine", True),
        ("fax", "fax", False),
        ("unknown", "unknown", False),
        ("machine_end_tomorrow", "unknown", True),
    ],
)
def test_machines_are_judged(raw: str, classification: str, *, greeting_ended: bool) -> None:
    [event] = TWILIO.read("amd", webhook("/a", {"CallSid": CALL, "AnsweredBy": raw}))
    assert isinstance(event, MachineJudged)
    assert (event.classification, event.greeting_ended) == (classification, greeting_ended)


def test_a_recording_is_ready() -> None:
    form = {
        "CallSid": CALL,
        "RecordingSid": "RE" + "7" * 32,
        "RecordingUrl": "https://api.twilio.com/x/Recordings/RE7",
        "RecordingStatus": "completed",
        "RecordingDuration": "12",
        "RecordingChannels": "2",
    }
    [event] = TWILIO.read("recording", webhook("/r", form))
    assert event == RecordingFinished(
        CALL,
        form["RecordingSid"],
        form["RecordingUrl"],
        12.0,
        2,
        "wav",
        f"{form['RecordingSid']}:completed",
    )
    [absent] = TWILIO.read("recording", webhook("/r", form | {"RecordingStatus": "absent"}))
    assert isinstance(absent, RecordingFinished)
    assert absent.url == ""
    assert not TWILIO.read("recording", webhook("/r", form | {"RecordingStatus": "in-progress"}))
    with pytest.raises(WireError):
        TWILIO.read("recording", webhook("/r", form | {"RecordingSid": "../.."}))


def test_a_stream_error_is_told_without_numbers_or_control_characters() -> None:
    form = {
        "CallSid": CALL,
        "StreamEvent": "stream-error",
        "StreamError": "31920\nhandshake for +15550009876",
    }
    [event] = TWILIO.read("stream", webhook("/s", form))
    assert isinstance(event, StreamFailed)
    assert event.text == "31920 handshake for ***9876"
    assert not TWILIO.read("stream", webhook("/s", form | {"StreamEvent": "stream-started"}))


# ------------------------------------------------------------------------------------------ documents


def parsed(body: bytes | str) -> ET.Element:
    text = body.decode() if isinstance(body, bytes) else body
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    return ET.fromstring(text)


def test_the_answer_connects_a_stream() -> None:
    reply = TWILIO.connect(STREAM)
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    root = parsed(reply.body)
    stream = root.find("Connect/Stream")
    assert stream is not None
    assert stream.attrib == {
        "url": f"wss://{HOST}/ws/stream/{CALL}",
        "statusCallback": f"https://{HOST}/webhooks/twilio/stream",
    }
    assert {each.get("name"): each.get("value") for each in stream} == {
        "token": "secret-token",
        "caller": "+15550009876",
        "callee": "+15550001234",
    }


RUDE = "<&>\"'\r\n\t]]>\x00\x0b\ud800 é 𝄞"
XML_SAFE = "<&>\"'\r\n\t]]> é 𝄞"


def test_rude_values_give_well_formed_documents() -> None:
    stream = Stream(HOST, "a/b?c&<>", "t", RUDE, "x" * 600)
    root = parsed(TWILIO.connect(stream).body)
    inner = root.find("Connect/Stream")
    assert inner is not None
    assert inner.get("url") == f"wss://{HOST}/ws/stream/a%2Fb%3Fc%26%3C%3E"
    values = {str(each.get("name")): str(each.get("value")) for each in inner}
    assert values["caller"] == XML_SAFE
    assert all(len(name) + len(value) < 500 for name, value in values.items())


def test_busy_is_a_busy_tone() -> None:
    [reject] = parsed(TWILIO.reject_busy().body)
    assert (reject.tag, reject.attrib) == ("Reject", {"reason": "busy"})


def test_other_webhooks_are_acknowledged() -> None:
    for kind in ("status", "recording", "amd", "stream", "conference"):
        assert (TWILIO.acknowledge(kind).status, TWILIO.acknowledge(kind).body) == (204, b"")
    for kind in ("voice", "transfer"):
        assert len(parsed(TWILIO.acknowledge(kind).body)) == 0


# ----------------------------------------------------------------------------------------------- REST


def test_dialling_follows_the_table() -> None:
    stream = Stream(HOST, "ref-1", "tok")
    dial = Dial("+15550009876", "+15550001234", stream, 25, 3600, detects_machines=True)
    sid, [request] = run(TWILIO.dial(dial), answer(201, sid=CALL, status="queued"))
    assert sid == CALL
    assert request.method == "POST"
    assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Calls.json"
    assert not request.is_repeatable
    form = form_of(request)
    twiml = dict(form)["Twiml"]
    assert parsed(twiml).find("Connect/Stream") is not None
    assert len(twiml) < 4000
    assert sorted(pair for pair in form if pair[0] != "Twiml") == sorted(
        [
            ("To", "+15550009876"),
            ("From", "+15550001234"),
            ("StatusCallback", f"https://{HOST}/webhooks/twilio/status"),
            ("StatusCallbackMethod", "POST"),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("Timeout", "25"),
            ("TimeLimit", "3600"),
            ("MachineDetection", "DetectMessageEnd"),
            ("AsyncAmd", "true"),
            ("AsyncAmdStatusCallback", f"https://{HOST}/webhooks/twilio/amd"),
            ("AsyncAmdStatusCallbackMethod", "POST"),
        ]
    )


def test_no_ring_timeout_and_no_detection_leave_their_parameters_out() -> None:
    dial = Dial("sip:bob@example.com", "+15550001234", STREAM, ring_timeout=None)
    _, [request] = run(TWILIO.dial(dial), answer(201, sid=CALL))
    names = {name for name, _ in form_of(request)}
    assert not names & {"Timeout", "MachineDetection", "AsyncAmd", "AsyncAmdStatusCallback"}


@pytest.mark.parametrize("to", ["", "5551234", "+1<x>", "sip:a b", "+1555000987６", "client:bob"])
def test_what_cannot_be_dialled_is_refused_before_anything_is_sent(to: str) -> None:
    with pytest.raises(PatterConfigError):
        next(TWILIO.dial(Dial(to, "+15550001234", STREAM)))
    with pytest.raises(ValueError, match="neither a number"):
        next(TWILIO.transfer(CALL, to, host=HOST, from_number=""))


def test_only_a_number_can_be_dialled_from() -> None:
    with pytest.raises(PatterConfigError, match="is not a number"):
        next(TWILIO.dial(Dial("+15550009876", "anonymous", STREAM)))


def test_a_call_without_an_id_is_an_error() -> None:
    with pytest.raises(PatterConnectionError, match="no id"):
        run(TWILIO.dial(Dial("+15550009876", "+15550001234", STREAM)), answer(201, sid=None))


@pytest.mark.parametrize("call_id", ["", "CA1", "../Accounts", CALL + "/x", CALL + "\n"])
def test_a_call_id_is_checked_before_it_enters_a_url(call_id: str) -> None:
    exchanges: list[Exchange[object]] = [
        TWILIO.hang_up(call_id),
        TWILIO.is_alive(call_id),
        TWILIO.record(call_id, host=HOST),
        TWILIO.limit(call_id, seconds=1),
        TWILIO.price(call_id),
    ]
    for exchange in exchanges:
        with pytest.raises(PatterConfigError):
            next(exchange)


def test_a_running_call_is_completed() -> None:
    _, [request] = run(TWILIO.hang_up(CALL), answer(status="completed"))
    assert request.url.endswith(f"/Calls/{CALL}.json")
    assert form_of(request) == [("Status", "completed")]
    assert request.is_repeatable


def test_a_ringing_call_is_canceled() -> None:
    _, requests = run(
        TWILIO.hang_up(CALL),
        refusal(400, 21220),
        answer(status="ringing"),
        answer(status="canceled"),
    )
    assert [(each.method, each.body) for each in requests] == [
        ("POST", b"Status=completed"),
        ("GET", b""),
        ("POST", b"Status=canceled"),
    ]


def test_a_call_answered_while_it_is_canceled_is_completed() -> None:
    _, requests = run(
        TWILIO.hang_up(CALL),
        answer(status="ringing"),
        refusal(400, 21220),
        answer(status="in-progress"),
        answer(status="completed"),
    )
    assert requests[-1].body == b"Status=completed"


@pytest.mark.parametrize(
    "answers", [[refusal(404, 20404)], [refusal(400, 21220), answer(status="busy")]]
)
def test_hanging_up_a_call_that_is_over_is_a_success(answers: list[HttpResponse]) -> None:
    run(TWILIO.hang_up(CALL), *answers)


def test_a_call_that_will_not_end_is_an_error() -> None:
    stubborn = [refusal(400, 21220), answer(status="in-progress")] * 3
    with pytest.raises(PatterConnectionError, match="would not end"):
        run(TWILIO.hang_up(CALL), *stubborn)


@pytest.mark.parametrize(
    ("response", "alive"),
    [
        (answer(status="ringing"), True),
        (answer(status="in-progress"), True),
        (answer(status="completed"), False),
        (answer(status="no-answer"), False),
        (refusal(404, 20404), False),
        (HttpResponse(200, {}, b"<html>"), True),
    ],
)
def test_whether_a_call_is_alive(response: HttpResponse, *, alive: bool) -> None:
    result, _ = run(TWILIO.is_alive(CALL), response)
    assert result is alive


def test_recording_follows_the_table() -> None:
    _, [request] = run(TWILIO.record(CALL, host=HOST), answer(201, sid="RE1"))
    assert request.url.endswith(f"/Calls/{CALL}/Recordings.json")
    assert dict(form_of(request)) == {
        "RecordingChannels": "dual",
        "RecordingStatusCallback": f"https://{HOST}/webhooks/twilio/recording",
        "RecordingStatusCallbackMethod": "POST",
        "RecordingStatusCallbackEvent": "completed absent",
    }


def test_a_limit_is_set() -> None:
    _, [request] = run(TWILIO.limit(CALL, seconds=90), answer())
    assert form_of(request) == [("TimeLimit", "90")]


@pytest.mark.parametrize(
    ("to", "tag"), [("+15550007777", "Number"), ("sip:a&b@example.com;x=1", "Sip")]
)
def test_a_transfer_dials(to: str, tag: str) -> None:
    _, [request] = run(TWILIO.transfer(CALL, to, host=HOST, from_number=""), answer())
    [dial] = parsed(dict(form_of(request))["Twiml"])
    assert dial.attrib == {
        "answerOnBridge": "true",
        "timeout": "30",
        "action": f"https://{HOST}/webhooks/twilio/transfer?call={CALL}",
    }
    assert [(each.tag, each.text) for each in dial] == [(tag, to)]
    assert not request.is_repeatable


@pytest.mark.parametrize(
    ("language", "locale"),
    [("en", "en-US"), ("en-GB", "en-GB"), ("DE", "de-DE"), ("tlh", None), ("", None)],
)
def test_a_message_is_said(language: str, locale: str | None) -> None:
    text = "Tom & <Jerry>\x07 called"
    _, [request] = run(TWILIO.leave_message(CALL, text, language=language), answer())
    say, hang_up = parsed(dict(form_of(request))["Twiml"])
    assert (say.tag, say.text, say.get("language")) == ("Say", "Tom & <Jerry> called", locale)
    assert hang_up.tag == "Hangup"


def test_a_document_that_is_too_long_is_refused() -> None:
    run(TWILIO.leave_message(CALL, "x" * 3800, language="en"), answer())
    with pytest.raises(PatterConfigError, match="less than 4000"):
        next(TWILIO.leave_message(CALL, "x" * 4000, language="en"))


def test_digits_are_played_before_a_new_stream() -> None:
    _, [request] = run(TWILIO.send_digits(CALL, "1w#A", stream=STREAM), answer())
    play, connect = parsed(dict(form_of(request))["Twiml"])
    assert (play.get("digits"), connect.tag) == ("1w#A", "Connect")
    with pytest.raises(PatterConfigError):
        next(TWILIO.send_digits(CALL, "1;2", stream=STREAM))


NUMBER = {"sid": "PN" + "3" * 32, "phone_number": "+15550001234"}


def test_the_number_is_pointed_at_us() -> None:
    exchange = TWILIO.point_number("+15550001234", host=HOST)
    _, [find, point] = run(exchange, answer(incoming_phone_numbers=[NUMBER]), answer())
    assert find.method == "GET"
    assert parse_qsl(urlsplit(find.url).query) == [("PhoneNumber", "+15550001234")]
    assert urlsplit(point.url).path.endswith(f"/IncomingPhoneNumbers/{NUMBER['sid']}.json")
    assert dict(form_of(point)) == {
        "VoiceUrl": f"https://{HOST}/webhooks/twilio/voice",
        "VoiceMethod": "POST",
    }


def test_a_number_of_somebody_else_cannot_be_pointed() -> None:
    with pytest.raises(ProvisionError, match=r"\*\*\*1234"):
        run(TWILIO.point_number("+15550001234", host=HOST), answer(incoming_phone_numbers=[]))


@pytest.mark.parametrize("owner", ["voice_application_sid", "trunk_sid"])
def test_a_number_of_an_application_or_trunk_is_warned_about(
    owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    owned = NUMBER | {owner: "AP1"}
    run(
        TWILIO.point_number("+15550001234", host=HOST),
        answer(incoming_phone_numbers=[owned]),
        answer(),
    )
    assert "twilio.number_overridden" in caplog.text
    assert "+15550001234" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"price": "-0.0150", "price_unit": "USD"}, 0.015),
        ({"price": None, "price_unit": "USD"}, None),
        ({"price": "-0.0150", "price_unit": "EUR"}, None),
        ({"price": "soon"}, None),
    ],
)
def test_prices_are_read(fields: dict[str, object], price: float | None) -> None:
    found, _ = run(TWILIO.price(CALL), answer(**fields))
    assert found == price


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (refusal(401, 20003, "Authenticate"), AuthenticationError),
        (refusal(403, 20005, "Account not active"), AuthenticationError),
        (refusal(429, 20429, "Too Many Requests"), RateLimitError),
        (refusal(400, 21215, "Geo permission"), PatterConnectionError),
        (HttpResponse(503, {}, b"<html>"), PatterConnectionError),
        (HttpResponse(302, {}, b""), PatterConnectionError),
    ],
)
def test_refusals_are_raised_in_twilios_words(
    response: HttpResponse, error: type[PatterConnectionError]
) -> None:
    with pytest.raises(error) as caught:
        run(TWILIO.limit(CALL, seconds=1), response)
    assert caught.value.status == response.status
    assert caught.value.vendor == "twilio"
    assert caught.value.retryable is (response.status in {429, 503})


def test_errors_hold_code_and_text_but_no_secret_and_no_number() -> None:
    carrier = Twilio(SID, "hushhush")
    said = f"hushhush {SID} may not call +15550009876\r\nX: y" + "z" * 100
    with pytest.raises(PatterConnectionError) as caught:
        run(
            carrier.limit(CALL, seconds=1),
            HttpResponse(
                400,
                {"twilio-request-id": "RQ1"},
                json.dumps({"code": 21215, "message": said}).encode(),
            ),
        )
    text = str(caught.value)
    assert "21215" in text
    assert "***9876" in text
    assert not any(secret in text for secret in ("hushhush", SID, "+15550009876", "\n"))
    assert len(text) < 300
    assert caught.value.request_id == "RQ1"


@pytest.mark.parametrize(
    ("edge", "region"), [("", ""), ("dublin", "ie1"), ("dublin", ""), ("", "au1")]
)
def test_regions_and_edges_are_addressed_as_by_the_official_client(edge: str, region: str) -> None:
    official = Client(SID, TOKEN, edge=edge or None, region=region or None)
    carrier = Twilio(SID, TOKEN, edge=edge, region=region)
    request = next(carrier.is_alive(CALL))
    expected = official.get_hostname(
        f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Calls/{CALL}.json"
    )
    assert request.url == expected


def test_another_base_url_is_used() -> None:
    request = next(Twilio(SID, TOKEN, base_url="http://127.0.0.1:9/").is_alive(CALL))
    assert request.url == f"http://127.0.0.1:9/2010-04-01/Accounts/{SID}/Calls/{CALL}.json"
    assert request.headers["authorization"].startswith("Basic ")
    assert "Basic" not in repr(request)


# --------------------------------------------------------------------------------------------- frames


def start(**changes: object) -> bytes:
    inner = {
        "streamSid": "MZ3",
        "accountSid": SID,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "tok"},
    } | changes
    frame = {"event": "start", "sequenceNumber": "1", "streamSid": "MZ3", "start": inner}
    return json.dumps(frame).encode()


@pytest.fixture
def wire() -> Wire:
    wire = TWILIO.wire()
    assert wire.receive(b'{"event":"connected","protocol":"Call","version":"1.0.0"}') is None
    wire.receive(start())
    return wire


def test_a_stream_starts() -> None:
    event = TWILIO.wire().receive(start())
    assert event == StreamStarted("MZ3", CALL, MULAW_8K, {"token": "tok"})


@pytest.mark.parametrize(
    "frame",
    [
        start(callSid="CA1"),
        start(callSid=None),
        start(mediaFormat={"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1}),
        start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}),
        start(customParameters={"token": 1}),
        b'{"event":"start","start":null}',
        b'{"event":"start"}',
    ],
)
def test_a_start_of_the_wrong_shape_is_refused(frame: bytes) -> None:
    wire = TWILIO.wire()
    with pytest.raises(WireError):
        wire.receive(frame)
    with pytest.raises(RuntimeError, match="before the stream has started"):
        wire.audio(b"\xff")


def test_a_second_start_is_refused(wire: Wire) -> None:
    with pytest.raises(WireError, match="second start"):
        wire.receive(start())


def test_frames_are_read(wire: Wire) -> None:
    media = b'{"event":"media","sequenceNumber":"3","streamSid":"MZ3","media":{"track":"inbound",'
    assert wire.receive(
        media + b'"chunk":"2","timestamp":"40","payload":"//////8="}}'
    ) == AudioReceived(b"\xff" * 5, 2)
    assert wire.receive(media + b'"chunk":7,"payload":""}}') == AudioReceived(b"", 7)
    assert wire.receive(media + b'"chunk":"x","payload":"/w=="}}') == AudioReceived(b"\xff")
    dtmf = b'{"event":"dtmf","streamSid":"MZ3","dtmf":{"track":"inbound_track","digit":"%s"}}'
    assert wire.receive(dtmf % b"5") == KeyReceived("5")
    assert wire.receive(dtmf % b"a") == KeyReceived("A")
    assert wire.receive(b'{"event":"mark","mark":{"name":"m 1"}}') == MarkReturned("m 1")
    assert wire.receive(b'{"event":"stop","stop":{}}') == StreamStopped()
    assert wire.receive(b'{"event":"tomorrow","x":[1]}') is None


def test_our_own_track_is_not_the_caller(wire: Wire) -> None:
    frame = b'{"event":"media","media":{"track":"outbound","payload":"/w=="}}'
    assert wire.receive(frame) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"event":5}',
        b'{"event":"media"}',
        b'{"event":"media","media":{}}',
        b'{"event":"media","media":{"payload":5}}',
        b'{"event":"media","media":{"payload":"/w="}}',
        b'{"event":"media","media":{"payload":"****"}}',
        b'{"event":"mark","mark":{}}',
        b'{"event":"mark"}',
        b'{"event":"dtmf","dtmf":{"digit":"10"}}',
        b'{"event":"dtmf","dtmf":{"digit":""}}',
        b'{"event":"dtmf","dtmf":{"digit":"x"}}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_broken_frames_are_wire_errors_that_do_not_quote_them(wire: Wire, frame: bytes) -> None:
    with pytest.raises(WireError) as caught:
        wire.receive(frame)
    assert "payload" not in str(caught.value)


def test_frames_are_written_with_exactly_the_documented_fields(wire: Wire) -> None:
    assert json.loads(wire.audio(b"\xff\x7f\x00")) == {
        "event": "media",
        "streamSid": "MZ3",
        "media": {"payload": "/38A"},
    }
    assert json.loads(wire.mark('turn "7"')) == {
        "event": "mark",
        "streamSid": "MZ3",
        "mark": {"name": 'turn "7"'},
    }
    assert json.loads(wire.clear()) == {"event": "clear", "streamSid": "MZ3"}


def test_what_never_started_cannot_send() -> None:
    wire = TWILIO.wire()
    assert wire.format == MULAW_8K
    with pytest.raises(RuntimeError, match="before the stream has started"):
        wire.audio(b"")
    with pytest.raises(RuntimeError, match="before the stream has started"):
        wire.mark("m")
    with pytest.raises(RuntimeError, match="before the stream has started"):
        wire.clear()


def test_a_replay_begins_where_the_stream_had_begun(wire: Wire) -> None:
    started = TWILIO.wire().receive(start())
    assert isinstance(started, StreamStarted)
    fresh = TWILIO.wire()
    fresh.resume(started)
    assert fresh.audio(b"\x01") == wire.audio(b"\x01")
    assert (fresh.mark("m"), fresh.clear()) == (wire.mark("m"), wire.clear())
