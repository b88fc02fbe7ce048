"""The edges of speech, as lists of numbers: a frame is 32 ms unless a test says otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.speech_gate import SpeechGate, SpeechStarted, SpeechStopped
from getpatter.types import StreamMs

FRAME = 32.0


def started(at: float, ago_ms: float, probability: float) -> SpeechStarted:
    return SpeechStarted(StreamMs(at), ago_ms, probability)


def feed(
    gate: SpeechGate, probabilities: list[float], frame_ms: float = FRAME
) -> list[SpeechStarted | SpeechStopped]:
    edges = (gate.feed(probability, frame_ms) for probability in probabilities)
    return [edge for edge in edges if edge is not None]


def test_speech_is_reported_with_the_moment_it_began() -> None:
    gate = SpeechGate(min_speech_ms=250)
    edges = feed(gate, [0.0] * 10 + [0.8] * 4 + [0.9] * 4)
    assert edges == [started(at=320.0, ago_ms=256.0, probability=0.9)]
    assert gate.is_speech
    assert gate.speech_ms == 256


def test_the_end_is_reported_with_the_moment_of_the_last_speech() -> None:
    gate = SpeechGate(min_speech_ms=250, min_silence_ms=400)
    edges = feed(gate, [0.9] * 20 + [0.1] * 13)
    assert edges[1:] == [SpeechStopped(StreamMs(640.0), ago_ms=416.0, lasted_ms=640.0)]
    assert not gate.is_speech
    assert gate.silence_ms == 416


def test_a_burst_that_is_too_short_is_nothing() -> None:
    gate = SpeechGate(min_speech_ms=250)
    assert feed(gate, ([0.9] * 7 + [0.0] * 8) * 20) == []
    assert not gate.is_speech


def test_the_closure_of_a_plosive_does_not_start_the_count_again() -> None:
    gate = SpeechGate(min_speech_ms=250)
    (edge,) = feed(gate, [0.9] * 4 + [0.0] * 3 + [0.9] * 4)
    assert edge == started(at=0.0, ago_ms=11 * FRAME, probability=0.9)


def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    gate = SpeechGate(min_silence_ms=400)
    assert len(feed(gate, [0.9] * 10 + ([0.0] * 12 + [0.9]) * 10)) == 1
    assert gate.is_speech


def test_speech_goes_on_between_the_two_thresholds_but_does_not_begin_there() -> None:
    gate = SpeechGate(threshold=0.5, deactivation=0.35)
    assert feed(gate, [0.4] * 30) == []
    assert feed(gate, [0.9] + [0.4] * 30) == [started(30 * FRAME, 8 * FRAME, 0.9)]
    assert isinstance(feed(gate, [0.34] * 13)[0], SpeechStopped)


def test_the_padding_moves_the_beginning_but_not_before_the_stream() -> None:
    gate = SpeechGate(min_speech_ms=64, padding_ms=30)
    (edge,) = feed(gate, [0.9] * 2)
    assert edge.at == 0.0
    gate = SpeechGate(min_speech_ms=64, padding_ms=30)
    (edge,) = feed(gate, [0.0, 0.9, 0.9])
    assert edge == started(at=2.0, ago_ms=94.0, probability=0.9)


def test_with_no_lengths_every_frame_counts() -> None:
    gate = SpeechGate(min_speech_ms=0, min_silence_ms=0)
    edges = feed(gate, [0.9, 0.0, 0.9], 20)
    assert [type(edge) for edge in edges] == [SpeechStarted, SpeechStopped, SpeechStarted]
    assert [edge.at for edge in edges] == [0.0, 20.0, 40.0]


def test_a_reset_is_silence_and_keeps_the_place_in_the_stream() -> None:
    gate = SpeechGate(min_speech_ms=64)
    feed(gate, [0.9] * 10)
    gate.reset()
    assert not gate.is_speech
    assert gate.speech_ms == gate.silence_ms == 0
    (edge,) = feed(gate, [0.9] * 2)
    assert edge.at == 320.0
    assert gate.heard_ms == 384.0


@pytest.mark.parametrize(
    "settings",
    [
        {"min_speech_ms": -1.0},
        {"min_silence_ms": -1.0},
        {"padding_ms": -1.0},
        {"threshold": 1.1},
        {"threshold": 0.5, "deactivation": 0.6},
        {"deactivation": -0.1},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"thresholds|negative"):
        SpeechGate(**settings)


@pytest.mark.parametrize(
    ("threshold", "lower"), [(0.5, 0.35), (0.8, 0.65), (0.1, 0.01), (0.0, 0.0)]
)
def test_the_lower_threshold_follows_the_higher(threshold: float, lower: float) -> None:
    assert SpeechGate(threshold=threshold).deactivation == pytest.approx(lower)


@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=200),
    min_speech=st.sampled_from([0.0, 100.0, 250.0]),
    min_silence=st.sampled_from([0.0, 100.0, 400.0]),
    frame=st.sampled_from([10.0, 20.0, 32.0]),
)
def test_edges_alternate_move_forward_and_lie_on_frames(
    probabilities: list[float], min_speech: float, min_silence: float, frame: float
) -> None:
    gate = SpeechGate(min_speech_ms=min_speech, min_silence_ms=min_silence)
    before = -1.0
    is_speech = False
    for number, probability in enumerate(probabilities, 1):
        edge = gate.feed(probability, frame)
        if edge is None:
            continue
        assert isinstance(edge, SpeechStopped) is is_speech
        is_speech = not is_speech
        assert edge.at > before
        assert edge.at % frame == 0
        assert edge.at + edge.ago_ms == number * frame
        before = edge.at
    assert gate.is_speech is is_speech
