"""Whatever arrives from Plivo's side of the wire, only `WireError` comes out of the parsers."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3

from getpatter.carriers.base import AudioReceived, KeyReceived, MediaWire, Verdict
from getpatter.carriers.plivo import Plivo
from getpatter.errors import WireError
from getpatter.net.messages import WebhookRequest

PLIVO = Plivo("MASIMULATEDSIMULATED", "12345")
CALL = "call-1"
START = json.dumps(
    {
        "event": "start",
        "start": {
            "callId": CALL,
            "streamId": "S",
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
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
EVENTS = ["event", "start", "media", "playedStream", "dtmf", "stop", "clearedAudio"]
FIELDS = ["streamId", "payload", "chunk", "track", "name", "digit", "callId", "mediaFormat"]
WORDS = st.sampled_from([*EVENTS, *FIELDS, "encoding", "sampleRate"])
NEARLY = st.recursive(
    WORDS | st.text(max_size=6) | st.integers() | st.none() | st.just("/w=="),
    lambda inner: st.dictionaries(WORDS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


def started() -> MediaWire:
    wire = PLIVO.wire()
    wire.receive(START)
    return wire


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | NEARLY.map(lambda value: json.dumps(value).encode())
)
def test_rubbish_raises_only_wire_errors(frame: bytes) -> None:
    for wire in (PLIVO.wire(), started()):
        with suppress(WireError):
            wire.receive(frame)


@given(st.integers(0, len(START) - 1), st.integers(0, 255))
def test_one_wrong_byte_in_a_start_raises_only_wire_errors(at: int, byte: int) -> None:
    with suppress(WireError):
        PLIVO.wire().receive(START[:at] + bytes([byte]) + START[at + 1 :])


@given(st.binary(max_size=2000), st.integers(0, 10**12), st.booleans())
def test_sound_comes_through_unchanged(sound: bytes, chunk: int, is_text: bool) -> None:
    wire = started()
    sent = json.loads(wire.audio(sound))["media"]["payload"]
    assert base64.b64decode(sent) == sound
    media = {"payload": sent, "chunk": str(chunk) if is_text else chunk}
    frame = json.dumps({"event": "media", "media": media}).encode()
    assert wire.receive(frame) == AudioReceived(sound, chunk)


@given(st.text(st.characters(codec="utf-8"), max_size=4))
def test_only_keys_of_a_telephone_are_keys(digit: str) -> None:
    frame = json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}).encode()
    try:
        event = started().receive(frame)
    except WireError:
        assert digit.upper() not in {*"0123456789*#ABCD"}
    else:
        assert event == KeyReceived(digit.upper())


CALL_FIELDS = ["CallUUID", "CallStatus", "From", "To", "Machine", "Duration", "Event"]
RECORDING_FIELDS = ["call_uuid", "recording_id", "record_url", "recording_duration", "X-PH-A"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
FORM = st.dictionaries(
    st.sampled_from(CALL_FIELDS + RECORDING_FIELDS), TEXT | st.just(CALL) | st.just("completed")
)


@given(
    st.sampled_from(sorted(PLIVO.webhook_kinds)),
    st.binary(max_size=80) | FORM.map(lambda form: urlencode(form | {"CallUUID": CALL}).encode()),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
)
def test_webhooks_raise_only_wire_errors(kind: str, body: bytes, query: str) -> None:
    request = WebhookRequest("POST", f"/webhooks/plivo/{kind}", query, {}, body)
    try:
        events = PLIVO.read(kind, request)
    except WireError:
        return
    assert all(event.call_id == CALL for event in events)


NAME = st.text("AZaz_", min_size=1, max_size=6)
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
"""Of other characters in a query, or in a nonce, the library makes nothing that could be signed."""


@given(st.dictionaries(NAME, TEXT, max_size=4), st.dictionaries(NAME, PLAIN, max_size=4), PLAIN)
def test_what_the_official_library_signs_is_genuine(
    form: dict[str, str], query: dict[str, str], nonce: str
) -> None:
    asked = urlencode(query)
    url = f"https://example.com/hook?{asked}".rstrip("?")
    for method in ("POST", "GET"):
        told = dict(form) if method == "POST" else {}
        base = (
            construct_post_url(url, told)
            if told or method == "POST"
            else construct_get_url(url, told)
        )
        signature = get_signature_v3(b"12345", base.decode(), nonce.encode()).decode()
        headers = {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": nonce}
        request = WebhookRequest(method, "/hook", asked, headers, urlencode(told).encode())
        found = PLIVO.verify(request, host="example.com", now=0)
        assert found is (Verdict.GENUINE if nonce else Verdict.FORGED)


@given(st.binary(max_size=80), st.text(max_size=30), st.text(max_size=30), st.text(max_size=40))
def test_nobody_guesses_a_signature(body: bytes, path: str, query: str, signature: str) -> None:
    headers = {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": "1"}
    request = WebhookRequest("POST", path, query, headers, body)
    assert PLIVO.verify(request, host="example.com", now=0) is Verdict.FORGED
