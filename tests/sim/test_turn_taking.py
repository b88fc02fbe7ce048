"""Strategies and turn detectors of a program's own, in whole calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from getpatter import MinWordsStrategy
from getpatter.agent import Agent, build_agent
from getpatter.testing.callers import (
    Caller,
    Interrupter,
    Polite,
    babble,
    hang_up,
    listen,
    mumble,
    wait,
)
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

LONG = "We are open from nine to five on every weekday, and on Saturdays we are open until noon."


def agent(*heard: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["Of course."]),
        "first_message": LONG,
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


# ------------------------------------------------------------------------------------- interruption


@in_virtual_time
async def test_a_mumble_pauses_the_agent_which_goes_on_where_it_stopped() -> None:
    caller = Caller(wait(2000), mumble(700), listen(gap_ms=3000), hang_up(), voice=babble)
    made = agent(barge_in_mode="pause_resume")
    async with Simulation(made) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid) == [("assistant", LONG)]
    spans = call.tape().heard_spans()
    pauses = [(b.start - a.end) / 8000 for a, b in zip(spans, spans[1:])]  # noqa: B905, RUF007
    assert [pause for pause in pauses if pause > 1.0] == [pytest.approx(1.5, abs=0.2)]
    assert not phone.problems


@in_virtual_time
async def test_words_turn_the_pause_into_an_interruption() -> None:
    made = agent("stop please", barge_in_mode="pause_resume")
    async with Simulation(made) as phone:
        call = await phone.talk(Interrupter("stop please", after_ms=2500, voice=babble))
    first, second, third = phone.transcript(call.sid)
    assert LONG.startswith(first[1])
    assert len(first[1]) < 70
    assert (second, third) == (("user", "stop please"), ("assistant", "Of course."))
    turn = phone.calls[call.sid].end["metrics"].turns[0]
    assert turn.interrupted
    assert turn.latency.bargein_ms < 400


@pytest.mark.parametrize(("words", "cuts"), [("yes", False), ("no wait a moment", True)])
@pytest.mark.parametrize("mode", ["cancel", "pause_resume"])
@in_virtual_time
async def test_few_words_leave_the_agent_alone(words: str, cuts: bool, mode: Any) -> None:
    made = agent(words, barge_in_mode=mode, barge_in_strategies=[MinWordsStrategy(3)])
    async with Simulation(made) as phone:
        call = await phone.talk(Interrupter(words, after_ms=2000, voice=babble))
    lines = phone.transcript(call.sid)
    assert (lines[0] != ("assistant", LONG)) is cuts
    assert ("user", words) in lines, "what was said is answered all the same"


class Broken:
    """Raises at every question."""

    async def evaluate(self, **asked: Any) -> bool:
        raise RuntimeError("no")

    async def reset(self) -> None:
        raise RuntimeError("no")


@in_virtual_time
async def test_a_broken_strategy_leaves_the_caller_able_to_interrupt() -> None:
    made = agent("stop please", barge_in_strategies=[Broken()])
    async with Simulation(made) as phone:
        call = await phone.talk(Interrupter("stop please", after_ms=2000, voice=babble))
    assert phone.transcript(call.sid)[0] != ("assistant", LONG)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Of course.")


# ------------------------------------------------------------------------------------- ends of turns


@dataclass
class Detector:
    """Says what it was told to say, and keeps what it heard."""

    answer: float | Exception
    threshold: float = 0.5
    takes: float = 0.0
    windows: list[bytes] = field(default_factory=list)

    async def predict(self, window: bytes) -> float:
        self.windows.append(window)
        await asyncio.sleep(self.takes)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def endpoint_ms(detector: Detector | None, **options: Any) -> float:
    made = agent("a haircut", first_message="Hello.", turn_detector=detector, **options)
    async with Simulation(made) as phone:
        call = await phone.talk(Polite("a haircut", voice=babble, gap_ms=4000))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Of course.")
    found = phone.calls[call.sid].end["metrics"].turns[1].latency.endpoint_ms
    assert isinstance(found, float)
    return found


@in_virtual_time
async def test_a_turn_that_seems_unfinished_is_held() -> None:
    plain = await endpoint_ms(None)
    sure, unsure = Detector(0.9), Detector(0.1)
    assert await endpoint_ms(sure) < plain + 150
    assert await endpoint_ms(unsure) == pytest.approx(plain + 1200, abs=150)
    assert await endpoint_ms(Detector(0.1), max_semantic_hold_ms=500) == pytest.approx(
        plain + 500, abs=150
    )
    (window,) = sure.windows
    assert len(window) % 2 == 0
    assert 0 < len(window) <= 8 * 32_000
    assert any(window)


@in_virtual_time
async def test_a_detector_that_fails_or_hangs_means_that_the_turn_is_over() -> None:
    plain = await endpoint_ms(None)
    assert await endpoint_ms(Detector(RuntimeError("no"))) < plain + 150
    assert await endpoint_ms(Detector(0.1, takes=60.0)) < plain + 1400
