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
    assert feed(BargeIn(300.0), (0.9, 30)) == 9  # 288 ms: the frame nearest to 300


def test_a_plosive_does_not_start_the_count_again() -> None:
    assert feed(BargeIn(300.0), (0.9, 4), (0.0, 2), (0.9, 10)) == 9


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
