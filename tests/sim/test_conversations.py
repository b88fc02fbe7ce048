"""Whole calls in virtual time: real frames, webhooks and tokens; scripted services; people with manners or without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.models import Transcript
from getpatter.runtime.control import CallControl
from getpatter.testing.callers import (
    Caller,
    Interrupter,
    Polite,
    babble,
    cough,
    hang_up,
    listen,
    press,
    say,
    wait,
)
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail

GREETING = "Welcome to the clinic."
LONG = "We are open from nine to five on every weekday, and on Saturdays we are open until noon. "


def agent(*heard: str, replies: tuple[str, ...] = ("Certainly.",), **options: Any) -> Agent:
    """An agent whose recogniser hears `heard` and whose model says `replies`."""
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(replies),
        "first_message": GREETING,
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


def polite(*lines: str) -> Any:
    return Polite(*lines, voice=babble)


@in_virtual_time
async def test_a_polite_caller_is_greeted_answered_and_heard_out() -> None:
    replies = ("Which day?", "Tuesday it is.")
    async with Simulation(agent("a haircut", "tuesday", replies=replies)) as phone:
        call = await phone.talk(polite("a haircut", "tuesday"))
    assert phone.transcript(call.sid) == [
        ("assistant", GREETING),
        ("user", "a haircut"),
        ("assistant", "Which day?"),
        ("user", "tuesday"),
        ("assistant", "Tuesday it is."),
    ]
    assert not phone.problems
    end = phone.calls[call.sid].end
    assert end["reason"] == "caller_hangup"
    assert [turn.turn_index for turn in end["metrics"].turns] == [0, 1, 2]


@in_virtual_time
async def test_the_callbacks_get_the_documented_payloads() -> None:
    async with Simulation(agent("hello")) as phone:
        call = await phone.talk(polite("hello"))
        told = phone.calls[call.sid]
    assert told.start == {
        "call_id": call.sid,
        "caller": "+15550009876",
        "callee": "+15550001234",
        "direction": "inbound",
        "custom_params": {},
        "telephony_provider": "twilio",
    }
    assert told.end["transcript"] == [
        {"role": "assistant", "text": GREETING},
        {"role": "user", "text": "hello"},
        {"role": "assistant", "text": "Certainly."},
    ]
    assert set(told.end) >= {"call_id", "caller", "callee", "ended_at", "metrics", "history"}
    assert [event["turn"].user_text for event in told.metrics] == ["", "hello"]
    assert all(event["call_id"] == call.sid for event in told.metrics)


@in_virtual_time
async def test_latency_is_what_the_providers_took() -> None:
    async with Simulation(agent("hello")) as phone:
        call = await phone.talk(polite("hello"))
    latency = phone.calls[call.sid].end["metrics"].turns[1].latency
    assert latency.llm_ttft_ms == pytest.approx(200, abs=6)
    assert latency.tts_ms == pytest.approx(100, abs=6)
    (answer_ms,) = call.tape().answer_times()
    assert answer_ms == pytest.approx(
        550, abs=25
    )  # 250 recogniser, 200 model, 100 voice, one frame


@in_virtual_time
async def test_an_interrupted_agent_falls_silent_and_remembers_what_was_heard() -> None:
    caller = Interrupter("stop please", after_ms=3000, voice=babble)
    made = agent("stop please", replies=("Of course.",), first_message=LONG * 2)
    async with Simulation(made) as phone:
        call = await phone.talk(caller)
    first, second, *_ = phone.transcript(call.sid)
    assert first[0] == "assistant"
    assert LONG.startswith(first[1][:20])
    assert 30 < len(first[1]) < 75  # about three seconds of sixty milliseconds a letter
    assert second == ("user", "stop please")
    (turn, *_) = phone.calls[call.sid].end["metrics"].turns
    assert turn.interrupted
    assert turn.latency.bargein_ms == pytest.approx(300, abs=80)
    assert not phone.problems


@in_virtual_time
async def test_a_cough_does_not_interrupt() -> None:
    caller = Caller(wait(1500), cough(), listen(), hang_up(), voice=babble)
    async with Simulation(agent(first_message=LONG)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid) == [("assistant", LONG.strip())]


@in_virtual_time
async def test_with_a_threshold_of_zero_the_agent_finishes_and_answers_then() -> None:
    caller = Caller(wait(1500), say("and now me"), listen(), hang_up(), voice=babble)
    made = agent("and now me", first_message=LONG, barge_in_threshold_ms=0)
    async with Simulation(made) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid) == [
        ("assistant", LONG.strip()),
        ("user", "and now me"),
        ("assistant", "Certainly."),
    ]


@in_virtual_time
async def test_keys_stop_the_prompt_and_are_answered_together() -> None:
    heard: list[str] = []

    def desk(event: dict[str, Any]) -> str:
        heard.append(event["text"])
        return "Thank you."

    caller = Caller(wait(1500), press("1"), press("2"), listen(), hang_up(), voice=babble)
    async with Simulation(agent(llm=None, first_message=LONG), on_message=desk) as phone:
        call = await phone.talk(caller)
    assert heard == ["[DTMF: 12]"]
    roles = [role for role, _ in phone.transcript(call.sid)]
    assert roles == ["assistant", "user", "assistant"]


@in_virtual_time
async def test_goodbye_is_heard_before_the_agent_hangs_up() -> None:
    async def desk(event: dict[str, Any], call: CallControl) -> str:
        del event
        await call.hangup()
        return "Goodbye, and thank you for calling."

    caller = Caller(listen(), say("bye"), wait(30_000), voice=babble)
    async with Simulation(agent("bye", llm=None), on_message=desk) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye, and thank you for calling.")
    goodbye = call.tape().heard_spans()[-1]
    assert (goodbye.end - goodbye.start) / 8 == pytest.approx(60 * 35, rel=0.02)
    assert call.hung_up_by == "api"
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"


@in_virtual_time
async def test_a_reply_may_be_a_generator_and_is_spoken_while_it_runs() -> None:
    async def desk(event: dict[str, Any]) -> AsyncIterator[str]:
        del event
        yield "This is the first of my two sentences. "
        await asyncio.sleep(5)
        yield "And this is the second."

    async with Simulation(agent("hello", llm=None), on_message=desk) as phone:
        call = await phone.talk(
            Caller(listen(), say("hello"), wait(12_000), hang_up(), voice=babble)
        )
    spoken = phone.calls[call.sid].lines[-1][1]
    assert spoken == "This is the first of my two sentences. And this is the second."
    (answer_ms,) = call.tape().answer_times()[:1]
    assert answer_ms < 1000


@in_virtual_time
async def test_a_failing_handler_apologises_and_the_agent_listens_on() -> None:
    answers: Iterator[Exception | str] = iter([ValueError("the database is down"), "Better now."])

    def desk(event: dict[str, Any]) -> str:
        del event
        answer = next(answers)
        if isinstance(answer, str):
            return answer
        raise answer

    made = agent("one", "two", llm=None, llm_error_message="Sorry, once more please.")
    async with Simulation(made, on_message=desk) as phone:
        call = await phone.talk(polite("one", "two"))
    said = [text for role, text in phone.transcript(call.sid) if role == "assistant"]
    assert said == [GREETING, "Sorry, once more please.", "Better now."]


@in_virtual_time
async def test_callbacks_that_raise_harm_nothing() -> None:
    def broken(event: object) -> None:
        raise RuntimeError("in a callback")

    async with Simulation(
        agent("hello"), on_call_start=broken, on_transcript=broken, on_metrics=broken
    ) as phone:
        call = await phone.talk(polite("hello"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Certainly.")


@in_virtual_time
async def test_on_call_start_changes_this_call_only() -> None:
    names = iter(["Ada", "Bob"])

    def start(event: object) -> dict[str, object]:
        del event
        return {"variables": {"name": next(names)}}

    made = agent(first_message="Hello {name}, this is {place}.", variables={"place": "Rome"})
    async with Simulation(made, on_call_start=start) as phone:
        first = await phone.talk(polite())
        second = await phone.talk(polite())
    assert phone.transcript(first.sid) == [("assistant", "Hello Ada, this is Rome.")]
    assert phone.transcript(second.sid) == [("assistant", "Hello Bob, this is Rome.")]


@in_virtual_time
async def test_a_guardrail_replaces_what_may_not_be_said() -> None:
    rule = Guardrail(name="law", blocked_terms=["sue"], replacement="I cannot advise on that.")
    replies = ("You should sue them. And then rest.", "That is a billing issue.")
    async with Simulation(agent("a", "b", replies=replies, guardrails=[rule])) as phone:
        call = await phone.talk(polite("a", "b"))
    said = [text for role, text in phone.transcript(call.sid) if role == "assistant"]
    assert said == [GREETING, "I cannot advise on that.", "That is a billing issue."]


@in_virtual_time
async def test_a_line_that_stays_silent_is_asked_once_and_then_released() -> None:
    async with Simulation(agent(), idle_timeout=10.0) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
    assert [text for _, text in phone.transcript(call.sid)] == [GREETING, "Are you still there?"]
    assert phone.calls[call.sid].end["reason"] == "idle"
    assert call.hung_up_by == "api"


@in_virtual_time
async def test_no_call_lasts_longer_than_it_may() -> None:
    async with Simulation(agent(), max_call_duration=30) as phone:
        call = await phone.talk(Caller(wait(120_000), voice=babble))
    assert phone.calls[call.sid].end["reason"] == "time_limit"
    assert call.duration_s == pytest.approx(30, abs=1)


@pytest.mark.timeout(60)  # 700 seconds of talk are a second or two of work
@in_virtual_time
async def test_a_hundred_calls_at_once_cross_nothing_over() -> None:
    def desk(event: dict[str, Any]) -> str:
        return f"You are {event['caller']}."

    made = agent("who am i", llm=None)
    async with Simulation(made, on_message=desk) as phone:
        numbers = [f"+1555100{index:04d}" for index in range(100)]
        calls = await asyncio.gather(
            *(phone.talk(polite("who am i"), from_number=number) for number in numbers)
        )
        for number, call in zip(numbers, calls, strict=True):
            assert phone.transcript(call.sid)[-1] == ("assistant", f"You are {number}.")
            assert phone.calls[call.sid].start["caller"] == number
    assert not phone.problems


@in_virtual_time
async def test_two_calls_on_one_shared_voice_do_not_end_each_other() -> None:
    voice = _UnclonedVoice()
    async with Simulation(agent("hi", tts=voice, first_message=LONG)) as phone:
        long = asyncio.create_task(phone.talk(polite("hi")))
        await phone.talk(Caller(wait(1000), hang_up(), voice=babble))
        call = await long
        assert voice.closed == 0
    assert phone.transcript(call.sid)[0] == ("assistant", LONG.strip())
    assert voice.closed == 1


class _UnclonedVoice:
    """A voice of the user's own: no `clone()`, so all calls share it."""

    def __init__(self) -> None:
        self.closed = 0
        self._voice = ScriptedTTS()
        self.output_format = self._voice.output_format

    def synthesize(self, text: str) -> AsyncIterator[bytes]:
        return self._voice.synthesize(text)

    async def close(self) -> None:
        self.closed += 1


