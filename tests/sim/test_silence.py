"""Dead air has an owner: what a caller hears when nobody has anything to say yet, in a pipeline and with an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.core.manners import ONE_MOMENT
from getpatter.engines.openai import Realtime
from getpatter.testing.callers import Caller, Program, SilentOne, babble, hang_up, listen, say, wait
from getpatter.testing.fake_realtime import Calls, Fails, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Ended, Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Tool
from tests.support.models import ActingLLM, Part, wants

GREETING: Final = "Welcome to the clinic."
Make = Callable[..., Agent]


def pipeline(
    *, calls: str = "", says: str = "Found it.", fails: bool = False, **options: Any
) -> Agent:
    def act(request: Any) -> list[Part]:
        if fails:
            return [ConnectionError("no")]
        return [wants(calls)] if calls and not request.results else [says]

    given: dict[str, Any] = {
        "stt": ScriptedSTT(["Look it up."]),
        "tts": ScriptedTTS(),
        "llm": ActingLLM(act),
        "first_message": GREETING,
    } | options
    return build_agent("You are the desk.", None, **given)


def engine(
    *, calls: str = "", says: str = "Found it.", fails: bool = False, **options: Any
) -> Agent:
    script: list[Any] = [Calls([(calls, {})]), Says(says)] if calls else [Says(says)]
    if fails:
        script = [Fails(), Fails(), Says("Sorry.")]
    service = FakeRealtime(heard=["Look it up."], says=script)
    given: dict[str, Any] = {"engine": in_memory(Realtime(service.key), service)}
    return build_agent("You are the desk.", None, **given | {"first_message": GREETING} | options)


BOTH = pytest.mark.parametrize("make", [pipeline, engine])


def slow(seconds: float, **options: Any) -> Tool:
    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        await asyncio.sleep(seconds)
        return "there"

    return Tool("lookup", "Looks it up.", handler=lookup, **options)


def patient(stays_s: float = 30) -> Program:
    return Caller(listen(), say("look it up"), wait(stays_s * 1000), hang_up(), voice=babble)


async def told(made: Agent, caller: Program, **serving: Any) -> tuple[Ended, list[float]]:
    """What was said, and the pauses (in seconds) before each thing the agent said."""
    async with Simulation(made, **serving) as phone:
        call = await phone.talk(caller)
    spans = call.tape().heard_spans()
    return phone.calls[call.sid], [
        (after.start - before.end) / 8000 for before, after in pairwise(spans)
    ]


def agent_lines(ended: Ended) -> str:
    return " ".join(text for role, text in ended.lines if role == "assistant")


# --------------------------------------------------------------------------------------- dead air


@BOTH
@in_virtual_time
async def test_after_eight_seconds_of_silence_somebody_says_something(make: Make) -> None:
    ended, pauses = await told(make(calls="lookup", tools=[slow(11)]), patient())
    assert ONE_MOMENT in agent_lines(ended)
    assert agent_lines(ended).endswith("Found it.")
    assert max(pauses) < 11.0
    assert any(8.0 < pause < 10.5 for pause in pauses)


@BOTH
@in_virtual_time
async def test_the_program_chooses_the_words_and_the_time(make: Make) -> None:
    made = make(
        calls="lookup", tools=[slow(8)],
        long_turn_message="Still looking.", long_turn_message_after_s=3.0,
    )  # fmt: skip
    ended, pauses = await told(made, patient())
    assert agent_lines(ended).count("Still looking.") == 1
    assert max(pauses) < 6.5
    assert ONE_MOMENT not in agent_lines(ended)


@BOTH
@in_virtual_time
async def test_an_empty_message_keeps_the_silence(make: Make) -> None:
    made = make(calls="lookup", tools=[slow(9)], long_turn_message="")
    ended, _ = await told(made, patient())
    assert agent_lines(ended) == f"{GREETING} Found it."


@BOTH
@in_virtual_time
async def test_a_tool_that_takes_long_is_covered_by_its_own_words(make: Make) -> None:
    tool = slow(4, reassurance={"message": "Let me look.", "after_ms": 1000})
    ended, pauses = await told(make(calls="lookup", tools=[tool]), patient())
    assert "Let me look." in agent_lines(ended)
    assert agent_lines(ended).endswith("Found it.")
    assert max(pauses) < 4.0
    quick = slow(0.5, reassurance={"message": "Let me look.", "after_ms": 1000})
    ended, _ = await told(make(calls="lookup", tools=[quick]), patient())
    assert "Let me look." not in agent_lines(ended)


@BOTH
@in_virtual_time
async def test_a_reply_that_cannot_be_made_is_apologised_for(make: Make) -> None:
    ended, _ = await told(make(fails=True, llm_error_message="Sorry."), patient())
    assert agent_lines(ended) == f"{GREETING} Sorry."
    assert ended.end["reason"] == "caller_hangup", "the agent listens on"


# ----------------------------------------------------------------------------------- silence, limits


@BOTH
@in_virtual_time
async def test_a_silent_caller_is_asked_once_and_released(make: Make) -> None:
    ended, _ = await told(make(), SilentOne(), idle_timeout=5.0)
    assert ended.lines[0] == ("assistant", GREETING)
    assert len(ended.lines) == 2
    assert ended.end["reason"] == "idle"
    assert 10 < ended.end["metrics"].duration_seconds < 18


@BOTH
@in_virtual_time
async def test_no_call_lasts_longer_than_it_may(make: Make) -> None:
    ended, _ = await told(make(), SilentOne(), max_call_duration=7)
    assert ended.end["reason"] == "time_limit"
    assert 7 <= ended.end["metrics"].duration_seconds < 9


@BOTH
@in_virtual_time
async def test_on_call_start_may_change_how_long_a_call_lasts(make: Make) -> None:
    def start(event: Any) -> dict[str, Any]:
        return {"max_call_duration": 6}

    ended, _ = await told(make(), SilentOne(), on_call_start=start, max_call_duration=600)
    assert ended.end["reason"] == "time_limit"
    assert 6 <= ended.end["metrics"].duration_seconds < 8


@in_virtual_time
async def test_the_carrier_is_told_the_limit_that_on_call_start_set() -> None:
    async with Simulation(
        pipeline(), on_call_start=lambda _: {"max_call_duration": 60}, max_call_duration=600
    ) as phone:
        call = await phone.talk(patient(2))
        asked = [each["TimeLimit"] for each in phone.twilio.requests if each["TimeLimit"]]
    assert call.sid
    assert asked == ["60"]


@in_virtual_time
async def test_on_call_start_may_change_the_language_of_the_conversation() -> None:
    """In English a comma may end the first piece of a reply; in Italian it may not (CV-25)."""
    words = "Certamente signora, le prenoto volentieri il tavolo, alle sette di sera."
    spoken: dict[str, list[str]] = {}
    for language in ("en", "it"):
        voice = ScriptedTTS()
        made = pipeline(says=words, tts=voice, aggressive_first_flush=True)
        await told(made, patient(8), on_call_start=lambda _, to=language: {"language": to})
        spoken[language] = [each for each in voice.spoken if each != GREETING]
    assert len(spoken["en"]) == 2
    assert spoken["it"] == [words]


@in_virtual_time
async def test_on_call_start_may_bring_an_agent_with_other_manners() -> None:
    other = pipeline(barge_in_threshold_ms=0, first_message=" ".join([GREETING] * 6))
    caller = Caller(wait(1500), say("look it up"), listen(), hang_up(), voice=babble)
    ended, _ = await told(pipeline(), caller, on_call_start=lambda _: {"agent": other})
    assert ended.lines[0] == ("assistant", other.first_message)
    assert not ended.end["metrics"].turns[0].interrupted
