"""Whatever arrives from Telnyx's side of the wire, only `WireError` comes out of the parsers."""

from __future__ import annotations

import base64
import json
import struct
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from getpatter.carriers._telnyx_state import State
from getpatter.carriers._telnyx_wire import ByteOrderFinder, Order
from getpatter.carriers.base import AudioReceived, KeyReceived, MarkReturned, MediaWire, Verdict
from getpatter.carriers.telnyx import Telnyx
from getpatter.errors import WireError
from getpatter.net.messages import WebhookRequest

TELNYX = Telnyx("KEY1", "2", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
CALL = "v3:call"
START = json.dumps(
    {
        "event": "start",
        "stream_id": "S",
        "start": {
            "call_control_id": CALL,
            "media_format": {"encoding": "L16", "sample_rate": 16000, "channels": 1},
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
EVENTS = ["event", "start", "media", "mark", "dtmf", "stop", "connected", "error"]
FIELDS = ["stream_id", "payload", "chunk", "track", "name", "digit", "call_control_id", "code"]
MORE_FIELDS = ["media_format", "encoding", "sample_rate", "channels", "client_state", "L16"]
WORDS = st.sampled_from(EVENTS + FIELDS + MORE_FIELDS)
NEARLY = st.recursive(
    WORDS | st.text(max_size=6) | st.integers() | st.none() | st.just("/w=="),
    lambda inner: st.dictionaries(WORDS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


def started() -> MediaWire:
    wire = TELNYX.wire()
    wire.receive(START)
    return wire


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | NEARLY.map(lambda value: json.dumps(value).encode())
)
def test_rubbish_raises_only_wire_errors(frame: bytes) -> None:
    for wire in (TELNYX.wire(), started()):
        with suppress(WireError):
            wire.receive(frame)


@given(st.integers(0, len(START) - 1), st.integers(0, 255))
def test_one_wrong_byte_in_a_start_raises_only_wire_errors(at: int, byte: int) -> None:
    with suppress(WireError):
        TELNYX.wire().receive(START[:at] + bytes([byte]) + START[at + 1 :])


@given(st.lists(st.tuples(st.integers(-3, 60), st.binary(max_size=50)), max_size=60))
def test_any_audio_in_any_order_is_taken(pieces: list[tuple[int, bytes]]) -> None:
    wire = started()
    for chunk, data in pieces:
        media = {"payload": base64.b64encode(data).decode(), "chunk": str(chunk)}
        event = wire.receive(json.dumps({"event": "media", "media": media}).encode())
        assert event is None or isinstance(event, AudioReceived)


@given(st.permutations(range(1, 13)), st.integers(1, 4))
def test_order_hands_on_each_piece_once_and_in_order(arriving: list[int], held: int) -> None:
    order = Order(held * 10)
    handed = b"".join(order.push(chunk, bytes([chunk]) * 10) for chunk in arriving)
    seen = list(handed[::10])
    assert len(handed) == len(seen) * 10
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(arriving)


@given(st.integers(1, 30))
def test_neighbours_that_change_places_are_put_back(count: int) -> None:
    arriving = [chunk ^ 1 for chunk in range(2, 2 + 2 * count)]
    order = Order(60)
    handed = b"".join(order.push(chunk, bytes([chunk]) * 20) for chunk in [1, *arriving])
    assert handed[::20] == bytes(range(1, 2 + 2 * count))


@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=40), st.booleans())
def test_the_byte_order_of_smooth_sound_is_never_mistaken(steps: list[int], is_big: bool) -> None:
    level, samples = 0, []
    for step in steps:
        for _ in range(16):
            level = max(-30000, min(30000, level + step // 16))
            samples.append(level)
    finder = ByteOrderFinder("auto")
    finder.listen(struct.pack(f"{'>' if is_big else '<'}{len(samples)}h", *samples))
    assert not finder.is_settled or finder.is_big == is_big


@given(st.binary(min_size=640, max_size=2000).map(lambda data: data[: len(data) // 2 * 2]))
def test_sound_comes_through_unchanged(sound: bytes) -> None:
    sent = json.loads(started().audio(sound))
    assert base64.b64decode(sent["media"]["payload"]) == sound


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_marks_of_any_name_come_back(name: str) -> None:
    wire = started()
    assert wire.receive(wire.mark(name)) == MarkReturned(name)


@given(st.text(st.characters(codec="utf-8"), max_size=4))
def test_only_keys_of_a_telephone_are_keys(digit: str) -> None:
    frame = json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}).encode()
    try:
        event = started().receive(frame)
    except WireError:
        assert digit.upper() not in {*"0123456789*#ABCD"}
    else:
        assert event == KeyReceived(digit.upper())


KINDS = [
    "call.initiated",
    "call.answered",
    "call.hangup",
    "call.machine.detection.ended",
    "call.machine.greeting.ended",
    "call.speak.ended",
    "call.recording.saved",
    "streaming.failed",
    "call.cost",
]
CALL_FIELDS = ["from", "to", "direction", "client_state", "hangup_cause", "result", "channels"]
RECORDING = ["recording_id", "recording_urls", "recording_started_at", "recording_ended_at"]
OTHERS = ["failure_reason", "total_cost", "cost_parts", "custom_headers"]
PAYLOAD = st.dictionaries(
    st.sampled_from(CALL_FIELDS + RECORDING + OTHERS),
    JSON | st.just("incoming") | st.just("2026-02-02T22:25:27Z") | st.just("nan"),
)


@given(
    st.binary(max_size=80)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda kind, payload: json.dumps(
            {"data": {"event_type": kind, "payload": {"call_control_id": CALL} | payload}}
        ).encode(),
        st.sampled_from(KINDS),
        PAYLOAD,
    )
)
def test_webhooks_raise_only_wire_errors(body: bytes) -> None:
    try:
        events = TELNYX.read("voice", WebhookRequest("POST", "/", "", {}, body))
    except WireError:
        return
    assert all(event.call_id == CALL for event in events)


@given(st.binary(max_size=80), st.text(max_size=20), st.text(max_size=100))
def test_nobody_guesses_a_signature(body: bytes, timestamp: str, signature: str) -> None:
    headers = {"telnyx-timestamp": timestamp, "telnyx-signature-ed25519": signature}
    request = WebhookRequest("POST", "/", "", headers, body)
    assert TELNYX.verify(request, host="example.com", now=0) is Verdict.FORGED


@given(st.from_regex(r"[!-~]{0,60}", fullmatch=True), st.sampled_from(["L16", "PCMU", None]))
def test_what_telnyx_remembers_for_us_comes_back(reference: str, asked: object) -> None:
    state = State(reference, asked)  # type: ignore[arg-type]
    assert State.read(state.text()) == state


@given(st.text(max_size=60))
def test_what_others_remember_is_none_of_ours(text: str) -> None:
    state = State.read(text)
    assert state == State() or State.read(state.text()) == state
