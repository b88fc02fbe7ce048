"""Whatever arrives from Twilio's side of the wire, only `WireError` comes out of the parsers."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st

from getpatter.carriers.base import (
    AudioReceived,
    KeyReceived,
    MarkReturned,
    MediaWire,
    StreamStarted,
    Verdict,
)
from getpatter.carriers.twilio import Twilio
from getpatter.errors import WireError
from getpatter.net.messages import WebhookRequest

TWILIO = Twilio("AC" + "2" * 32, "12345")
CALL = "CA" + "1" * 32
START = json.dumps(
    {
        "event": "start",
        "streamSid": "MZ3",
        "start": {
            "callSid": CALL,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }
).encode()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
EVENTS = ["event", "start", "media", "mark", "dtmf", "stop", "connected"]
FIELDS = ["streamSid", "payload", "chunk", "track", "name", "digit", "callSid", "mediaFormat"]
MORE_FIELDS = ["encoding", "sampleRate", "channels", "customParameters"]
WORDS = st.sampled_from(EVENTS + FIELDS + MORE_FIELDS)
NEARLY = st.recursive(
    WORDS | st.text(max_size=6) | st.integers() | st.none() | st.just("/w=="),
    lambda inner: st.dictionaries(WORDS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | NEARLY.map(lambda value: json.dumps(value).encode())
)
def test_rubbish_raises_only_wire_errors(frame: bytes) -> None:
    for wire in (TWILIO.wire(), _started()):
        with suppress(WireError):
            wire.receive(frame)


@given(st.integers(0, len(START) - 1), st.integers(0, 255))
def test_one_wrong_byte_in_a_start_raises_only_wire_errors(at: int, byte: int) -> None:
    try:
        event = TWILIO.wire().receive(START[:at] + bytes([byte]) + START[at + 1 :])
    except WireError:
        return
    assert event is None or isinstance(event, StreamStarted)


def _started() -> MediaWire:
    wire = TWILIO.wire()
    wire.receive(START)
    return wire


@given(st.binary(max_size=2000), st.integers(0, 10**12))
def test_sound_comes_through_unchanged(sound: bytes, chunk: int) -> None:
    wire = _started()
    sent = json.loads(wire.audio(sound))
    assert base64.b64decode(sent["media"]["payload"]) == sound
    echoed = {"event": "media", "media": {"payload": sent["media"]["payload"], "chunk": str(chunk)}}
    assert wire.receive(json.dumps(echoed).encode()) == AudioReceived(sound, chunk)


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_marks_of_any_name_come_back(name: str) -> None:
    wire = _started()
    assert wire.receive(wire.mark(name)) == MarkReturned(name)


@given(st.text(st.characters(codec="utf-8"), max_size=4))
def test_only_keys_of_a_telephone_are_keys(digit: str) -> None:
    frame = json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}).encode()
    try:
        event = _started().receive(frame)
    except WireError:
        assert digit.upper() not in {*"0123456789*#ABCD"}
    else:
        assert event == KeyReceived(digit.upper())


CALL_FIELDS = ["CallSid", "CallStatus", "From", "To", "AnsweredBy", "CallDuration"]
RECORDING_FIELDS = ["RecordingSid", "RecordingStatus", "RecordingDuration", "RecordingChannels"]
OTHER_FIELDS = ["StreamEvent", "StreamError", "SequenceNumber", "SipHeader_X-A"]
FORM = st.dictionaries(
    st.sampled_from(CALL_FIELDS + RECORDING_FIELDS + OTHER_FIELDS),
    st.text(st.characters(codec="utf-8"), max_size=12) | st.just(CALL) | st.just("RE" + "1" * 32),
)


@given(
    st.sampled_from(sorted(TWILIO.webhook_kinds)),
    st.binary(max_size=80) | FORM.map(lambda form: urlencode({"CallSid": CALL} | form).encode()),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
)
def test_webhooks_raise_only_wire_errors(kind: str, body: bytes, query: str) -> None:
    request = WebhookRequest("POST", f"/webhooks/twilio/{kind}", query, {}, body)
    try:
        events = TWILIO.read(kind, request)
    except WireError:
        return
    assert all(event.call_id == CALL for event in events)


@given(
    st.binary(max_size=80),
    st.text(max_size=30),
    st.text(max_size=30),
    st.text(max_size=40),
    st.sampled_from(["", "websocket"]),
)
def test_nobody_guesses_a_signature(
    body: bytes, path: str, query: str, signature: str, upgrade: str
) -> None:
    headers = {"x-twilio-signature": signature, "upgrade": upgrade}
    request = WebhookRequest("POST", path, query, headers, body)
    assert TWILIO.verify(request, host="example.com", now=0) is Verdict.FORGED
