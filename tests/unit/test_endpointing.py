"""When the caller has finished, and which words are theirs."""

from __future__ import annotations

import pytest

from getpatter.core.endpointing import Endpointing, Verdict, is_murmur
from getpatter.models import Transcript
from getpatter.types import Instant


def final(text: str, *, ends: bool = False) -> Transcript:
    return Transcript(text, is_final=True, confidence=0.8, speech_final=ends)


def interim(text: str) -> Transcript:
    return Transcript(text, is_final=False)


def completes(words: Endpointing, at: float) -> bool:
    """Whether the turn is complete at `at`, and not a moment before."""
    assert words.deadline == pytest.approx(at)
    assert words.verdict(Instant(at - 0.01)) is Verdict.WAIT
    return words.verdict(Instant(at)) is Verdict.COMPLETE


def test_silence_is_nothing() -> None:
    words = Endpointing()
    assert words.verdict(Instant(9.0)) is Verdict.NOTHING
    assert words.deadline is None


def test_the_end_of_turn_of_the_recogniser_is_taken_at_once() -> None:
    words = Endpointing()
    words.speech_started(Instant(0.0))
    words.transcribed(final("A table for two", ends=True), Instant(1.0))
    assert words.deadline == 1.0
    assert words.verdict(Instant(1.0)) is Verdict.COMPLETE
    assert words.confidence == 0.8
    assert words.final_at == 1.0
    assert words.take() == "A table for two"
    assert words.verdict(Instant(2.0)) is Verdict.NOTHING


def test_an_end_of_turn_without_words_ends_nothing() -> None:
    words = Endpointing()
    words.transcribed(final("", ends=True), Instant(1.0))
    words.transcribed(interim("Well"), Instant(2.0))
    assert words.verdict(Instant(2.1)) is Verdict.WAIT


def test_a_final_after_the_voice_is_taken_at_once() -> None:
    words = Endpointing()
    words.speech_started(Instant(0.0))
    assert words.is_speaking
    words.speech_stopped(Instant(1.0))
    words.transcribed(final("Yes."), Instant(1.3))
    assert words.verdict(Instant(1.3)) is Verdict.COMPLETE


def test_finals_of_one_turn_are_joined() -> None:
    words = Endpointing()
    words.transcribed(final("A table"), Instant(1.0))
    words.transcribed(final("for two."), Instant(2.0))
    assert words.text == "A table for two."
    assert completes(words, 3.5)


def test_unconfirmed_words_are_taken_in_the_end() -> None:
    words = Endpointing()
    words.speech_started(Instant(0.0))
    words.transcribed(interim("A table"), Instant(0.5))
    words.speech_stopped(Instant(1.0))
    assert completes(words, 2.0)


def test_noise_does_not_keep_words_waiting_for_ever() -> None:
    words = Endpointing()
    words.speech_started(Instant(0.0))
    words.transcribed(final("Hello?"), Instant(1.0))
    assert completes(words, 5.0)


def test_a_sound_without_words_is_empty() -> None:
    words = Endpointing()
    words.speech_started(Instant(0.0))
    words.speech_stopped(Instant(0.3))
    assert words.deadline == pytest.approx(1.8)
    assert words.verdict(Instant(1.7)) is Verdict.WAIT
    assert words.verdict(Instant(1.8)) is Verdict.EMPTY


def test_a_sound_that_never_ends_is_the_line() -> None:
    words = Endpointing()
    words.speech_started(Instant(1.0))
    assert words.verdict(Instant(15.9)) is Verdict.WAIT
    assert words.verdict(Instant(16.0)) is Verdict.EMPTY


def test_punctuation_is_no_turn() -> None:
    words = Endpointing()
    words.transcribed(final("..."), Instant(1.0))
    assert not words.has_words
    assert words.deadline is None
    assert words.verdict(Instant(9.0)) is Verdict.WAIT
    words.interrupted(Instant(9.0))
    assert words.verdict(Instant(10.5)) is Verdict.EMPTY


def test_an_interruption_too_short_for_the_detector_is_a_sound() -> None:
    words = Endpointing()
    words.interrupted(Instant(1.0))
    assert words.verdict(Instant(2.5)) is Verdict.EMPTY
    words.speech_started(Instant(3.0))
    words.interrupted(Instant(3.3))
    assert words.stopped_at is None


def test_yes_said_twice_is_heard_twice() -> None:
    words = Endpointing()
    words.transcribed(final("Yes."), Instant(1.0))
    words.transcribed(final("Yes."), Instant(1.4))
    assert words.take() == "Yes. Yes."
    words.transcribed(final("Yes."), Instant(2.0))
    assert words.take() == "Yes."


def test_words_are_not_answered_again_when_they_are_confirmed_late() -> None:
    words = Endpointing()
    words.transcribed(interim("a table for"), Instant(1.0))
    assert words.take() == "a table for"
    assert words.transcribed(interim("A table, for two"), Instant(2.0)) == "two"
    assert words.transcribed(final("A table, for two."), Instant(2.2)) == "two."
    assert words.take() == "two."


def test_a_late_final_that_says_something_else_is_heard() -> None:
    words = Endpointing()
    words.transcribed(interim("a cable"), Instant(1.0))
    words.take()
    assert words.transcribed(final("A table."), Instant(2.0)) == "A table."


def test_what_is_said_anew_is_no_confirmation() -> None:
    words = Endpointing()
    words.transcribed(interim("yes"), Instant(1.0))
    words.take()
    words.speech_started(Instant(3.0))
    assert words.transcribed(final("Yes."), Instant(3.5)) == "Yes."


def test_number_of_keys_is_one_turn() -> None:
    words = Endpointing()
    words.pressed("1", Instant(1.0))
    words.pressed("2", Instant(2.4))
    assert completes(words, 3.9)
    assert words.take() == "[DTMF: 12]"


def test_the_hash_key_ends_the_number() -> None:
    words = Endpointing()
    words.transcribed(interim("My number"), Instant(0.5))
    words.pressed("7", Instant(1.0))
    words.pressed("#", Instant(1.2))
    assert words.verdict(Instant(1.2)) is Verdict.COMPLETE
    assert words.take() == "My number [DTMF: 7#]"


def test_a_murmur_under_the_agent_is_kept_and_not_answered() -> None:
    words = Endpointing()
    words.transcribed(final("Mm-hm."), Instant(1.0))
    words.set_aside_murmur(Instant(2.0), "en-GB")
    assert words.text == "Mm-hm.", "said right at the end, it may be an answer"
    words.set_aside_murmur(Instant(3.0), "en-GB")
    assert words.verdict(Instant(9.0)) is Verdict.NOTHING
    words.transcribed(final("And two chairs."), Instant(9.0))
    assert words.take() == "Mm-hm. And two chairs."


def test_a_murmur_with_a_key_or_a_voice_is_answered() -> None:
    words = Endpointing()
    words.set_aside_murmur(Instant(1.0), "en")
    words.transcribed(final("Okay"), Instant(1.0))
    words.pressed("1", Instant(1.0))
    words.set_aside_murmur(Instant(9.0), "en")
    assert words.text == "Okay [DTMF: 1]"


@pytest.mark.parametrize(
    ("text", "language", "is_one"),
    [
        ("Mm, okay", "en", True),
        ("sì", "it-IT", True),
        ("yes", "en", False),
        ("", "en", False),
        ("okay", "xx", True),
    ],
)
def test_what_a_murmur_is(text: str, language: str, is_one: bool) -> None:
    assert is_murmur(text, language) is is_one
