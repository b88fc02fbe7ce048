"""What interrupts the agent, and what does not."""

from __future__ import annotations

import pytest

from getpatter.core.barge_in import BargeIn


def feed(barge_in: BargeIn, *runs: tuple[float, int]) -> int | None:
    """Frames of 32 ms; returns the number of the one that interrupts."""
    number = 0
    for probability, count in runs:
        for _ in range(count):
            number += 1
            if barge_in.voice(probability, 32.0):
                return number
    return None


def test_coughs_do_not_interrupt() -> None:
    assert feed(BargeIn(300.0), (0.9, 6), (0.0, 5), (0.9, 6), (0.0, 5), (0.9, 6)) is None


def test_a_steady_voice_interrupts_on_time() -> None:
    assert feed(BargeIn(300.0), (0.9, 30)) == 8  # 256 ms: the last one that is heard before 300
    assert feed(BargeIn(200.0), (0.9, 30)) == 5
    assert feed(BargeIn(1000.0), (0.9, 60)) == 30


def test_a_plosive_does_not_start_the_count_again() -> None:
    assert feed(BargeIn(300.0), (0.9, 4), (0.0, 2), (0.9, 10)) == 8


def test_one_burst_interrupts_once() -> None:
    barge_in = BargeIn(100.0)
    assert [barge_in.voice(0.9, 32.0) for _ in range(8)].count(True) == 1
    assert barge_in.is_reached


@pytest.mark.parametrize("threshold", [0.0, 5000.0])
def test_whoever_switched_it_off_is_not_interrupted(threshold: float) -> None:
    barge_in = BargeIn(threshold)
    assert feed(barge_in, (1.0, 100)) is None
    assert not barge_in.words(12, None)
    assert not barge_in.is_reached


def test_words_that_only_the_recogniser_heard_interrupt() -> None:
    barge_in = BargeIn(300.0)
    assert not barge_in.words(1, None)
    assert barge_in.words(2, None)
    assert not barge_in.words(2, 120.0)
    assert barge_in.words(1, 400.0)


def test_words_interrupt_on_a_noisy_line_too() -> None:
    barge_in = BargeIn(300.0)
    feed(barge_in, (0.9, 12))
    assert barge_in.is_reached
    assert barge_in.words(3, None)
    barge_in.reset()
    assert barge_in.speech_ms == 0


LOUD, NOISE = 1e-2, 1e-6
VOWEL, HUM = 0.3, 0.02


def hear(
    barge_in: BargeIn, *runs: tuple[float, float, int], brightness: float = VOWEL
) -> int | None:
    """Runs of (probability, power, frames of 32 ms) on a line with noise; the frame that interrupts."""
    number = 0
    for _ in range(10):
        assert not barge_in.voice(0.01, 32.0, (NOISE,) * 4, 2.0)
    for probability, power, count in runs:
        for _ in range(count):
            number += 1
            if barge_in.voice(probability, 32.0, (power,) * 4, brightness):
                return number
    return None


def test_what_the_detector_hears_after_the_sound_is_no_part_of_it() -> None:
    assert hear(BargeIn(300.0), (0.9, LOUD, 5), (0.9, NOISE, 5), (0.1, NOISE, 5)) is None
    assert feed(BargeIn(300.0), (0.9, 10)) == 8, "as it would be by the detector alone"


def test_the_sound_before_the_detector_was_sure_is_part_of_the_word() -> None:
    assert hear(BargeIn(300.0), (0.2, LOUD, 4), (0.9, LOUD, 10)) == 8


def test_noise_before_a_word_is_part_of_it_for_a_sixth_of_a_second_at_most() -> None:
    assert hear(BargeIn(300.0), (0.1, LOUD, 20), (0.9, LOUD, 10)) == 23


def test_a_hum_never_interrupts_and_the_word_after_it_does_at_once() -> None:
    humming = BargeIn(300.0)
    assert hear(humming, (0.9, LOUD, 40), brightness=HUM) is None
    assert not humming.voice(0.9, 32.0, (LOUD,) * 4, VOWEL)
    assert humming.voice(0.9, 32.0, (LOUD,) * 4, VOWEL)


def test_a_breath_inside_a_hum_is_no_open_mouth() -> None:
    barge_in = BargeIn(300.0)
    for _ in range(10):
        barge_in.voice(0.01, 32.0, (NOISE,) * 4, 2.0)
    for power, brightness in [(LOUD, HUM)] * 8 + [(LOUD / 100, 1.0)] * 3 + [(LOUD, HUM)] * 8:
        assert not barge_in.voice(0.9, 32.0, (power,) * 4, brightness)


def test_a_line_that_hisses_is_not_a_sound() -> None:
    barge_in = BargeIn(300.0)
    hiss = 1e-4
    for _ in range(100):
        assert not barge_in.voice(0.1, 32.0, (hiss,) * 4, 2.0)
    for _ in range(20):
        assert not barge_in.voice(0.9, 32.0, (hiss * 2,) * 4, VOWEL)
    heard = [barge_in.voice(0.9, 32.0, (LOUD,) * 4, VOWEL) for _ in range(10)]
    assert heard.index(True) == 7, "a voice is one there too"


def test_sure_by_one_frame_is_not_sure() -> None:
    assert hear(BargeIn(300.0), (0.2, LOUD, 4), (0.9, LOUD, 1), (0.2, LOUD, 8)) is None


@pytest.mark.parametrize(("threshold", "frame"), [(20.0, 1), (100.0, 2), (200.0, 5), (500.0, 14)])
def test_every_threshold_has_its_effect(threshold: float, frame: int) -> None:
    assert hear(BargeIn(threshold), (0.9, LOUD, 40)) == frame