@in_virtual_time
async def test_the_sixth_caller_of_five_hears_a_busy_signal() -> None:
    async with Simulation(agent(), max_concurrent_calls=5) as phone:
        talking = [phone.ring(Caller(wait(5000), hang_up(), voice=babble)) for _ in range(5)]
        await asyncio.sleep(1)
        refused = phone.ring(polite())
        await refused.ended()
        assert refused.status == "busy"
        for call in talking:
            await call.ended()
    assert refused.sid not in phone.calls


@in_virtual_time
async def test_a_recogniser_that_drops_the_line_is_reopened_and_loses_no_later_turn() -> None:
    class Dropping(ScriptedSTT):
        """Fails once, in the middle of the first call."""

        drops = 1

        async def receive_transcripts(self) -> AsyncIterator[Transcript]:
            if type(self).drops:
                type(self).drops -= 1
                await asyncio.sleep(1.0)
                raise ConnectionResetError
            async for said in super().receive_transcripts():
                yield said

    async with Simulation(agent(stt=Dropping(["hello"]))) as phone:
        call = await phone.talk(polite("hello"))
    assert phone.transcript(call.sid)[1:] == [("user", "hello"), ("assistant", "Certainly.")]


@in_virtual_time
async def test_a_recogniser_that_stays_away_ends_the_call_with_a_word() -> None:
    class Absent(ScriptedSTT):
        """Never connects."""

        async def connect(self) -> None:
            raise ConnectionRefusedError

    made = agent(stt=Absent([]), llm_error_message="Sorry, I cannot hear you.")
    async with Simulation(made) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
    assert phone.calls[call.sid].end["reason"] == "provider_error"
    assert phone.transcript(call.sid)[-1][1].endswith("Sorry, I cannot hear you.")
    assert call.duration_s < 20


@in_virtual_time
async def test_shutting_down_hangs_up_at_the_carrier_and_tells_the_program() -> None:
    ended: list[str] = []
    async with Simulation(
        agent(), on_call_end=lambda event: ended.append(event["reason"])
    ) as phone:
        call = phone.ring(Caller(wait(60_000), voice=babble))
        await asyncio.sleep(3)
    assert ended == ["shutdown"]
    assert call.hung_up_by == "api"
