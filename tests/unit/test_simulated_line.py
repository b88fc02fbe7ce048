"""A simulated line: what is heard when, what is said when, and the carrier's end of one stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.audio.g711 import mulaw_to_pcm16
from getpatter.testing.callers import (
    coughed,
    hummed,
    mumbled,
    syllables,
)
from getpatter.testing.line import (
    Conditions,
    Ear,
    Microphone,
    PlayBuffer,
    Span,
    answer_times,
    spans,
)
from getpatter.testing.twilio_leg import TwilioLeg
from getpatter.types import MULAW_8K, PCM16_16K, Instant

SECOND = b"\x00" * 8000
VOICE = syllables(6, seed=1)


def at(seconds: float) -> Instant:
    return Instant(100 + seconds)


# ----------------------------------------------------------------------------------------- play buffer


def test_audio_is_heard_in_real_time_one_after_the_other() -> None:
    play = PlayBuffer(MULAW_8K, at(0))
    play.play(b"\x01" * 800, at(1))
    play.play(b"\x02" * 800, at(1.05))
    assert [(each.start, each.data[:1]) for each in play.pieces] == [
        (8000, b"\x01"),
        (8800, b"\x02"),
    ]
    assert play.queued_ms(at(1.05)) == 150
    assert play.between(7999, 8801) == b"\xff" + b"\x01" * 800 + b"\x02"
    assert play.heard(at(1.0)) == b"\xff" * 8000


def test_a_mark_returns_when_the_audio_before_it_was_heard() -> None:
    play = PlayBuffer(MULAW_8K, at(0))
    play.play(SECOND, at(0))
    play.mark("end", at(0))
    assert play.next_mark == at(1)
    assert play.marks_played(at(0.999)) == []
    assert play.marks_played(at(1)) == ["end"]
    assert play.marks_played(at(2)) == []


def test_a_mark_with_nothing_queued_returns_at_once() -> None:
    play = PlayBuffer(MULAW_8K, at(0))
    play.mark("now", at(3))
    assert play.marks_played(at(3)) == ["now"]


def test_late_marks_are_late() -> None:
    play = PlayBuffer(MULAW_8K, at(0), mark_delay_ms=250)
    play.mark("late", at(1))
    assert play.marks_played(at(1.2)) == []
    assert play.marks_played(at(1.25)) == ["late"]


def test_clear_drops_what_was_not_heard_and_returns_the_marks() -> None:
    play = PlayBuffer(MULAW_8K, at(0))
    play.play(SECOND, at(0))
    play.mark("one", at(0))
    play.play(SECOND, at(0))
    play.mark("two", at(0))
    assert play.clear(at(0.25)) == ["one", "two"]
    assert play.heard(at(3)) == b"\x00" * 2000 + b"\xff" * 22000
    assert play.queued_ms(at(0.25)) == 0
    play.play(b"\x05" * 8, at(0.5))
    assert play.pieces[-1].start == 4000


def test_half_a_sample_is_not_played() -> None:
    play = PlayBuffer(PCM16_16K, at(0))
    play.play(b"\x01\x02\x03", at(0))
    play.play(b"\x04", at(0))
    assert [each.data for each in play.pieces] == [b"\x01\x02"]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2), st.sampled_from(["play", "clear", "mark"]), st.integers(0, 4000)
        ),
        max_size=30,
    )
)
def test_pieces_never_overlap_and_every_mark_comes_back_once(
    steps: list[tuple[float, str, int]],
) -> None:
    play, now, returned = PlayBuffer(MULAW_8K, at(0)), at(0), list[str]()
    for index, (later, what, size) in enumerate(steps):
        now = Instant(now + later)
        returned += play.marks_played(now)
        if what == "play":
            play.play(b"\x01" * size, now)
        elif what == "mark":
            play.mark(str(index), now)
        else:
            returned += play.clear(now)
    returned += play.marks_played(Instant(now + 20))
    assert returned == [str(index) for index, step in enumerate(steps) if step[1] == "mark"]
    ends = [each.start + len(each.data) for each in play.pieces]
    assert all(each.start >= end for each, end in zip(play.pieces[1:], ends, strict=False))
    heard = play.heard(Instant(now + 20))
    assert heard.count(b"\x01") == sum(len(each.data) for each in play.pieces)


# -------------------------------------------------------------------------------------------- listening


def test_a_microphone_sends_silence_between_words() -> None:
    microphone = Microphone(MULAW_8K)
    microphone.say(b"\x01" * 200)
    assert microphone.frame() == b"\x01" * 160
    assert microphone.is_speaking
    assert microphone.frame() == b"\x01" * 40 + b"\xff" * 120
    assert microphone.frame() == b"\xff" * 160
    assert len(microphone.said) == 480
    microphone.say(SECOND)
    microphone.stop()
    assert not microphone.is_speaking


def test_a_voice_is_found_to_the_sample() -> None:
    pcm = bytes(2 * 1234) + VOICE + bytes(2 * 8000)
    [span] = spans(pcm, 8000)
    assert 1234 <= span.start <= 1234 + 80
    assert abs(span.end - (1234 + len(VOICE) // 2 - 240)) <= 160


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30))
def test_pieces_of_any_size_sound_the_same(sizes: list[int]) -> None:
    pcm = bytes(1000) + VOICE + bytes(4000)
    ear, found, offset = Ear(8000), list[Span](), 0
    for size in sizes:
        found += ear.listen(pcm[offset : offset + 2 * size])
        offset += 2 * size
    found += ear.listen(pcm[offset:])
    assert found == Ear(8000).listen(pcm)
    assert ear.position == len(pcm) // 2


def test_answer_times_are_from_the_end_of_words_to_the_first_sound() -> None:
    said = [Span(0, 800), Span(8000, 9600), Span(20000, 21000), Span(30000, 31000)]
    heard = [Span(2400, 7000), Span(9000, 12000), Span(29000, 29500), Span(31008, 31500)]
    # the second was talked over, the third answered before the fourth was said
    assert answer_times(said, heard, 8000) == [200.0, 1000.0, 1.0]


def test_noises_of_people_are_heard_but_short() -> None:
    for sound, longest in ((coughed(), 600), (mumbled(600), 700), (hummed(500), 520)):
        ear = Ear(8000)
        assert ear.listen(sound)
        assert len(sound) / 16 <= longest
    assert syllables(3, seed=4) == syllables(3, seed=4)


# -------------------------------------------------------------------------------------------- the leg


def new_leg(**options: Any) -> TwilioLeg:
    return TwilioLeg(
        at(0),
        stream_sid="MZ1",
        call_sid="CA1",
        account_sid="AC1",
        parameters={"token": "t"},
        conditions=Conditions(**options),
    )


def events(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


def media(sound: bytes, sid: str = "MZ1") -> str:
    payload = base64.b64encode(sound).decode()
    return json.dumps({"event": "media", "streamSid": sid, "media": {"payload": payload}})


def mark(name: str) -> str:
    return json.dumps({"event": "mark", "streamSid": "MZ1", "mark": {"name": name}})


CLEAR = json.dumps({"event": "clear", "streamSid": "MZ1"})


def test_a_stream_begins_as_documented() -> None:
    connected, start = events(new_leg().tick(at(0)))
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZ1",
        "start": {
            "streamSid": "MZ1",
            "accountSid": "AC1",
            "callSid": "CA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t"},
        },
    }


def test_frames_come_every_20_ms_with_numbers_as_strings() -> None:
    leg = new_leg()
    leg.tick(at(0))
    assert leg.deadline == at(0.02)
    leg.microphone.say(b"\x07" * 160)
    one, two = events(leg.tick(at(0.04)))
    assert one == {
        "event": "media",
        "sequenceNumber": "2",
        "streamSid": "MZ1",
        "media": {
            "track": "inbound",
            "chunk": "1",
            "timestamp": "20",
            "payload": base64.b64encode(b"\x07" * 160).decode(),
        },
    }
    assert (two["sequenceNumber"], two["media"]["chunk"], two["media"]["timestamp"]) == (
        "3",
        "2",
        "40",
    )


def test_keys_are_sent_one_after_the_other() -> None:
    leg = new_leg()
    leg.tick(at(0))
    leg.press("1#", at(0))
    sent = [each for each in events(leg.tick(at(0.3))) if each["event"] == "dtmf"]
    assert [each["dtmf"] for each in sent] == [
        {"track": "inbound_track", "digit": "1"},
        {"track": "inbound_track", "digit": "#"},
    ]
    leg.press("2", at(0.3))
    leg.press("3", at(0.3))
    assert [each["dtmf"]["digit"] for each in events(leg.tick(at(1))) if "dtmf" in each] == [
        "2",
        "3",
    ]


def test_played_marks_come_back_after_their_audio_and_flushed_ones_at_once() -> None:
    leg = new_leg()
    leg.tick(at(0))
    for frame in (media(SECOND), mark("a"), media(SECOND), mark("b")):
        leg.receive(frame, at(0))
    assert [e["mark"]["name"] for e in events(leg.tick(at(1))) if "mark" in e] == ["a"]
    leg.receive(CLEAR, at(1.5))
    assert [e["mark"]["name"] for e in events(leg.tick(at(1.5))) if "mark" in e] == ["b"]
    assert leg.marks_returned == [(at(1), "a"), (at(1.5), "b")]
    assert leg.clears == [at(1.5)]
    assert leg.play.heard(at(3)).count(b"\x00") == 12000
    assert not leg.complaints


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00", 31950),
        ("nonsense", 31950),
        ("[" * 100_000, 31950),
        ("[]", 31951),
        ('{"event":"media"}', 31951),
        ('{"event":"speak","streamSid":"MZ1"}', 31951),
        ('{"event":["media"],"streamSid":"MZ1"}', 31951),
        ('{"event":"clear","streamSid":"MZ1","why":1}', 31951),
        ('{"event":"clear"}', 31951),
        ('{"event":"mark","streamSid":"MZ1","mark":{"name":""}}', 31951),
        ('{"event":"mark","streamSid":"MZ1","mark":{"name":"x","at":1}}', 31951),
        ('{"event":"mark","streamSid":"MZ1","mark":"x"}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":5}}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"/w="}}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"/w==","track":"inbound"}}', 31951),
        (media(b"\xff", "MZ2"), 31951),
        (media(b"RIFF....WAVE"), 31951),
    ],
)
def test_frames_that_break_the_protocol_are_complained_about(frame: str | bytes, code: int) -> None:
    leg = new_leg()
    leg.tick(at(0))
    leg.receive(frame, at(0))
    assert [each.code for each in leg.complaints] == [code]


def test_nothing_may_be_sent_before_start() -> None:
    leg = new_leg()
    leg.receive(media(b"\xff"), at(0))
    assert [each.text for each in leg.complaints] == ["sent before start"]
    assert leg.play.pieces == []


def test_a_stream_ends_once_or_twice() -> None:
    for options, stops in (({}, 1), ({"stops_twice": True}, 2)):
        leg = new_leg(**options)
        leg.tick(at(0))
        leg.stop(at(0.05))
        leg.stop(at(0.05))
        kinds = [each["event"] for each in events(leg.tick(at(0.05)))]
        assert kinds == ["media", "media", *["stop"] * stops]
        assert leg.deadline is None
        leg.receive(b"\x00", at(0.1))
        assert not leg.complaints


def test_jitter_delays_frames_but_keeps_their_order() -> None:
    leg, now, chunks = new_leg(jitter_ms=200, seed=7), at(0), list[int]()
    late = 0.0
    while now < at(4):
        for each in events(leg.tick(now)):
            if each["event"] == "media":
                chunks.append(int(each["media"]["chunk"]))
                late = max(late, now - at(0) - int(each["media"]["timestamp"]) / 1000)
        deadline = leg.deadline
        assert deadline is not None
        now = deadline
    assert chunks == list(range(1, len(chunks) + 1))
    assert len(chunks) > 185
    assert 0.1 < late < 0.25


def test_lost_frames_leave_holes_in_the_chunk_numbers_only() -> None:
    leg = new_leg(loss=0.3, seed=3)
    sent = events(leg.tick(at(10)))
    chunks = [int(each["media"]["chunk"]) for each in sent if each["event"] == "media"]
    assert 300 < len(chunks) < 400
    assert [int(each["sequenceNumber"]) for each in sent[1:]] == list(range(1, len(sent)))
    assert len(leg.microphone.said) == 80_000


def test_silence_is_silence_in_mulaw() -> None:
    assert mulaw_to_pcm16(PlayBuffer(MULAW_8K, at(0)).heard(at(0.01))) == bytes(160)
