"""Cutting a stream into utterances, and telling what was said from what was invented."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.audio.convert import converter
from getpatter.audio.wav import read_wav
from getpatter.stt._buffered import Cutter, Understood, Utterance, is_invented
from getpatter.testing.providers import buzz
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat


def quiet(lasts_ms: float) -> bytes:
    return MULAW_8K.silence * MULAW_8K.size(lasts_ms)


def syllables(lasts_ms: float) -> bytes:
    """Louder and softer by turns, as speech is."""
    soft = bytes(code | 0x30 for code in buzz(60))
    return (buzz(120) + soft) * round(lasts_ms / 180)


def heard(audio: bytes, *, finalize: bool = False) -> list[Utterance]:
    cutter = Cutter(MULAW_8K)
    found = cutter.push(audio)
    last = cutter.finalize() if finalize else None
    return [*found, last] if last is not None else found


def test_an_utterance_is_cut_where_the_voice_stops() -> None:
    first, second = heard(quiet(1000) + buzz(800) + quiet(1000) + buzz(400) + quiet(1000))
    assert (first.start_ms, first.end_ms) == (1000, 1800)
    assert (second.start_ms, second.end_ms) == (2800, 3200)
    assert not first.is_confirmed


def test_a_pause_within_a_sentence_does_not_cut_it() -> None:
    (whole,) = heard(buzz(500) + quiet(500) + buzz(500) + quiet(1000))
    assert whole.voiced_ms == pytest.approx(1000, abs=40)


def test_the_beginning_of_the_first_word_is_not_lost() -> None:
    (whole,) = heard(quiet(1000) + buzz(500) + quiet(800))
    assert MULAW_8K.ms(len(whole.audio)) >= 200 + 500


def test_the_detector_of_the_call_cuts_at_once() -> None:
    (whole,) = heard(quiet(500) + buzz(500), finalize=True)
    assert whole.is_confirmed
    assert heard(quiet(2000), finalize=True) == []


def test_what_was_cut_is_not_cut_again() -> None:
    assert len(heard(buzz(500) + quiet(1500), finalize=True)) == 1


def test_a_monologue_is_cut_before_it_is_too_long_to_ask_about() -> None:
    found = heard(syllables(60_000))
    assert len(found) == 2
    assert all(each.lasts_s < 30 for each in found)


def test_silence_and_soft_noise_are_nothing() -> None:
    hiss = random.Random(1)
    noise = bytes(hiss.choice((0x7E, 0xFE, 0x7F, 0xFF)) for _ in range(MULAW_8K.size(5000)))
    assert heard(quiet(5000)) == []
    assert heard(noise) == []


def test_a_noise_that_goes_on_becomes_the_background() -> None:
    hum = bytes((0x50, 0xD0)) * (MULAW_8K.size(60_000) // 2)
    after = heard(hum + syllables(900) + hum[: MULAW_8K.size(1000)])
    assert len(after) <= 4


@pytest.mark.parametrize("audio_format", [MULAW_8K, PCM16_8K, PCM16_16K], ids=str)
def test_an_utterance_is_a_wav_file_of_its_rate(audio_format: AudioFormat) -> None:
    change = converter(MULAW_8K, audio_format)
    cutter = Cutter(audio_format)
    (found,) = cutter.push(change.convert(buzz(600) + quiet(1000)) + change.flush())
    wav = read_wav(found.wav())
    assert wav.sample_rate == audio_format.sample_rate
    assert wav.lasts_ms == pytest.approx(found.lasts_s * 1000, abs=5)


@given(cuts=st.lists(st.integers(0, 20_000), max_size=8))
def test_the_size_of_chunks_never_matters(cuts: list[int]) -> None:
    audio = quiet(400) + buzz(600) + quiet(900) + buzz(300) + quiet(900)
    cutter = Cutter(MULAW_8K)
    edges = [0, *sorted(min(cut, len(audio)) for cut in cuts), len(audio)]
    found: list[Utterance] = []
    for start, end in pairwise(edges):
        found += cutter.push(audio[start:end])
    assert found == heard(audio)


# ------------------------------------------------------------------------------------------ inventions


def utterance(
    *, voiced_ms: float = 900, spread_db: float = 6, is_confirmed: bool = False
) -> Utterance:
    return Utterance(b"", MULAW_8K, 0, 1000, voiced_ms, spread_db, is_confirmed)


CLICK = utterance(voiced_ms=60)
HUM = utterance(spread_db=0.3)
SPOKEN = utterance()
DETECTED_CLICK = utterance(voiced_ms=60, is_confirmed=True)


@pytest.mark.parametrize("text", ["Thank you.", "Thanks for watching!", " you ", "Bye-bye."])
@pytest.mark.parametrize("what", [CLICK, HUM], ids=["click", "hum"])
def test_polite_phrases_for_no_speech_are_invented(text: str, what: Utterance) -> None:
    assert is_invented(Understood(text), what)


@pytest.mark.parametrize("text", ["Thank you.", "Bye.", "Okay."])
@pytest.mark.parametrize("what", [SPOKEN, DETECTED_CLICK], ids=["spoken", "detected"])
def test_the_same_phrases_really_said_are_kept(text: str, what: Utterance) -> None:
    assert not is_invented(Understood(text), what)


def test_other_words_are_always_kept() -> None:
    for what in (CLICK, HUM, SPOKEN):
        assert not is_invented(Understood("Yes."), what)
        assert not is_invented(Understood("No."), what)


def test_text_without_letters_is_nothing() -> None:
    for text in ("", " . ", "♪♪", "..."):
        assert is_invented(Understood(text), SPOKEN)


def test_the_vendors_own_doubt_counts() -> None:
    assert is_invented(Understood("Thank you.", no_speech=0.95), SPOKEN)
    assert not is_invented(Understood("Tomorrow.", no_speech=0.95), SPOKEN)
