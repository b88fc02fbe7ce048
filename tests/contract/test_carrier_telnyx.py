"""Telnyx's carrier against the protocol as Telnyx documents it, and against Telnyx's own client library."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import pytest
import telnyx as official
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from getpatter.carriers import carrier_of
from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    CallCosted,
    CallProgressed,
    Dial,
    KeyReceived,
    MachineJudged,
    MarkReturned,
    MessageLeft,
    RecordingFinished,
    Stream,
    StreamAwaited,
    StreamComplained,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    Verdict,
)
from getpatter.carriers.telnyx import Carrier, Telnyx
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
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K

_T = TypeVar("_T")

KEY = "KEY0123456789ABCDEF"
APP = "2000000000000000000"
PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CALL = "v3:AAA-bbb_ccc"
HOST = "example.com"
TELNYX = Telnyx(KEY, APP, PUBLIC)
STREAM = Stream(HOST, CALL, "secret/token", "+15550009876", "+15550001234")
NOW: Final = 1_700_000_000


def signed(body: bytes, headers: Mapping[str, str] | None = None) -> WebhookRequest:
    signature = PRIVATE.sign(str(NOW).encode() + b"|" + body)
    names = {
        "telnyx-timestamp": str(NOW),
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        **(headers or {}),
    }
    return WebhookRequest("POST", "/webhooks/telnyx/voice", "", names, body)


def verdict(request: WebhookRequest, now: float = NOW) -> Verdict:
    return TELNYX.verify(request, host=HOST, now=now)


def read(kind: str, **payload: object) -> list[object]:
    body = {"data": {"event_type": kind, "id": "evt-1", "payload": payload}}
    request = WebhookRequest("POST", "/", "", {}, json.dumps(body).encode())
    return list(TELNYX.read("voice", request))


def state(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


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


def ok(**fields: object) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps({"data": fields or {"result": "ok"}}).encode())


def refusal(status: int, code: str = "10015", title: str = "no", pointer: str = "") -> HttpResponse:
    error = {"code": code, "title": title, "source": {"pointer": pointer}}
    return HttpResponse(status, {}, json.dumps({"errors": [error]}).encode())


def body_of(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.body)
    return found


# --------------------------------------------------------------------------------------- credentials


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_CONNECTION_ID", APP)
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", PUBLIC)
    assert Telnyx() == TELNYX == Carrier(KEY, APP, PUBLIC)
    assert Telnyx("other").api_key == "other"


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELNYX_API_KEY", "TELNYX_CONNECTION_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"TELNYX_API_KEY.*TELNYX_CONNECTION_ID"):
        Telnyx(KEY)


def test_the_key_is_not_shown_and_nothing_can_be_changed() -> None:
    assert KEY not in repr(TELNYX)
    with pytest.raises(AttributeError):
        TELNYX.api_key = "other"  # type: ignore[misc]


@pytest.mark.parametrize("option", ["media_codec", "l16_byte_order"])
def test_an_option_that_means_nothing_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        Telnyx(KEY, APP, **{option: "pigeon"})  # type: ignore[arg-type]


X25519 = X25519PrivateKey.generate().public_key()
DER = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "key",
    [
        "not base64!",
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(44)).decode(),
        base64.b64encode(
            X25519.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode(),
    ],
    ids=["not base64", "a byte short", "a DER's length", "another curve"],
)
def test_a_malformed_public_key_is_refused_when_the_carrier_is_made(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="TELNYX_PUBLIC_KEY"):
        Telnyx(KEY, APP, key)
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", key)
    with pytest.raises(ValueError, match="TELNYX_PUBLIC_KEY"):
        Telnyx(KEY, APP)


def test_a_key_in_a_der_document_is_the_same_key() -> None:
    carrier = Telnyx(KEY, APP, base64.b64encode(DER).decode())
    assert carrier.verify(signed(b"{}"), host=HOST, now=NOW) is Verdict.GENUINE


def test_the_dots_of_an_example_are_no_key_and_say_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELNYX_PUBLIC_KEY", raising=False)
    carrier = Telnyx(KEY, APP, "...")
    assert "telnyx.placeholder_key" in caplog.text
    assert carrier.verify(signed(b"{}"), host=HOST, now=NOW) is Verdict.UNSIGNABLE


def test_the_older_configuration_makes_the_same_carrier() -> None:
    config = LocalConfig(
        telephony_provider="telnyx",
        telnyx_key=KEY,
        telnyx_connection_id=APP,
        telnyx_public_key=PUBLIC,
    )
    assert carrier_of(config) == TELNYX
    bare = Telnyx.without_credentials()
    assert bare.verify(signed(b"{}"), host=HOST, now=NOW) is Verdict.UNSIGNABLE
    with pytest.raises(AuthenticationError, match="API key"):
        next(bare.is_alive(CALL))


# ---------------------------------------------------------------------------------------- signatures


def test_the_documented_vector_is_genuine() -> None:
    request = WebhookRequest(
        "POST",
        "/any",
        "",
        {
            "telnyx-timestamp": "1700000000",
            "telnyx-signature-ed25519": (
                "aBuTQ1AtxQGraK6PrtJP6VW9Mu+R2aG6TbxS7lim9/ia8dN94a42JYoTifASA18z3xe+GLlYfveWOuyyKq7OCw=="
            ),
        },
        b'{"data":{"event_type":"call.initiated"}}',
    )
    assert verdict(request) is Verdict.GENUINE


@pytest.mark.parametrize("at", range(len("1700000000") + len(b'{"data":1}')))
def test_each_changed_byte_is_forged(at: int) -> None:
    body = b'{"data":1}'
    genuine = signed(body)
    head, tail = str(NOW), body
    if at < len(head):
        head = head[:at] + chr(ord(head[at]) ^ 1) + head[at + 1 :]
    else:
        place = at - len(head)
        tail = tail[:place] + bytes([tail[place] ^ 1]) + tail[place + 1 :]
    changed = WebhookRequest(
        "POST", genuine.path, "", {**genuine.headers, "telnyx-timestamp": head}, tail
    )
    assert verdict(genuine) is Verdict.GENUINE
    assert TELNYX.verify(changed, host=HOST, now=float(head)) is Verdict.FORGED


@pytest.mark.parametrize(
    "signature", ["", "%%%", "é", "AAAA", base64.b64encode(bytes(64)).decode()]
)
def test_a_missing_or_broken_signature_is_forged(signature: str) -> None:
    assert verdict(signed(b"{}", {"telnyx-signature-ed25519": signature})) is Verdict.FORGED
    assert verdict(WebhookRequest("POST", "/", "", {}, b"{}")) is Verdict.FORGED


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-5", "٣", "1" * 40, "1700000000 "])
def test_a_timestamp_that_is_none_is_forged(timestamp: str) -> None:
    assert verdict(signed(b"{}", {"telnyx-timestamp": timestamp})) is Verdict.FORGED


@pytest.mark.parametrize(
    ("age", "found"),
    [
        (0, Verdict.GENUINE),
        (300, Verdict.GENUINE),
        (301, Verdict.STALE),
        (-30, Verdict.GENUINE),
        (-31, Verdict.STALE),
    ],
)
def test_signatures_are_good_for_five_minutes(age: int, found: Verdict) -> None:
    assert verdict(signed(b"{}"), now=NOW + age) is found


@pytest.mark.timeout(30)  # the library loads its models when it is first asked
def test_what_the_official_library_accepts_is_genuine(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"data": {"event_type": "call.answered", "payload": {}}}).encode()
    request = signed(body)
    monkeypatch.setattr("time.time", lambda: float(NOW))
    client = official.Telnyx(api_key=KEY, public_key=PUBLIC)
    client.webhooks.unwrap(body.decode(), headers=dict(request.headers))
    client.close()
    assert verdict(request) is Verdict.GENUINE


# ------------------------------------------------------------------------------------------- webhooks


def test_an_incoming_call_arrives() -> None:
    events = read(
        "call.initiated",
        call_control_id=CALL,
        direction="incoming",
        state="parked",
        client_state=None,
        custom_headers=[{"name": "X-Ticket", "value": "42"}, {"name": "Via", "value": "x"}],
        **{"from": "anonymous", "to": "+15550001234"},
    )
    assert events == [CallArrived(CALL, "anonymous", "+15550001234", {"X-Ticket": "42"}, "evt-1")]


def test_an_outgoing_call_rings_under_our_reference() -> None:
    [event] = read(
        "call.initiated", call_control_id=CALL, direction="outgoing", client_state=state("L16;ref")
    )
    assert event == CallProgressed(CALL, "ringing", "call.initiated", "ref", delivery="evt-1")


def test_an_answered_call_whose_stream_was_not_asked_for_awaits_it() -> None:
    up = CallProgressed(CALL, "in-progress", "call.answered", "ref", delivery="evt-1")
    awaits = StreamAwaited(CALL, "ref", delivery="evt-1:stream")
    answered = {"call_control_id": CALL}
    assert read("call.answered", **answered, client_state=state("-;ref")) == [up, awaits]
    for asked in ("L16", "PCMU"):
        assert read("call.answered", **answered, client_state=state(f"{asked};ref")) == [up]


@pytest.mark.parametrize("theirs", [None, "", "%%%", state("{}"), state("L16"), state("MP3;ref")])
def test_a_call_with_somebody_elses_state_gets_no_stream(theirs: str | None) -> None:
    [event] = read("call.answered", call_control_id=CALL, client_state=theirs)
    assert isinstance(event, CallProgressed)


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("normal_clearing", "completed"),
        ("user_busy", "busy"),
        ("no_answer", "no-answer"),
        ("timeout", "no-answer"),
        ("originator_cancel", "no-answer"),
        ("time_limit", "completed"),
        ("call_rejected", "failed"),
        ("not_found", "failed"),
        ("unspecified", "failed"),
    ],
)
def test_the_end_of_a_call_has_its_reason(cause: str, status: str) -> None:
    [event] = read("call.hangup", call_control_id=CALL, hangup_cause=cause)
    assert isinstance(event, CallProgressed)
    assert (event.status, event.raw) == (status, cause)


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("human", "human"),
        ("human_residence", "human"),
        ("human_business", "human"),
        ("machine", "machine"),
        ("fax_detected", "fax"),
        ("not_sure", "unknown"),
        ("silence", "unknown"),
        ("poltergeist", "unknown"),
    ],
)
@pytest.mark.parametrize("premium", ["", "premium."])
def test_machines_are_judged(result: str, found: str, premium: str) -> None:
    [event] = read(f"call.machine.{premium}detection.ended", call_control_id=CALL, result=result)
    assert event == MachineJudged(CALL, found, result, delivery="evt-1")  # type: ignore[arg-type]
    [event] = read(f"call.machine.{premium}greeting.ended", call_control_id=CALL, result="ended")
    assert event == MachineJudged(CALL, "machine", "ended", greeting_ended=True, delivery="evt-1")


def test_a_recording_is_known_by_our_state_alone() -> None:
    [event] = read(
        "call.recording.saved",
        client_state=state(f"L16;{CALL}"),
        recording_id="rec-1",
        channels="dual",
        recording_urls={"mp3": "https://r.example/1.mp3", "wav": None},
        recording_started_at="2026-02-02T22:25:27.500000Z",
        recording_ended_at="2026-02-02T22:25:39.000000Z",
    )
    assert event == RecordingFinished(
        CALL, "rec-1", "https://r.example/1.mp3", 11.5, 2, "mp3", "evt-1"
    )
    [failed] = read("call.recording.error", call_control_id=CALL, reason="no audio")
    assert failed == RecordingFinished(CALL, "", delivery="evt-1")


def test_a_stream_that_failed_in_l16_is_awaited_once_more() -> None:
    failed = {"call_control_id": CALL, "failure_reason": "codec of +15550001234"}
    [again] = read("streaming.failed", **failed, client_state=state("L16;ref"))
    assert again == StreamAwaited(CALL, "ref", 1, "evt-1")
    [event] = read("streaming.failed", **failed, client_state=state("PCMU;ref"))
    assert event == StreamFailed(CALL, "codec of ***1234", "evt-1")


def test_the_end_of_a_message_and_the_cost_are_told() -> None:
    assert read("call.speak.ended", call_control_id=CALL) == [MessageLeft(CALL, "evt-1")]
    cost = {"call_control_id": CALL, "total_cost": "0.0135"}
    assert read("call.cost", **cost, cost_parts=[{"currency": "USD"}]) == [
        CallCosted(CALL, 0.0135, "evt-1")
    ]
    assert not read("call.cost", **cost, cost_parts=[{"currency": "EUR"}])
    assert not read("call.cost", call_control_id=CALL, total_cost="free")


@pytest.mark.parametrize("kind", ["call.dtmf.received", "streaming.started", "x"])
def test_other_events_mean_nothing(kind: str) -> None:
    assert not read(kind, call_control_id=CALL, digit="5")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "Invalid JSON body"),
        (b"{", "Invalid JSON body"),
        (b"\xff", "Invalid JSON body"),
        (b"[" * 10_000, "Invalid webhook structure"),
        (b"[]", "Invalid webhook structure"),
        (b"{}", "Invalid webhook structure"),
        (b'{"data":{"event_type":7}}', "Invalid webhook structure"),
        (b'{"data":{"event_type":"call.hangup"}}', "Invalid webhook payload"),
        (
            b'{"data":{"event_type":"call.hangup","payload":{"call_control_id":"../x"}}}',
            "Invalid webhook payload",
        ),
        (
            b'{"data":{"event_type":"call.initiated","payload":{"call_control_id":"v3:A"}}}',
            "Invalid webhook payload",
        ),
    ],
)
def test_webhooks_of_the_wrong_shape_are_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        TELNYX.read("voice", WebhookRequest("POST", "/", "", {}, body))


def test_webhooks_are_answered_with_nothing() -> None:
    for reply in (TELNYX.connect(STREAM), TELNYX.reject_busy(), TELNYX.acknowledge("voice")):
        assert reply == WebhookReply(200)


# ------------------------------------------------------------------------------------------- commands


def test_a_command_names_the_call_and_can_be_repeated() -> None:
    _, [request] = run(TELNYX.hang_up(CALL), ok())
    assert request.url == "https://api.telnyx.com/v2/calls/v3%3AAAA-bbb_ccc/actions/hangup"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.is_repeatable
    assert set(body_of(request)) == {"command_id"}


def test_l16_answers_first_and_streams_later() -> None:
    _, [answer] = run(TELNYX.follow_up(CALL, STREAM), ok())
    body = body_of(answer)
    assert body.pop("command_id")
    assert body == {"client_state": state(f"-;{CALL}")}
    _, [start] = run(TELNYX.open_stream(CALL, STREAM, attempt=0), ok())
    body = body_of(start)
    assert body.pop("command_id")
    assert body == {
        "stream_url": "wss://example.com/ws/stream/v3%3AAAA-bbb_ccc?token=secret%2Ftoken",
        "stream_track": "inbound_track",
        "stream_codec": "L16",
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_target_legs": "self",
        "stream_bidirectional_codec": "L16",
        "stream_bidirectional_sampling_rate": 16000,
        "client_state": state(f"L16;{CALL}"),
    }


def test_mulaw_answers_with_its_stream_and_no_rate() -> None:
    _, [answer] = run(Telnyx(KEY, APP, media_codec="PCMU").follow_up(CALL, STREAM), ok())
    body = body_of(answer)
    assert (body["stream_codec"], body["stream_bidirectional_codec"]) == ("PCMU", "PCMU")
    assert "stream_bidirectional_sampling_rate" not in body
    assert body["client_state"] == state(f"PCMU;{CALL}")


def test_only_a_refused_stream_is_asked_for_differently() -> None:
    with pytest.raises(PatterConnectionError, match="busy"):
        run(TELNYX.open_stream(CALL, STREAM, attempt=0), refusal(500, title="busy"))
    with pytest.raises(PatterConnectionError, match=r"not been answered .*90034"):
        run(
            TELNYX.open_stream(CALL, STREAM, attempt=0),
            refusal(422, "90034", "Call has not been answered yet"),
        )
    again = refusal(422, "10015", "cannot", "/stream_codec")
    _, requests = run(TELNYX.open_stream(CALL, STREAM, attempt=0), again, ok())
    assert [body_of(each)["stream_codec"] for each in requests] == ["L16", "PCMU"]
    with pytest.raises(PatterConnectionError):
        run(TELNYX.open_stream(CALL, STREAM, attempt=1), again)


def test_a_full_line_rejects() -> None:
    _, [request] = run(TELNYX.follow_up(CALL, None), ok())
    assert request.url.endswith("/actions/reject")
    assert body_of(request)["cause"] == "USER_BUSY"


def dial(**options: Any) -> Dial:
    return Dial("+15550007777", "+15550001234", Stream(HOST, "ref-1", "tok"), **options)


def test_a_call_is_placed_with_its_stream() -> None:
    call_id, [request] = run(
        TELNYX.dial(dial(detects_machines=True, ring_timeout=2, max_call_duration=99_999)),
        ok(call_control_id=CALL),
    )
    assert call_id == CALL
    assert not request.is_repeatable
    body = body_of(request)
    wanted: Mapping[str, object] = {
        "connection_id": APP,
        "to": "+15550007777",
        "from": "+15550001234",
        "timeout_secs": 5,
        "time_limit_secs": 14400,
        "answering_machine_detection": "greeting_end",
        "stream_url": "wss://example.com/ws/stream/ref-1?token=tok",
        "stream_bidirectional_sampling_rate": 16000,
        "client_state": state("L16;ref-1"),
    }
    assert wanted.items() <= body.items()
    _, [request] = run(TELNYX.dial(dial(ring_timeout=None)), ok(call_control_id=CALL))
    assert "timeout_secs" not in body_of(request)
    assert "answering_machine_detection" not in body_of(request)


def test_a_dial_that_refuses_the_stream_is_repeated_without_it() -> None:
    refused = refusal(422, "10015", "cannot", "/stream_bidirectional_codec")
    _, requests = run(TELNYX.dial(dial()), refused, ok(call_control_id=CALL))
    first, second = map(body_of, requests)
    assert first["command_id"] != second["command_id"]
    assert second["client_state"] == state("-;ref-1")
    assert not any(name.startswith("stream") for name in second)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "10009", AuthenticationError),
        (403, "10010", AuthenticationError),
        (429, "10011", RateLimitError),
        (422, "10016", PatterConnectionError),
        (500, "10000", PatterConnectionError),
    ],
)
def test_refusals_are_told_in_telnyxs_words(status: int, code: str, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=rf"telnyx answered {status}: nothing for \*\*\* \(code {code}\)"
    ):
        run(TELNYX.dial(dial()), refusal(status, code, f"nothing for {KEY}"))


def test_a_placed_call_without_an_id_is_an_error_that_is_not_repeated() -> None:
    with pytest.raises(PatterConnectionError, match="named no id") as error:
        run(TELNYX.dial(dial()), ok())
    assert not error.value.retryable


@pytest.mark.parametrize("to", ["", "+1", "15550007777", "sip:", "sip:a b", "+15550007777\n"])
def test_only_numbers_and_sip_addresses_are_called(to: str) -> None:
    with pytest.raises(PatterConfigError):
        run(TELNYX.dial(Dial(to, "+15550001234", STREAM)))
    with pytest.raises(PatterConfigError):
        run(TELNYX.transfer(CALL, to, host=HOST, from_number="+15550001234"))


@pytest.mark.parametrize("answer", [ok(), refusal(422, "90018"), refusal(404, "10005")])
def test_a_call_that_is_over_is_hung_up(answer: HttpResponse) -> None:
    run(TELNYX.hang_up(CALL), answer)
    with pytest.raises(PatterConnectionError):
        run(TELNYX.hang_up(CALL), refusal(422, "90015"))


def test_whether_a_call_is_alive() -> None:
    assert run(TELNYX.is_alive(CALL), ok(is_alive=True))[0]
    for answer in (ok(is_alive=False), ok(), refusal(404, "10005"), refusal(422, "90018")):
        assert not run(TELNYX.is_alive(CALL), answer)[0]


@pytest.mark.parametrize("call_id", ["", "..", "../x", "a/b", "a?b", "a b", "v3:é", "x" * 300])
def test_only_call_ids_enter_an_address(call_id: str) -> None:
    with pytest.raises(PatterConfigError):
        run(TELNYX.hang_up(call_id))


def test_recordings_transfers_messages_and_keys() -> None:
    _, [record] = run(TELNYX.record(CALL, host=HOST), ok())
    assert {"format": "mp3", "channels": "dual", "client_state": state(f"L16;{CALL}")}.items() <= (
        body_of(record).items()
    )
    _, [transfer] = run(
        TELNYX.transfer(CALL, "sip:desk@example.org", host=HOST, from_number="+15550001234"), ok()
    )
    wanted = {
        "to": "sip:desk@example.org",
        "from": "+15550001234",
        "timeout_secs": 30,
        "time_limit_secs": 14400,
        "webhook_url": "https://example.com/webhooks/telnyx/voice",
    }
    assert wanted.items() <= body_of(transfer).items()
    _, [speak] = run(TELNYX.leave_message(CALL, 'Hi "you" <&>', language="en-GB"), ok())
    assert body_of(speak)["payload"] == 'Hi "you" <&>'
    assert (body_of(speak)["voice"], body_of(speak)["language"]) == ("female", "en-GB")
    _, [keys] = run(TELNYX.send_keys(CALL, "12#", delay_ms=1300), ok())
    assert (body_of(keys)["digits"], body_of(keys)["duration_millis"]) == ("1ww2ww#", 250)
    assert run(TELNYX.limit(CALL, seconds=5)) == (None, [])


@pytest.mark.parametrize(("language", "locale"), [("de", "de-DE"), ("tlh", "en-US"), ("", "en-US")])
def test_languages_are_those_that_telnyx_speaks(language: str, locale: str) -> None:
    _, [speak] = run(TELNYX.leave_message(CALL, "x", language=language), ok())
    assert body_of(speak)["language"] == locale


def test_what_telnyx_would_not_take_is_refused_here() -> None:
    for text in ("", "x" * 3001):
        with pytest.raises(PatterConfigError, match="3000"):
            run(TELNYX.leave_message(CALL, text, language="en"))
    for digits in ("", "12a", "1" * 65):
        with pytest.raises(PatterConfigError, match="digits"):
            run(TELNYX.send_keys(CALL, digits, delay_ms=300))


def test_command_ids_tell_commands_apart_and_repetitions_not() -> None:
    def sent(**options: Any) -> str:
        _, [request] = run(TELNYX.send_keys(CALL, "1", delay_ms=300, **options), ok())
        found: str = body_of(request)["command_id"]
        return found

    assert sent() == sent()
    assert len({sent(serial=0), sent(serial=1), sent(serial=2)}) == 3


def test_the_application_is_pointed_at_us_under_its_own_name() -> None:
    _, [get, patch] = run(
        TELNYX.point_number("+15550001234", host=HOST), ok(application_name="desk"), ok()
    )
    assert (get.method, patch.method) == ("GET", "PATCH")
    assert patch.url == f"https://api.telnyx.com/v2/call_control_applications/{APP}"
    assert body_of(patch) == {
        "application_name": "desk",
        "webhook_event_url": "https://example.com/webhooks/telnyx/voice",
        "webhook_api_version": "2",
    }
    with pytest.raises(ProvisionError, match="connection_id"):
        run(TELNYX.point_number("+15550001234", host=HOST), refusal(404, "10005"))


# ---------------------------------------------------------------------------------------------- media


def start(
    encoding: str = "L16", rate: int = 16000, *, client_state: str | None = None, **more: object
) -> bytes:
    frame = {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "32DE0DEA",
        "start": {
            "user_id": "u",
            "call_control_id": CALL,
            "client_state": client_state,
            "media_format": {"encoding": encoding, "sample_rate": rate, "channels": 1},
            **more,
        },
    }
    return json.dumps(frame).encode()


def media(data: bytes, chunk: int | None = None, track: str = "inbound") -> bytes:
    fields = {"track": track, "payload": base64.b64encode(data).decode()}
    if chunk is not None:
        fields["chunk"] = str(chunk)
    return json.dumps({"event": "media", "stream_id": "32DE0DEA", "media": fields}).encode()


def payload(frame: bytes) -> bytes:
    return base64.b64decode(json.loads(frame)["media"]["payload"])


def test_frames_of_a_stream() -> None:
    wire = TELNYX.wire()
    assert wire.receive(b'{"event":"connected","version":"1.0.0"}') is None
    assert wire.receive(start()) == StreamStarted("32DE0DEA", CALL, PCM16_16K)
    assert wire.receive(media(bytes(640), 1)) == AudioReceived(bytes(640), 1)
    assert wire.receive(media(bytes(640), 2, "outbound")) is None
    assert wire.receive(b'{"event":"mark","mark":{"name":"m"}}') == MarkReturned("m")
    assert wire.receive(b'{"event":"dtmf","dtmf":{"digit":"d"}}') == KeyReceived("D")
    assert wire.receive(b'{"event":"stop","stop":{}}') == StreamStopped()
    assert wire.receive(b'{"event":"news"}') is None
    complaint = b'{"event":"error","payload":{"code":100004,"title":"invalid_media"}}'
    assert wire.receive(complaint) == StreamComplained("100004 invalid_media")
    with pytest.raises(WireError, match="second start"):
        wire.receive(start())


def test_frames_that_are_sent() -> None:
    wire = TELNYX.wire()
    wire.receive(start())
    assert json.loads(wire.audio(bytes(640))) == {
        "event": "media",
        "media": {"payload": base64.b64encode(bytes(640)).decode()},
    }
    assert json.loads(wire.mark('a"b')) == {"event": "mark", "mark": {"name": 'a"b'}}
    assert json.loads(wire.clear()) == {"event": "clear"}


def test_audio_is_never_shorter_than_telnyx_takes() -> None:
    wire = TELNYX.wire()
    assert payload(wire.audio(b"\x01\x02")) == b"\x01\x02" + bytes(638)
    mulaw = Telnyx(KEY, APP, media_codec="PCMU").wire()
    assert payload(mulaw.audio(b"\x01")) == b"\x01" + b"\xff" * 159


@pytest.mark.parametrize(
    ("client_state", "said"),
    [
        (None, PCM16_16K),
        (state("L16;ref"), PCM16_16K),
        (state("PCMU;ref"), MULAW_8K),
    ],
)
@pytest.mark.parametrize(
    ("encoding", "rate", "silence"),
    [("L16", 16000, b"\0" * 640), ("PCMU", 8000, b"\xff" * 160), ("PCMA", 8000, b"\xd5" * 160)],
)
def test_what_arrives_is_read_as_announced_and_what_is_sent_as_asked(
    client_state: str | None, said: object, encoding: str, rate: int, silence: bytes
) -> None:
    wire = TELNYX.wire()
    started = wire.receive(start(encoding, rate, client_state=client_state))
    assert isinstance(started, StreamStarted)
    assert started.format == wire.format == said
    heard = b""
    for chunk in range(1, 6):
        event = wire.receive(media(silence, chunk))
        assert isinstance(event, AudioReceived)
        heard += event.data
    assert 80 <= wire.format.ms(len(heard)) <= 100
    if said is PCM16_16K:  # the quietest that A-law can say is 8
        assert max(map(abs, struct.unpack(f"<{len(heard) // 2}h", heard))) <= 16
    else:
        assert set(heard) <= {0xFF, 0x7F, 0xFE, 0x7E}


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 48000])
def test_l16_of_any_rate_is_understood(rate: int) -> None:
    wire = TELNYX.wire()
    wire.receive(start("L16", rate))
    data = bytes(2 * rate // 50)
    lengths = [wire.receive(media(data, chunk)) for chunk in range(1, 11)]
    heard = sum(len(each.data) for each in lengths if isinstance(each, AudioReceived))
    assert 180 <= PCM16_16K.ms(heard) <= 200


@pytest.mark.parametrize(
    "frame",
    [
        start("G722", 16000),
        start("L16", 1),
        start("L16", 16000, media_format={"encoding": "L16", "sample_rate": 16000, "channels": 2}),
        start("L16", 16000, call_control_id="../../x"),
        b'{"event":"start"}',
        b'{"event":"media"}',
        b'{"event":"media","media":{"payload":"###"}}',
        b'{"event":"dtmf","dtmf":{"digit":"12"}}',
        b'{"event":"mark"}',
        b"[]",
        b"not json",
        b"",
    ],
)
def test_frames_that_break_the_protocol_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        TELNYX.wire().receive(frame)


def pieces(wire: Any, *chunks: int | None) -> list[int]:
    """What is handed on when these chunks arrive; each is 20 ms of its own number."""
    handed: list[int] = []
    for chunk in chunks:
        data = struct.pack("<h", chunk or 0) * 320
        event = wire.receive(media(data, chunk))
        if event is not None:
            samples = struct.unpack(f"<{len(event.data) // 2}h", event.data)
            handed += list(samples[::320])
    return handed


@pytest.mark.parametrize(
    ("arriving", "handed"),
    [
        ((1, 2, 3), [1, 2, 3]),
        ((0, 1, 2), [0, 1, 2]),
        ((1, 3, 2, 4), [1, 2, 3, 4]),
        ((2, 1, 3), [1, 2, 3]),
        ((1, 2, 2, 3), [1, 2, 3]),
        ((1, 4, 3, 2, 5), [1, 2, 3, 4, 5]),
        ((1, 3, 4, 5, 2, 6), [1, 3, 4, 5, 6]),
        ((5, 6, 7, 8), [5, 6, 7, 8]),
        ((1, 9, 9, 9, 9), [1]),
        ((50, 51, 52, 1, 2, 3, 4, 5, 6), [50, 51, 52, 5, 6]),
    ],
)
def test_audio_is_put_in_order_within_60_ms(arriving: tuple[int, ...], handed: list[int]) -> None:
    wire = Telnyx(KEY, APP, l16_byte_order="little").wire()
    wire.receive(start())
    assert pieces(wire, *arriving) == handed


def test_audio_without_numbers_is_handed_on_as_it_comes() -> None:
    wire = TELNYX.wire()
    wire.receive(start())
    assert pieces(wire, None, None) == [0, 0]


def hiss(n: int, *, loudness: int) -> list[int]:
    """What a quiet line carries: a few of the lowest bits, and more of them when somebody speaks."""
    found, seed = [], 1
    for _ in range(n):
        seed = (seed * 1103515245 + 12345) % 2**31
        found.append((seed >> 16) % (2 * loudness + 1) - loudness)
    return found


@pytest.mark.parametrize("loudness", [2, 10, 60])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_byte_order_is_heard_from_the_hiss_of_a_line(order: str, loudness: int) -> None:
    wire = TELNYX.wire()
    wire.receive(start())
    samples = hiss(640, loudness=loudness)
    data = struct.pack(f"{order}640h", *samples)
    assert wire.receive(media(bytes(1280), 1)) == AudioReceived(bytes(1280), 1)
    event = wire.receive(media(data, 2))
    assert isinstance(event, AudioReceived)
    assert struct.unpack("<640h", event.data) == tuple(samples)
    assert payload(wire.audio(struct.pack("<640h", *samples))) == data


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_byte_order_that_was_told_is_not_questioned(order: Any) -> None:
    wire = Telnyx(KEY, APP, l16_byte_order=order).wire()
    wire.receive(start())
    samples = hiss(320, loudness=20)
    wrong = struct.pack("<320h" if order == "big" else ">320h", *samples)
    event = wire.receive(media(wrong, 1))
    assert isinstance(event, AudioReceived)
    mark = "<" if order == "little" else ">"
    assert payload(wire.audio(struct.pack("<320h", *samples))) == struct.pack(
        f"{mark}320h", *samples
    )


def test_silence_decides_nothing() -> None:
    wire = TELNYX.wire()
    wire.receive(start())
    for chunk in range(1, 200):
        wire.receive(media(bytes(640), chunk))
    samples = hiss(320, loudness=500)
    event = wire.receive(media(struct.pack(">320h", *samples), 200))
    assert isinstance(event, AudioReceived)
    assert struct.unpack("<320h", event.data) == tuple(samples)


def test_a_replayed_stream_goes_on_where_it_began() -> None:
    for layout in (PCM16_16K, MULAW_8K, ALAW_8K, PCM16_8K):
        wire = TELNYX.wire()
        wire.resume(StreamStarted("s", CALL, layout))
        assert wire.format == layout
        data = layout.silence * (layout.sample_rate // 50)
        assert wire.receive(media(data, 1)) == AudioReceived(data, 1)
