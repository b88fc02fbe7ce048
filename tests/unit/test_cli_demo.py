"""The demo's parts: the desk, the turns, and the ear that looks for words in a sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from getpatter import CallControl
from getpatter.cli.demo import _Demo, _remarks
from getpatter.cli.demo_call import Act, Line, Outcome, script_steps
from getpatter.cli.demo_desk import GREETING, HOURS, WHICH_DAY, WHICH_HALF, AppointmentDesk
from getpatter.cli.demo_turns import Turn, is_heard, likeness, sentences, turns_of
from getpatter.cli.screen import Screen
from getpatter.testing.callers import syllables
from getpatter.testing.line import Tape

RATE = 8000


class _Line:
    is_over = False
    is_handed_over = False

    def __init__(self) -> None:
        self.hang_ups: list[str] = []

    async def hang_up(self) -> None:
        self.hang_ups.append("asked")

    async def transfer(self, number: str, **options: Any) -> dict[str, object]:
        raise NotImplementedError

    async def send_dtmf(self, digits: str, *, delay_ms: int) -> None:
        raise NotImplementedError

    async def collect_digits(self, most: int | None, *, finish_on: str, patience: float) -> str:
        raise NotImplementedError


class _Caller:
    """Talks to a desk."""

    def __init__(self, desk: AppointmentDesk, call_id: str = "CA1") -> None:
        self.line = _Line()
        self._desk = desk
        self._call = CallControl(
            self.line, call_id=call_id, caller="", callee="", telephony_provider=""
        )

    async def says(self, text: str) -> str:
        message = {"text": text, "call_id": self._call.call_id}
        return await self._desk.on_message(message, self._call)


async def test_the_desk_books_what_was_chosen_last() -> None:
    caller = _Caller(AppointmentDesk())
    assert await caller.says("I would like to book an appointment") == WHICH_DAY
    assert await caller.says("on Tuesday please") == f"Tuesday it is. {HOURS} {WHICH_HALF}"
    assert await caller.says("make it thursday instead") == f"Thursday then. {WHICH_HALF}"
    assert await caller.says("[DTMF: 1]") == "Thursday morning. Is that right?"
    assert not caller.line.hang_ups
    assert await caller.says("yes") == "You are booked for Thursday morning. Goodbye!"
    assert caller.line.hang_ups == ["asked"]


async def test_the_desk_asks_again_after_a_no() -> None:
    caller = _Caller(AppointmentDesk())
    await caller.says("friday")
    assert await caller.says("[DTMF: 2]") == "Friday afternoon. Is that right?"
    assert await caller.says("that is not right") == WHICH_DAY
    assert await caller.says("in the morning") == WHICH_DAY, "the day is forgotten too"
    assert await caller.says("when are you open") == HOURS
    assert not caller.line.hang_ups


async def test_the_desk_keeps_callers_apart() -> None:
    desk = AppointmentDesk()
    one, two = _Caller(desk, "CA1"), _Caller(desk, "CA2")
    await one.says("monday")
    assert await two.says("in the morning") == WHICH_DAY
    assert await one.says("in the morning") == "Monday morning. Is that right?"
    assert await two.says("thank you goodbye") == "Goodbye!"
    assert two.line.hang_ups == ["asked"]
    assert not one.line.hang_ups


def test_sentences() -> None:
    assert sentences(GREETING) == ["Hello, this is the appointment desk.", "How can I help you?"]
    assert sentences("") == []


# ----------------------------------------------------------------------------------------- the witness

WORDS = syllables(8, seed=5)
SILENCE = bytes(2 * RATE)


def _noisy(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, np.int16)
    noise = np.random.default_rng(1).normal(0, 30, samples.size)
    return np.clip(samples + noise, -32768, 32767).astype(np.int16).tobytes()


def test_words_are_found_anywhere_in_a_sound() -> None:
    for heard in (
        WORDS,
        SILENCE + WORDS + SILENCE,
        syllables(5, seed=9) + SILENCE + WORDS + syllables(9, seed=3),
    ):
        assert likeness(WORDS, heard) > 0.98


def test_a_line_with_noise_is_no_reason_to_miss_them() -> None:
    assert is_heard(WORDS, _noisy(SILENCE + WORDS + SILENCE))


def test_other_words_silence_and_halves_are_not_taken_for_them() -> None:
    half = WORDS[: len(WORDS) // 4 * 2]
    for heard in (b"", SILENCE, syllables(8, seed=6), half, half + SILENCE, SILENCE + half):
        assert not is_heard(WORDS, heard)
    assert not is_heard(b"", WORDS)


def test_a_hole_of_200_ms_is_noticed() -> None:
    heard = bytearray(SILENCE + WORDS)
    hole = len(SILENCE) + len(WORDS) // 2
    heard[hole : hole + 3200] = bytes(3200)
    assert not is_heard(WORDS, bytes(heard))


# ------------------------------------------------------------------------------------------- the turns


def _tape(said: list[tuple[int, int]], heard: list[tuple[int, int]]) -> Tape:
    """Who was audible when, in milliseconds."""

    def sound(spans: list[tuple[int, int]]) -> bytes:
        samples = np.zeros(10 * RATE, np.int16)
        for start, end in spans:
            samples[start * 8 : end * 8] = 8000
        return samples.tobytes()

    tape = Tape.__new__(Tape)
    tape.sample_rate, tape.said, tape.heard = RATE, sound(said), sound(heard)
    return tape


def _outcome(*acts: Act, lines: list[Line]) -> Outcome:
    outcome = Outcome.__new__(Outcome)
    outcome.acts, outcome.lines = list(acts), lines
    return outcome


def test_an_answer_is_timed_from_the_last_sound_of_the_caller() -> None:
    outcome = _outcome(
        Act("hello", is_key=False, is_interruption=False, began_ms=1000, ended_ms=2400),
        Act("1", is_key=True, is_interruption=False, began_ms=5000, ended_ms=5000),
        lines=[
            Line("assistant", "Hi.", is_interrupted=False, at_ms=900),
            Line("user", "hello", is_interrupted=False, at_ms=2350),
            Line("assistant", "Yes?", is_interrupted=False, at_ms=4000),
            Line("user", "[DTMF: 1]", is_interrupted=False, at_ms=6500),
            Line("assistant", "One.", is_interrupted=False, at_ms=8000),
        ],
    )
    tape = _tape([(1100, 2000)], [(100, 800), (2640, 4000), (6600, 7800)])
    greeting, hello, key = turns_of(outcome, tape)
    assert (greeting.answer, greeting.understood, greeting.answered_ms) == ("Hi.", [], None)
    assert (hello.answer, hello.understood) == ("Yes?", ["hello"])
    assert hello.answered_ms == pytest.approx(640, abs=1)
    assert (key.answer, key.understood) == ("One.", ["[DTMF: 1]"])
    assert key.answered_ms == pytest.approx(1600, abs=1)


def test_an_interruption_is_timed_until_the_agent_is_silent() -> None:
    outcome = _outcome(
        Act("tell me", is_key=False, is_interruption=False, began_ms=1000, ended_ms=2000),
        Act("stop", is_key=False, is_interruption=True, began_ms=4000, ended_ms=5200),
        lines=[
            Line("user", "tell me", is_interrupted=False, at_ms=2100),
            Line("assistant", "Once upon", is_interrupted=True, at_ms=4400),
            Line("user", "stop", is_interrupted=False, at_ms=5100),
            Line("assistant", "Fine.", is_interrupted=False, at_ms=7000),
        ],
    )
    tape = _tape([(1000, 2000), (4050, 5000)], [(2500, 4430), (5600, 6500)])
    _, first, second = turns_of(outcome, tape)
    assert first.was_cut
    assert first.answered_ms == pytest.approx(500, abs=1)
    assert second.stopped_ms == pytest.approx(380, abs=1)
    assert second.answered_ms == pytest.approx(600, abs=1)
    assert not second.was_cut


def test_a_stream_that_was_held_up_is_measured_all_the_same() -> None:
    """The carrier catches up on frames that are due: the words then begin before the act was noted."""
    outcome = _outcome(
        Act("on tuesday", is_key=False, is_interruption=False, began_ms=1000, ended_ms=2000),
        Act("stop", is_key=False, is_interruption=True, began_ms=4200, ended_ms=5200),
        lines=[],
    )
    tape = _tape([(1000, 1900), (4050, 5000)], [(2500, 4430), (5600, 6500)])
    _, first, second = turns_of(outcome, tape)
    assert first.answered_ms == pytest.approx(600, abs=1)
    assert second.stopped_ms == pytest.approx(380, abs=1)
    assert second.answered_ms == pytest.approx(600, abs=1)


def test_who_is_not_answered_has_no_time() -> None:
    outcome = _outcome(
        Act("hello", is_key=False, is_interruption=False, began_ms=1000, ended_ms=2000),
        Act("hello?", is_key=False, is_interruption=False, began_ms=4000, ended_ms=5000),
        lines=[],
    )
    _, first, second = turns_of(outcome, _tape([(1000, 2000), (4000, 5000)], [(6000, 7000)]))
    assert first.answered_ms is None
    assert first.understood == []
    assert second.answered_ms == pytest.approx(1000, abs=1)


# ------------------------------------------------------------------------------------------ the telling


def test_a_call_that_never_connects_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = _outcome(lines=[])
    outcome.problems = ["CA1234: 31920 the upgrade was answered 503"]
    outcome.failure = "on_call_end was not called"
    show = _Demo(script_steps, 1.0, tmp_path, tmp_path / "call.wav", Screen(), is_scripted=True)
    assert not show._never_connected(outcome)
    told = capsys.readouterr()
    assert "FAILED  CA1234: 31920 the upgrade was answered 503" in told.out
    assert "FAILED  on_call_end was not called" in told.out
    assert told.err == "getpatter: the call did not go as it should: the call was connected\n"


def _turn(*, answered_ms: float | None, is_key: bool = False, understood: str = "yes") -> Turn:
    act = Act("yes", is_key=is_key, is_interruption=False, began_ms=0, ended_ms=1)
    return Turn(act, [understood] if understood else [], [], answered_ms)


def test_remarks_fit_the_call() -> None:
    assert _remarks([Turn(None)]) == []
    (one,) = _remarks([_turn(answered_ms=501.4)])
    assert one.startswith("Answers began 501 ms after")
    (several,) = _remarks([_turn(answered_ms=700), _turn(answered_ms=501.4)])
    assert several.startswith("Answers began 501 to 700 ms after")
    _, key = _remarks([_turn(answered_ms=1600, is_key=True)])
    assert "1500 ms" in key
    (nothing,) = _remarks([_turn(answered_ms=None, understood="")])
    assert "understood" in nothing
