"""Calls in which the model uses tools, in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Caller, Polite, babble, hang_up, listen, say, wait
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.tools import Tool, tool
from tests.support.models import ActingLLM, Request, in_turn, used, wants

in_virtual_time = virtual_time.in_virtual_time

LOOK: Any = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}


def agent(*heard: str, llm: ActingLLM, tools: list[Tool], **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": llm,
        "tools": tools,
        "first_message": "Hello.",
    } | options
    return build_agent("You are a desk.", None, **given)


def polite(*lines: str) -> Any:
    return Polite(*lines, voice=babble)


def said(phone: Simulation, sid: str) -> list[str]:
    return [text for role, text in phone.transcript(sid) if role == "assistant"]


@in_virtual_time
async def test_what_a_tool_finds_is_told_to_the_model_and_kept_for_later_turns() -> None:
    contexts: list[Any] = []

    async def look_up(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        contexts.append(ctx)
        return {"free": [f"{args['day']} 10:00"]}

    llm = ActingLLM(in_turn([wants("look_up", day="monday")], ["Ten is free."], ["Bye."]))
    made = agent("a", "b", llm=llm, tools=[Tool("look_up", "", LOOK, look_up)], variables={"x": 1})
    async with Simulation(made) as phone:
        call = await phone.talk(polite("a", "b"))
    assert said(phone, call.sid) == ["Hello.", "Ten is free.", "Bye."]
    _, answered, later = llm.requests
    assert [each["role"] for each in answered.messages] == [
        "system", "assistant", "user", "assistant", "tool",
    ]  # fmt: skip
    assert answered.results == ['{"free":["monday 10:00"]}'] == later.results
    assert [each["role"] for each in later.messages][3:] == [
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert contexts[0].pop("call").call_id == call.sid
    assert contexts[0] | {"idempotency_key": "", "tool_call_id": ""} == {
        "call_id": call.sid,
        "caller": "+15550009876",
        "callee": "+15550001234",
        "direction": "inbound",
        "variables": {"x": 1},
        "custom_params": {},
        "idempotency_key": "",
        "tool_call_id": "",
    }


@in_virtual_time
async def test_speech_before_a_slow_tool_is_heard_at_once_and_may_be_interrupted() -> None:
    finished: list[str] = []

    async def slow(args: Any, ctx: Any) -> str:
        await asyncio.sleep(4)
        finished.append("slow")
        return "found it"

    def act(request: Request) -> list[Any]:
        if "found it" in request.results:
            return ["You can have it."]
        return ["I listen."] if request.results else ["Let me look, one moment", wants("slow")]

    llm = ActingLLM(act)
    # 0.55 s after the question the agent speaks; 1 s later the caller does.
    steps = [listen(), say("x"), wait(1550), say("no no, listen to me please")]
    caller = Caller(*steps, wait(6000), hang_up(), voice=babble)
    made = agent("x", "no no", llm=llm, tools=[Tool("slow", handler=slow)], first_message="Hi.")
    async with Simulation(made) as phone:
        call = await phone.talk(caller)
    lines = phone.transcript(call.sid)
    assert lines[3:] == [
        ("user", "no no"),
        ("assistant", "I listen."),
        ("assistant", "You can have it."),
    ]
    assert "Let me look, one moment".startswith(lines[2][1])
    assert 5 < len(lines[2][1]) < 23
    turns = phone.calls[call.sid].end["metrics"].turns
    assert turns[1].interrupted
    assert turns[1].latency.bargein_ms == pytest.approx(300, abs=100)
    assert finished == ["slow"]  # it went on, once, though nobody waited
    tape = call.tape()
    answer_ms, *_ = tape.answer_times()
    assert answer_ms < 650  # recogniser, model and voice; not the tool
    _, spoken, *_ = tape.heard_spans()
    assert (spoken.end - spoken.start) / 8 == pytest.approx(1400, abs=100)


@in_virtual_time
async def test_a_running_tool_is_shown_as_running_and_joined_when_it_is_asked_for_again() -> None:
    began: list[float] = []

    async def book(args: Any, ctx: Any) -> str:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(6)
        return "booked as number 7"

    def act(request: Request) -> list[Any]:
        return ["Done, number 7."] if "booked" in "".join(request.results) else [wants("book")]

    llm = ActingLLM(act)
    caller = Caller(listen(), say("x"), wait(1500), say("now"), listen(), hang_up(), voice=babble)
    async with Simulation(agent("x", "now", llm=llm, tools=[Tool("book", handler=book)])) as phone:
        call = await phone.talk(caller)
    assert len(began) == 1
    assert "running" in llm.requests[1].results[0]
    assert said(phone, call.sid)[-1] == "Done, number 7."


@in_virtual_time
async def test_a_caller_who_speaks_while_a_tool_runs_is_answered_and_a_murmur_waits() -> None:
    async def slow(args: Any, ctx: Any) -> str:
        await asyncio.sleep(5)
        return "seven"

    def act(request: Request) -> list[Any]:
        if "seven" in request.results:
            return ["It is seven."]
        return ["One moment.", wants("slow")] if not request.results else ["Still looking."]

    async def talk(words: str) -> list[tuple[str, str]]:
        llm = ActingLLM(act)
        steps = [listen(), say("x"), wait(2500), say("hm"), wait(8000), hang_up()]
        made = agent("x", words, llm=llm, tools=[Tool("slow", handler=slow)])
        async with Simulation(made) as phone:
            call = await phone.talk(Caller(*steps, voice=babble))
        return phone.transcript(call.sid)[1:]

    assert await talk("okay") == [("user", "x"), ("assistant", "One moment. It is seven.")]
    assert await talk("really") == [
        ("user", "x"),
        ("assistant", "One moment."),
        ("user", "really"),
        ("assistant", "Still looking."),
        ("assistant", "It is seven."),  # nobody had to ask again
    ]


@in_virtual_time
async def test_tools_of_one_round_run_at_the_same_time_and_answer_in_order() -> None:
    spans: list[tuple[str, float]] = []

    def waiting(name: str, seconds: float) -> Tool:
        async def handler(args: Any, ctx: Any) -> str:
            await asyncio.sleep(seconds)
            spans.append((name, seconds))
            return name

        return Tool(name, handler=handler)

    llm = ActingLLM(
        in_turn([wants("late", 0), wants("soon", 1), used(10, 2)], ["Both.", used(20, 3)])
    )
    async with Simulation(
        agent("x", llm=llm, tools=[waiting("late", 2.0), waiting("soon", 1.0)])
    ) as phone:
        call = await phone.talk(polite("x"))
    assert [name for name, _ in spans] == ["soon", "late"]
    assert llm.requests[1].results == ["late", "soon"]
    assert call.tape().answer_times()[0] < 3000


@in_virtual_time
async def test_a_plain_function_runs_in_a_thread_and_tools_may_report_progress() -> None:
    threads: list[str] = []

    @tool
    def plain(city: str) -> str:
        """Look."""
        threads.append(threading.current_thread().name)
        return f"sunny in {city}"

    async def steps(args: Any, ctx: Any) -> AsyncIterator[dict[str, str]]:
        await asyncio.sleep(1)
        yield {"progress": "Half way."}
        await asyncio.sleep(1)
        yield {"result": "all the way"}

    llm = ActingLLM(in_turn([wants("plain", 0, city="Rome"), wants("steps", 1)], ["There we are."]))
    tools = [plain, Tool("steps", handler=steps)]
    async with Simulation(agent("x", llm=llm, tools=tools)) as phone:
        call = await phone.talk(polite("x"))
    assert threads != [threading.main_thread().name]
    assert llm.requests[1].results == ["sunny in Rome", "all the way"]
    assert said(phone, call.sid)[-1] == "Half way. There we are."


@in_virtual_time
async def test_a_tool_that_takes_long_is_excused() -> None:
    async def slow(args: Any, ctx: Any) -> str:
        await asyncio.sleep(3)
        return "ok"

    llm = ActingLLM(in_turn([wants("slow")], ["Here it is."]))
    reassuring = Tool(
        "slow", handler=slow, reassurance={"message": "Still on it.", "after_ms": 800}
    )
    caller = Caller(listen(), say("x"), wait(6000), hang_up(), voice=babble)
    async with Simulation(agent("x", llm=llm, tools=[reassuring])) as phone:
        call = await phone.talk(caller)
    assert said(phone, call.sid)[-1] == "Still on it. Here it is."
    assert call.tape().answer_times()[0] == pytest.approx(550 + 800, abs=60)


@in_virtual_time
async def test_the_model_learns_of_mistakes_without_internals() -> None:
    async def broken(args: Any, ctx: Any) -> str:
        raise ValueError("password=hunter2")

    async def endless(args: Any, ctx: Any) -> str:
        await asyncio.sleep(1000)
        return ""

    llm = ActingLLM(
        in_turn(
            [
                wants("broken", 0),
                wants("endless", 1),
                wants("nothing", 2),
                wants("typed", 3, day=5),
            ],
            ["Sorry."],
        )
    )
    tools = [
        Tool("broken", handler=broken),
        Tool("endless", handler=endless, timeout_s=2.0),
        Tool("typed", "", LOOK, broken),
    ]
    async with Simulation(agent("x", llm=llm, tools=tools)) as phone:
        await phone.talk(polite("x"))
    assert llm.requests[1].results == [
        '{"error": "The tool failed."}',
        '{"error": "The tool did not answer within 2 s."}',
        '{"error": "There is no tool of this name."}',
        '{"error": "day must be string"}',
    ]


@in_virtual_time
async def test_a_model_that_only_wants_tools_is_asked_once_without_them() -> None:
    def act(request: Request) -> list[Any]:
        return [wants("again", n=len(request.results))] if request.tools else ["Enough."]

    async def again(args: Any, ctx: Any) -> str:
        return "more"

    llm = ActingLLM(act, first=0.01)
    async with Simulation(agent("x", llm=llm, tools=[Tool("again", handler=again)])) as phone:
        call = await phone.talk(polite("x"))
    assert len(llm.requests) == 11
    assert len(llm.requests[-1].results) == 10
    assert said(phone, call.sid)[-1] == "Enough."


@in_virtual_time
async def test_a_failure_before_any_words_is_tried_once_more_then_excused() -> None:
    llm = ActingLLM(
        in_turn(
            [ConnectionError("no")], ["Here I am."], [ConnectionError("no")], [OSError("no")], ["x"]
        )
    )
    made = agent("a", "b", "c", llm=llm, tools=[], llm_error_message="Once more, please.")
    async with Simulation(made) as phone:
        call = await phone.talk(polite("a", "b", "c"))
    assert said(phone, call.sid) == ["Hello.", "Here I am.", "Once more, please.", "x"]


@in_virtual_time
async def test_a_model_that_stays_silent_has_failed_after_fifteen_seconds() -> None:
    llm = ActingLLM(in_turn([100.0, "late"], ["Here."]))
    made = agent("a", llm=llm, tools=[], long_turn_message="")
    async with Simulation(made) as phone:
        call = await phone.talk(polite("a"))
    assert said(phone, call.sid)[-1] == "Here."
    assert llm.requests[0].was_cancelled is not None
    assert llm.requests[0].was_cancelled.is_set()


@in_virtual_time
async def test_the_agent_says_goodbye_and_hangs_up() -> None:
    goodbye = "Goodbye, and thank you for calling."
    llm = ActingLLM(in_turn([goodbye, wants("end_call", reason="done")]))
    caller = Caller(listen(), say("bye"), wait(30_000), voice=babble)
    async with Simulation(agent("bye", llm=llm, tools=[])) as phone:
        call = await phone.talk(caller)
    assert said(phone, call.sid)[-1] == goodbye
    spoken = call.tape().heard_spans()[-1]
    assert (spoken.end - spoken.start) / 8 == pytest.approx(60 * len(goodbye), rel=0.03)
    assert call.hung_up_by == "api"
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"
    assert len(llm.requests) == 1


@in_virtual_time
async def test_a_goodbye_that_comes_after_end_call_is_heard_too() -> None:
    llm = ActingLLM(in_turn([wants("end_call", reason="done")], ["Goodbye then."]))
    caller = Caller(listen(), say("bye"), wait(30_000), voice=babble)
    async with Simulation(agent("bye", llm=llm, tools=[])) as phone:
        call = await phone.talk(caller)
    assert said(phone, call.sid)[-1] == "Goodbye then."
    assert llm.requests[1].tools is None
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"


@in_virtual_time
async def test_tools_that_run_when_the_call_ends_have_five_seconds() -> None:
    ends: list[str] = []

    def lasting(name: str, seconds: float) -> Tool:
        async def handler(args: Any, ctx: Any) -> str:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                ends.append(f"{name} cancelled")
                raise
            ends.append(f"{name} done")
            return ""

        return Tool(name, handler=handler)

    llm = ActingLLM(in_turn([wants("short", 0), wants("long", 1)]))
    caller = Caller(listen(), say("x"), wait(1000), hang_up(), voice=babble)
    tools = [lasting("short", 4.0), lasting("long", 20.0)]
    async with Simulation(agent("x", llm=llm, tools=tools)) as phone:
        await phone.talk(caller)
    assert ends == ["short done", "long cancelled"]
