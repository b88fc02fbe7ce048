"""Plivo's carrier against the protocol as Plivo documents it, and against Plivo's own client library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from plivo import plivoxml
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3

from getpatter.carriers import carrier_of
from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    CallProgressed,
    Dial,
    DocumentAsked,
    KeyReceived,
    MachineJudged,
    MarkReturned,
    RecordingFinished,
    Stream,
    StreamStarted,
    StreamStopped,
    Verdict,
)
from getpatter.carriers.plivo import Carrier, Plivo
from getpatter.config import LocalConfig
from getpatter.errors import (
    AuthenticationError,
    PatterConfigError,
    PatterConnectionError,
    ProvisionError,
    RateLimitError,
    WireError,
)
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse, WebhookReply, WebhookRequest
from getpatter.types import MULAW_8K

_T = TypeVar("_T")

ID = "MASIMULATEDSIMULATED"
TOKEN = "PLIVO_TEST_TOKEN"
NONCE: Final = "12345678901234567890"
CALL = "11111111-2222-3333-4444-555555555555"
HOST = "voice.example.com"
PLIVO = Plivo(ID, TOKEN)
STREAM = Stream(HOST, CALL, "secret&token", "+15550009876", "+15550001234")


def webhook(
    form: Mapping[str, str] | None = None,
    *,
    path: str = "/plivo/answer",
    query: str = "",
    signature: str = "",
    method: str = "POST",
) -> WebhookRequest:
    headers = {"x-plivo-signature-v3-nonce": NONCE}
    if signature:
        headers["x-plivo-signature-v3"] = signature
    return WebhookRequest(method, path, query, headers, urlencode(form or {}).encode())


def verdict(request: WebhookRequest, host: str = HOST) -> Verdict:
    return PLIVO.verify(request, host=host, now=0)


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


def body_of(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body)
    return found


def document(reply: WebhookReply) -> ET.Element:
    assert reply.status == 200
    assert reply.content_type.startswith("text/xml")
    assert reply.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    return ET.fromstring(reply.body)


# --------------------------------------------------------------------------------------- credentials


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIVO_AUTH_ID", ID)
    monkeypatch.setenv("PLIVO_AUTH_TOKEN", TOKEN)
    assert Plivo() == PLIVO == Carrier(ID, TOKEN)


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"PLIVO_AUTH_ID.*PLIVO_AUTH_TOKEN"):
        Plivo(ID)


def test_the_token_is_not_shown_and_nothing_can_be_changed() -> None:
    assert TOKEN not in repr(PLIVO)
    with pytest.raises(AttributeError):
        PLIVO.auth_token = "other"  # type: ignore[misc]


def test_the_older_configuration_makes_the_same_carrier() -> None:
    config = LocalConfig(telephony_provider="plivo", plivo_auth_id=ID, plivo_auth_token=TOKEN)
    assert carrier_of(config) == PLIVO
    bare = Plivo.without_credentials()
    assert bare.verify(webhook(), host=HOST, now=0) is Verdict.UNSIGNABLE
    with pytest.raises(AuthenticationError, match="auth token"):
        next(bare.is_alive(CALL))


# ---------------------------------------------------------------------------------------- signatures

NUMBERS = {"From": "15550001111", "To": "15550002222"}
INBOUND = {"CallUUID": "abc-1", "CallStatus": "ringing", **NUMBERS}
VECTORS = [
    ("POST", "", INBOUND, "Pz1jGpE+LpcF6i9YKUx1DeyjFlj/rPuD7h/SXFdwdgY="),
    ("POST", "b=2&a=1", NUMBERS, "LXHfWzRsYGRUYE0SAoP5lsmPnVRSNUs8rxogb66FgzU="),
    ("POST", "", {}, "+SDNzhbqDSjVtiut1byayw8kCDoWM9uRdi58WYtgGO0="),
    ("GET", f"{urlencode(NUMBERS)}&a=1", {}, "recgZSqvY+nTdyFJ8QOpbyxOpCd4omFA70KV0SWgA0M="),
]


@pytest.mark.parametrize(("method", "query", "form", "signature"), VECTORS)
def test_documented_signatures_are_genuine(
    method: str, query: str, form: dict[str, str], signature: str
) -> None:
    request = webhook(form, query=query, signature=signature, method=method)
    assert verdict(request) is Verdict.GENUINE
    assert verdict(request, "voice.example.org") is Verdict.FORGED


def test_any_of_the_listed_signatures_will_do() -> None:
    _, _, form, signature = VECTORS[0]
    for listed in (f"x,{signature}", f"{signature} , x", f"{signature},{signature}"):
        assert verdict(webhook(form, signature=listed)) is Verdict.GENUINE
    main = webhook(form)
    main = WebhookRequest(
        "POST", main.path, "", {**main.headers, "x-plivo-signature-ma-v3": signature}, main.body
    )
    assert verdict(main) is Verdict.GENUINE


@pytest.mark.parametrize("at", range(len(urlencode(INBOUND))))
def test_each_changed_byte_is_forged(at: int) -> None:
    body = urlencode(INBOUND).encode()
    changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    request = webhook(INBOUND, signature=VECTORS[0][3])
    assert verdict(request) is Verdict.GENUINE
    forged = WebhookRequest("POST", request.path, "", request.headers, changed)
    assert verdict(forged) is Verdict.FORGED


@pytest.mark.parametrize("signature", ["", ",", "%%%", "é", "\udcff"])
def test_a_missing_or_broken_signature_is_forged(signature: str) -> None:
    assert verdict(webhook(INBOUND, signature=signature)) is Verdict.FORGED


def test_a_signature_without_its_nonce_is_forged() -> None:
    signed = webhook(INBOUND, signature=VECTORS[0][3])
    for headers in ({}, {"x-plivo-signature-v3": VECTORS[0][3]}):
        request = WebhookRequest("POST", signed.path, "", headers, signed.body)
        assert verdict(request) is Verdict.FORGED


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"&".join([b"a=1"] * 2000)])
def test_a_body_that_is_no_form_is_forged(body: bytes) -> None:
    headers = webhook(signature="x").headers
    assert verdict(WebhookRequest("POST", "/", "", headers, body)) is Verdict.FORGED


@pytest.mark.parametrize("host", ["h.example:8443", "h.example"])
@pytest.mark.parametrize("signed", ["h.example:8443", "h.example"])
def test_a_port_may_be_signed_or_not(host: str, signed: str) -> None:
    base = construct_post_url(f"https://{signed}/plivo/answer?b=%20x&a=", {"Odd": " é&= "})
    signature = get_signature_v3(TOKEN.encode(), base.decode(), NONCE.encode()).decode()
    request = webhook({"Odd": " é&= "}, query="b=%20x&a=", signature=signature)
    is_known = host.startswith(signed)  # without a port of ours, only the usual one could be signed
    assert verdict(request, host) is (Verdict.GENUINE if is_known else Verdict.FORGED)


def test_of_an_upgrade_the_token_alone_decides() -> None:
    headers = {"upgrade": "WebSocket", "x-plivo-signature-v3": "x"}
    assert verdict(WebhookRequest("GET", "/ws/stream/x", "", headers)) is Verdict.UNSIGNABLE


# ------------------------------------------------------------------------------------------- webhooks


def read(kind: str, form: Mapping[str, str], query: str = "") -> object:
    [event] = PLIVO.read(kind, webhook(form, query=query))
    return event


CALLED = {"CallUUID": CALL, **NUMBERS, "Direction": "inbound", "CallStatus": "ringing"}


def test_a_call_arrives_with_whole_numbers() -> None:
    form = {**CALLED, "Event": "StartApp", "X-PH-Ticket": "42"}
    assert read("voice", form) == CallArrived(
        CALL, "+15550001111", "+15550002222", {"X-PH-Ticket": "42"}, f"{CALL}:StartApp:{NONCE}"
    )


@pytest.mark.parametrize("caller", ["anonymous", "sip:a@b.example", "0049", "", "+15550001111"])
def test_callers_that_are_no_numbers_stay_as_they_are(caller: str) -> None:
    event = read("voice", {**CALLED, "From": caller})
    assert isinstance(event, CallArrived)
    assert event.caller == caller


def test_a_placed_call_that_was_answered_asks_under_our_reference() -> None:
    event = read("voice", {**CALLED, "Direction": "outbound"}, "ref=r-1_x")
    assert isinstance(event, CallArrived)
    assert event.reference == "r-1_x"
    event = read("voice", CALLED, "ref=../../x")
    assert isinstance(event, CallArrived)
    assert event.reference == ""


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("ringing", "ringing"),
        ("in-progress", "in-progress"),
        ("completed", "completed"),
        ("busy", "busy"),
        ("failed", "failed"),
        ("timeout", "no-answer"),
        ("no-answer", "no-answer"),
        ("cancel", "canceled"),
    ],
)
def test_statuses_are_read(raw: str, status: str) -> None:
    form = {**CALLED, "CallStatus": raw, "Duration": "31"}
    event = read("status", form, "ref=r1")
    assert isinstance(event, CallProgressed)
    is_final = status not in {"ringing", "in-progress"}
    assert (event.status, event.raw, event.reference) == (status, raw, "r1")
    assert event.duration_seconds == (31 if is_final else None)


def test_a_final_status_at_the_voice_url_is_no_new_call() -> None:
    assert isinstance(read("voice", {**CALLED, "CallStatus": "completed"}), CallProgressed)


@pytest.mark.parametrize(
    ("machine", "found"),
    [("true", "machine"), ("True", "machine"), ("false", "human"), ("", "unknown")],
)
def test_machines_are_judged(machine: str, found: str) -> None:
    event = read("amd", {**CALLED, "Machine": machine})
    assert isinstance(event, MachineJudged)
    assert event.classification == found


def test_a_recording_is_ready() -> None:
    form = {
        "call_uuid": CALL,
        "recording_id": "rec-1",
        "record_url": "https://r.example/rec-1.mp3",
        "recording_duration": "12",
    }
    event = read("recording", form)
    assert isinstance(event, RecordingFinished)
    assert (event.recording_id, event.url) == ("rec-1", "https://r.example/rec-1.mp3")
    assert (event.duration_seconds, event.channels, event.format) == (12, 2, "mp3")


@pytest.mark.parametrize("kind", ["transfer", "voicemail"])
def test_documents_are_asked_for_by_their_reference(kind: str) -> None:
    delivery = f"{CALL}:{kind}:{NONCE}"
    assert read(kind, CALLED, "ref=abc") == DocumentAsked(CALL, "abc", delivery)
    assert not PLIVO.read(kind, webhook(CALLED))


@pytest.mark.parametrize("call_id", ["", "../x", "a b", "a/b", "x" * 200, "é"])
@pytest.mark.parametrize("kind", sorted(PLIVO.webhook_kinds))
def test_a_call_id_of_the_wrong_shape_is_refused(kind: str, call_id: str) -> None:
    with pytest.raises(WireError, match="Invalid webhook payload"):
        PLIVO.read(kind, webhook({**CALLED, "CallUUID": call_id}))


def test_webhooks_that_lack_something_are_refused() -> None:
    for missing in ("From", "To"):
        form = {name: text for name, text in CALLED.items() if name != missing}
        with pytest.raises(WireError):
            PLIVO.read("voice", webhook(form))
    with pytest.raises(WireError):
        PLIVO.read("status", webhook({**CALLED, "CallStatus": "asleep"}))
    with pytest.raises(WireError):
        PLIVO.read("voice", WebhookRequest("POST", "/", "", {}, b"\xff"))


# ------------------------------------------------------------------------------------------ documents


def test_an_answer_connects_the_stream() -> None:
    [verb] = document(PLIVO.connect(STREAM))
    assert verb.text == f"wss://{HOST}/ws/stream/{CALL}?token=secret%26token"
    assert verb.attrib == {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": "audio/x-mulaw;rate=8000",
    }
    theirs = plivoxml.ResponseElement().add(
        plivoxml.StreamElement(
            verb.text,
            bidirectional=True,
            keepCallAlive=True,
            contentType="audio/x-mulaw;rate=8000",
        )
    )
    [official] = ET.fromstring(theirs.to_string())
    assert (official.text, official.attrib) == (verb.text, verb.attrib)


def test_a_full_line_is_busy_and_other_webhooks_are_acknowledged() -> None:
    [verb] = document(PLIVO.reject_busy())
    assert (verb.tag, verb.attrib) == ("Hangup", {"reason": "busy"})
    for kind in ("status", "amd", "recording"):
        assert PLIVO.acknowledge(kind) == WebhookReply(200)
    for kind in ("voice", "transfer", "voicemail"):
        assert len(document(PLIVO.acknowledge(kind))) == 0
    assert PLIVO.follow_up(CALL, STREAM) is None  # type: ignore[func-returns-value]
    assert PLIVO.open_stream(CALL, STREAM, attempt=0) is None  # type: ignore[func-returns-value]


NASTY = "<Hangup/>&\"'\n\x00\x0b\ud800 ok"


def test_whatever_is_said_stays_inside_its_document() -> None:
    kept: list[WebhookReply] = []

    def keep(reply: WebhookReply) -> str:
        kept.append(reply)
        return "one-shot"

    message = PLIVO.leave_message(CALL, NASTY, language="fr", host=HOST, keep=keep)
    _, [request] = run(message, answer(202))
    assert body_of(request) == {
        "legs": "aleg",
        "aleg_url": f"https://{HOST}/webhooks/plivo/voicemail?ref=one-shot",
        "aleg_method": "POST",
    }
    speak, hangup = document(kept[0])
    assert (speak.tag, hangup.tag) == ("Speak", "Hangup")
    assert speak.text == "<Hangup/>&\"'\n ok"
    assert speak.get("language") == "fr-FR"


@pytest.mark.parametrize(
    ("to", "tag", "text"),
    [("+15550007777", "Number", "15550007777"), ("sip:a@b.example", "User", "sip:a@b.example")],
)
def test_a_transfer_is_a_document_that_plivo_fetches(to: str, tag: str, text: str) -> None:
    kept: list[WebhookReply] = []

    def keep(reply: WebhookReply) -> str:
        kept.append(reply)
        return "one-shot"

    transfer = PLIVO.transfer(CALL, to, host=HOST, from_number="+15550001234", keep=keep)
    _, [request] = run(transfer, answer(202))
    assert request.url == f"https://api.plivo.com/v1/Account/{ID}/Call/{CALL}/"
    assert to not in body_of(request)["aleg_url"]
    [dial] = document(kept[0])
    assert (dial.tag, dial.get("callerId"), dial.get("timeout")) == ("Dial", "15550001234", "30")
    assert [(each.tag, each.text) for each in dial] == [(tag, text)]


def test_without_somebody_who_keeps_the_document_there_is_no_transfer() -> None:
    with pytest.raises(PatterConfigError, match="keep"):
        run(PLIVO.transfer(CALL, "+15550007777", host=HOST, from_number="+15550001234"))
    with pytest.raises(PatterConfigError, match="keep"):
        run(PLIVO.leave_message(CALL, "x", language="en"))


# ----------------------------------------------------------------------------------------------- REST


def dial(**options: Any) -> Dial:
    return Dial("+15550007777", "+15550001234", Stream(HOST, "ref-1", "tok"), **options)


def test_a_call_is_placed_with_urls_that_carry_our_reference() -> None:
    request_id, [request] = run(
        PLIVO.dial(dial(detects_machines=True, max_call_duration=99_999, ring_timeout=25)),
        answer(201, message="call fired", request_uuid="req-1"),
    )
    assert request_id == "req-1"
    assert not request.is_repeatable
    assert request.url == f"https://api.plivo.com/v1/Account/{ID}/Call/"
    login = base64.b64encode(f"{ID}:{TOKEN}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {login}"
    hook = f"https://{HOST}/webhooks/plivo"
    assert body_of(request) == {
        "from": "15550001234",
        "to": "15550007777",
        "answer_url": f"{hook}/voice?ref=ref-1",
        "answer_method": "POST",
        "hangup_url": f"{hook}/status?ref=ref-1",
        "hangup_method": "POST",
        "ring_url": f"{hook}/status?ref=ref-1",
        "ring_method": "POST",
        "ring_timeout": 25,
        "time_limit": 14400,
        "machine_detection": "true",
        "machine_detection_time": 5000,
        "machine_detection_url": f"{hook}/amd?ref=ref-1",
        "machine_detection_method": "POST",
    }
    assert "tok" not in request.body.decode()


def test_a_call_may_ring_without_limit() -> None:
    answered = answer(201, request_uuid=["req-1", "req-2"])
    request_id, [request] = run(PLIVO.dial(dial(ring_timeout=None)), answered)
    assert request_id == "req-1"
    assert "ring_timeout" not in body_of(request)
    assert "machine_detection" not in body_of(request)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, RateLimitError),
        (400, PatterConnectionError),
        (500, PatterConnectionError),
    ],
)
def test_refusals_are_told_in_plivos_words(status: int, error: type[Exception]) -> None:
    refused = answer(status, api_id="x", error=f"nothing for {TOKEN}")
    with pytest.raises(error, match=rf"plivo answered {status}: nothing for \*\*\*"):
        run(PLIVO.dial(dial()), refused)


def test_a_placed_call_without_an_id_is_an_error_that_is_not_repeated() -> None:
    with pytest.raises(PatterConnectionError, match="named no id") as error:
        run(PLIVO.dial(dial()), HttpResponse(201, {}, b"<html>"))
    assert not error.value.retryable


@pytest.mark.parametrize("to", ["", "+1", "15550007777", "sip:", "sip:a b", "+15550007777\n"])
def test_only_numbers_and_sip_addresses_are_called(to: str) -> None:
    with pytest.raises(PatterConfigError):
        run(PLIVO.dial(Dial(to, "+15550001234", STREAM)))
    with pytest.raises(PatterConfigError):
        run(PLIVO.transfer(CALL, to, host=HOST, from_number="+15550001234", keep=lambda _: "x"))


def test_hanging_up_and_asking() -> None:
    _, [request] = run(PLIVO.hang_up(CALL), HttpResponse(204))
    assert (request.method, request.is_repeatable) == ("DELETE", True)
    run(PLIVO.hang_up(CALL), answer(404, error="not found"))
    with pytest.raises(PatterConnectionError):
        run(PLIVO.hang_up(CALL), answer(500))
    alive, [request] = run(PLIVO.is_alive(CALL), answer(call_status="in-progress"))
    assert alive
    assert request.url.endswith(f"/Call/{CALL}/?status=live")
    assert not run(PLIVO.is_alive(CALL), answer(404, error="not found"))[0]


@pytest.mark.parametrize("call_id", ["", "..", "../x", "a/b", "a?b", "a b", "é", "x" * 300])
def test_only_call_ids_enter_an_address(call_id: str) -> None:
    for exchange in (PLIVO.hang_up(call_id), PLIVO.is_alive(call_id)):
        with pytest.raises(PatterConfigError):
            next(exchange)


def test_recordings_keys_limits_and_prices() -> None:
    _, [record] = run(PLIVO.record(CALL, host=HOST), answer(202))
    assert body_of(record) == {
        "time_limit": 14400,
        "file_format": "mp3",
        "record_channel_type": "stereo",
        "callback_url": f"https://{HOST}/webhooks/plivo/recording",
        "callback_method": "POST",
    }
    _, [keys] = run(PLIVO.send_keys(CALL, "12#", delay_ms=300), answer(202))
    assert body_of(keys) == {"digits": "12#", "leg": "aleg"}
    with pytest.raises(PatterConfigError, match="digits"):
        run(PLIVO.send_keys(CALL, "x", delay_ms=300))
    assert run(PLIVO.limit(CALL, seconds=5)) == (None, [])
    assert run(PLIVO.price(CALL), answer(total_amount="0.00850"))[0] == 0.0085
    for nothing in (answer(), answer(total_amount=""), answer(total_amount="?"), answer(404)):
        assert run(PLIVO.price(CALL), nothing)[0] is None


def test_an_application_of_our_own_is_made_or_used_again() -> None:
    name = "getpatter-15550001234"
    none = answer(objects=[{"app_id": "1", "app_name": f"{name}5"}])
    _, [find, make, link] = run(
        PLIVO.point_number("+15550001234", host=HOST), none, answer(201, app_id="7"), answer(202)
    )
    assert find.url.endswith(f"/Application/?app_name={name}")
    assert make.url.endswith("/Application/")
    assert not make.is_repeatable
    assert body_of(make) == {
        "app_name": name,
        "answer_url": f"https://{HOST}/webhooks/plivo/voice",
        "answer_method": "POST",
        "hangup_url": f"https://{HOST}/webhooks/plivo/status",
        "hangup_method": "POST",
    }
    assert link.url.endswith("/Number/15550001234/")
    assert body_of(link) == {"app_id": "7"}
    known = answer(objects=[{"app_id": "7", "app_name": name}])
    _, [_, change, _] = run(
        PLIVO.point_number("+15550001234", host=HOST), known, answer(202), answer(202)
    )
    assert change.url.endswith("/Application/7/")
    with pytest.raises(ProvisionError, match=r"has no number \*\*\*1234"):
        run(PLIVO.point_number("+15550001234", host=HOST), known, answer(202), answer(404))


# ---------------------------------------------------------------------------------------------- media

START = json.dumps(
    {
        "event": "start",
        "sequenceNumber": 1,
        "start": {
            "callId": CALL,
            "streamId": "s-1",
            "accountId": ID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        },
        "extra_headers": "a=b;c=d",
    }
).encode()


def test_frames_of_a_stream() -> None:
    wire = PLIVO.wire()
    assert wire.receive(START) == StreamStarted("s-1", CALL, MULAW_8K)
    media = {"track": "inbound", "timestamp": "17", "chunk": 41, "payload": "/38="}
    assert wire.receive(json.dumps({"event": "media", "media": media}).encode()) == AudioReceived(
        b"\xff\x7f", 41
    )
    media["track"] = "outbound"
    assert wire.receive(json.dumps({"event": "media", "media": media}).encode()) is None
    assert wire.receive(b'{"event":"playedStream","streamId":"s-1","name":"m"}') == MarkReturned(
        "m"
    )
    assert wire.receive(b'{"event":"dtmf","dtmf":{"digit":"d"}}') == KeyReceived("D")
    assert wire.receive(b'{"event":"clearedAudio","streamId":"s-1"}') is None
    assert wire.receive(b'{"event":"stop"}') == StreamStopped()
    with pytest.raises(WireError, match="second start"):
        wire.receive(START)


def test_frames_that_are_sent() -> None:
    wire = PLIVO.wire()
    with pytest.raises(RuntimeError):
        wire.mark("m")
    with pytest.raises(RuntimeError):
        wire.clear()
    wire.receive(START)
    assert json.loads(wire.audio(b"\xff\x7f")) == {
        "event": "playAudio",
        "media": {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": "/38="},
    }
    assert json.loads(wire.mark('a"b')) == {"event": "checkpoint", "streamId": "s-1", "name": 'a"b'}
    assert json.loads(wire.clear()) == {"event": "clearAudio", "streamId": "s-1"}


@pytest.mark.parametrize(
    "frame",
    [
        START.replace(b"x-mulaw", b"x-l16"),
        START.replace(b"8000", b"16000"),
        START.replace(CALL.encode(), b"../x"),
        START.replace(b'"s-1"', b'""'),
        b'{"event":"start"}',
        b'{"event":"media"}',
        b'{"event":"media","media":{"payload":"###"}}',
        b'{"event":"dtmf","dtmf":{"digit":"12"}}',
        b'{"event":"playedStream"}',
        b"[]",
        b"not json",
    ],
)
def test_frames_that_break_the_protocol_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        PLIVO.wire().receive(frame)


def test_a_replayed_stream_goes_on_where_it_began() -> None:
    wire = PLIVO.wire()
    wire.resume(StreamStarted("s-9", CALL, MULAW_8K))
    assert json.loads(wire.clear())["streamId"] == "s-9"
