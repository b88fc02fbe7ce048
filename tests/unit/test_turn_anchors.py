"""From when a turn's latency counts: the end of these words, whoever noticed it, and never of others."""

from __future__ import annotations

import pytest

from getpatter.core import messages as m
from getpatter.core.ledger import latency_of
from tests.support.conversation import opened

FRAME_S = 0.032


def test_a_key_is_not_measured_from_words_of_long_ago() -> None:
    call = opened()
    call.says(1.0, "Two rolls")
    call.run(15)
    call.at(15.5, m.KeyPressed("1"))
    call.run(30)
    words, key = call.turns
    assert words.speech_ended == pytest.approx(102.0, abs=2 * FRAME_S)
    assert key.user_text == "[DTMF: 1]"
    assert (key.speech_began, key.speech_ended) == (None, None)
    assert latency_of(key).total_ms == 0.0, "nobody spoke: not observed"
    assert latency_of(key).agent_response_ms == pytest.approx(400, abs=1)


def test_a_recogniser_that_is_sure_before_the_detector_has_its_own_end_of_speech() -> None:
    """Its turn is over 150 ms after the last word; the detector waits for 400 ms of silence."""
    call = opened()
    for start in (1.0, 15.0):
        call.sounds(start, 1.0)
        done = m.Transcribed("Two rolls", is_final=True, speech_final=True, confidence=0.9)
        call.at(start + 1.15, done)
        call.run(start + 12)
    first, second = call.turns
    for turn, ended in ((first, 102.0), (second, 116.0)):
        assert turn.speech_ended == pytest.approx(ended, abs=2 * FRAME_S)
        assert turn.committed_at == pytest.approx(ended + 0.15)
        assert latency_of(turn).total_ms == pytest.approx(550, abs=70)


def test_a_detector_of_the_programs_own_that_is_late_leaves_the_end_unknown() -> None:
    call = opened()
    for start in (1.0, 15.0):
        call.at(start, m.VoiceStarted())
        done = m.Transcribed("Two rolls", is_final=True, speech_final=True, confidence=0.9)
        call.at(start + 1.15, done)
        call.at(start + 1.4, m.VoiceStopped(ago_ms=400))
        call.run(start + 12)
    assert [turn.speech_ended for turn in call.turns] == [None, None]
    assert [turn.speech_began for turn in call.turns] == [101.0, 115.0]
