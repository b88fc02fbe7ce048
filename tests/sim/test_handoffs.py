"""Calls in which another agent takes over or a skill is taken up, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.agent_parts import Skill
from getpatter.engines.openai import Realtime
from getpatter.runtime.text_call import TextCall
from getpatter.testing.callers import Caller, Polite, babble, hang_up, listen, say, wait
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail, Tool
from tests.support.models import ActingLLM, Request, in_turn, wants

PAY: Final = "handoff_to"


def invoice(args: Any, ctx: Any) -> str:
    return "42 euros"


def billing(**options: Any) -> Agent:
    given: dict[str, Any] = {
        "tools": [Tool("invoice", "Looks an invoice up.", handler=invoice)],
        "guardrails": [Guardrail(name="no discounts", blocked_terms=["discount"])],
        "variables": {"company": "Acme"},
    } | options
    return Agent("You do the bills of {company} for {name}.", **given)


def desk(*heard: str, llm: ActingLLM, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": llm,
        "first_message": "Hello.",
        "variables": {"name": "Ann"},
    } | options
    return build_agent("You are the desk.", None, **given)


def polite(*lines: str, **how: Any) -> Any:
    return Polite(*lines, voice=babble, **how)


def names(request: Request) -> list[str]:
    return [each["function"]["name"] for each in request.tools or ()]


def prompt(request: Request) -> str:
    return str(request.messages[0]["content"])


@in_virtual_time
async def test_who_takes_over_has_prompt_tools_voice_and_the_whole_conversation() -> None:
    ours, theirs = ScriptedTTS(), ScriptedTTS()
    llm = ActingLLM(
        in_turn(
            ["I connect you with billing.", wants(PAY, name="billing", reason="an invoice")],
            [wants("invoice")],
            ["It is 42 euros."],
            ["You are welcome."],
        )
    )
    agent = desk("my bill", "thanks", llm=llm, tts=ours, handoffs={"billing": billing(tts=theirs)})
    told: list[Any] = []
    async with Simulation(agent) as phone:
        phone.events.on("handoff", told.append)
        call = await phone.talk(polite("my bill please", "thanks a lot"))
    assert phone.transcript(call.sid)[1:] == [
        ("user", "my bill"),
        ("assistant", "I connect you with billing. It is 42 euros."),
        ("user", "thanks"),
        ("assistant", "You are welcome."),
    ]
    first, second, *_, last = llm.requests
    assert PAY in names(first)
    assert "invoice" not in names(first)
    assert "invoice" in names(second)
    assert PAY not in names(second)
    assert prompt(second).endswith("You do the bills of Acme for Ann.")
    assert "an invoice" in second.results[0]
    # Nothing of the conversation is lost on the way.
    assert [each["content"] for each in last.messages if each["role"] == "user"] == [
        "my bill",
        "thanks",
    ]
    assert ours.spoken == ["Hello.", "I connect you with billing."]
    assert theirs.spoken == ["It is 42 euros.", "You are welcome."]
    assert [event["name"] for event in told] == ["billing"]
    assert "an invoice" not in str(told)
    assert not phone.problems


@in_virtual_time
async def test_a_handoff_is_for_one_call_only() -> None:
    def act(request: Request) -> list[Any]:
        if "desk" in prompt(request) and "bill" in request.said_last:
            return [wants(PAY, name="billing", reason="x")]
        return ["Desk." if "desk" in prompt(request) else "Billing."]

    llm = ActingLLM(act)
    agent = desk(llm=llm, stt=ScriptedSTT(["bill", "more"]), handoffs={"billing": billing()})
    async with Simulation(agent) as phone:
        one = await phone.talk(polite("bill please", "and more"))
        two = await phone.talk(polite("bill please"))
    assert phone.transcript(one.sid)[-1] == ("assistant", "Billing.")
    asked = [request for request in llm.requests if "desk" in prompt(request)]
    assert len(asked) == 2  # the first request of each call
    assert phone.transcript(two.sid)[1] == ("user", "bill")


@in_virtual_time
async def test_guardrails_are_those_of_whoever_speaks() -> None:
    llm = ActingLLM(
        in_turn(
            ["A discount for you, one moment.", wants(PAY, name="billing", reason="x")],
            ["You get a discount."],
        )
    )
    agent = desk("bill", llm=llm, handoffs={"billing": billing()})
    async with Simulation(agent) as phone:
        call = await phone.talk(polite("bill please"))
    (_, said) = phone.transcript(call.sid)[-1]
    assert said.startswith("A discount for you, one moment.")
    assert "You get a discount" not in said
    assert said.endswith("I'm sorry, I can't respond to that.")


@in_virtual_time
async def test_a_voice_that_was_cut_is_followed_by_the_new_one() -> None:
    ours, theirs = ScriptedTTS(), ScriptedTTS()
    long = (
        "I connect you with our colleagues of the billing department, who know everything about it."
    )

    def act(request: Request) -> list[Any]:
        if PAY in names(request):
            return [long, wants(PAY, name="billing", reason="x")]
        return ["Billing here."]

    agent = desk(
        "bill", "wait", llm=ActingLLM(act), tts=ours, handoffs={"billing": billing(tts=theirs)}
    )
    steps = [
        listen(),
        say("bill please"),
        wait(1800),
        say("wait a moment please"),
        listen(),
        hang_up(),
    ]
    async with Simulation(agent) as phone:
        call = await phone.talk(Caller(*steps, voice=babble))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Billing here.")
    assert theirs.spoken[-1] == "Billing here."
    assert "Billing here." not in ours.spoken


@in_virtual_time
async def test_a_model_of_their_own_answers_and_each_is_billed() -> None:
    ours = ActingLLM(in_turn([wants(PAY, name="billing", reason="x")]))
    theirs = ActingLLM(in_turn(["Billing here."]), model="acting-2")
    agent = desk("bill", llm=ours, handoffs={"billing": billing(llm=theirs)})
    async with Simulation(agent) as phone:
        call = await phone.talk(polite("bill please"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Billing here.")
    assert len(ours.requests) == len(theirs.requests) == 1


@in_virtual_time
async def test_in_text_whoever_takes_over_opens_no_voice() -> None:
    theirs = ScriptedTTS()
    spoken: list[str] = []
    llm = ActingLLM(in_turn([wants(PAY, name="billing", reason="x")], ["Billing here."]))
    agent = desk(llm=llm, handoffs={"billing": billing(tts=theirs)})
    async with TextCall(agent, writer=lambda agent: agent, spoken=spoken.append) as call:
        call.say("bill please")
        await call.quiet()
    assert spoken == ["Hello.", "Billing here."]
    assert theirs.spoken == []


# ------------------------------------------------------------------------------------------- skills


def booking() -> Skill:
    async def book(args: Any, ctx: Any) -> str:
        return f"booked for {args['day']}"

    day = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
    return Skill(
        "booking", "Books tables", "Ask {name} for the day.", [Tool("book", "", day, book)]
    )


@in_virtual_time
async def test_a_skill_adds_its_instructions_and_tools_to_the_running_call() -> None:
    llm = ActingLLM(
        in_turn(
            [wants("use_skill", skill_name="booking")],
            [wants("book", day="friday")],
            ["Friday it is."],
        )
    )
    async with Simulation(desk("a table", llm=llm, skills=[booking()])) as phone:
        call = await phone.talk(polite("a table please"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Friday it is.")
    first, second, third = llm.requests
    assert "book" not in names(first)
    assert "Ask Ann" not in prompt(first)
    assert "book" in names(second)
    assert prompt(second).endswith("You are the desk.\n\nAsk Ann for the day.")
    assert third.results[-1] == "booked for friday"


# ------------------------------------------------------------------------------------------ engines


def engine_desk(service: FakeRealtime, **options: Any) -> Agent:
    engine = in_memory(Realtime(service.key), service)
    given: dict[str, Any] = {"first_message": "Hello.", "variables": {"name": "Ann"}} | options
    return build_agent("You are the desk.", None, engine=engine, **given)


@in_virtual_time
async def test_a_running_engine_is_told_who_takes_over() -> None:
    service = FakeRealtime(
        heard=["My bill."],
        says=[
            Calls([(PAY, {"name": "billing", "reason": "x"})], text="One moment."),
            Calls([("invoice", {})]),
            Says("It is 42 euros."),
        ],
    )
    agent = engine_desk(service, handoffs={"billing": billing(guardrails=[])})
    async with Simulation(agent) as phone:
        call = await phone.talk(polite("my bill please", gap_ms=2500))
    assert phone.transcript(call.sid)[1:] == [
        ("user", "My bill."),
        ("assistant", "One moment. It is 42 euros."),
    ]
    *_, update = service.of("session.update")
    assert update["session"]["instructions"] == "You do the bills of Acme for Ann."
    assert "invoice" in [each["name"] for each in update["session"]["tools"]]
    assert "voice" not in str(update["session"].get("audio"))
    assert len(service.conversations) == 1
    assert not service.problems


@in_virtual_time
async def test_an_engine_that_cannot_change_its_voice_gets_a_new_session_with_what_was_said() -> (
    None
):
    service = FakeRealtime(
        heard=["My bill."],
        says=[
            Calls([(PAY, {"name": "billing", "reason": "x"})], text="One moment."),
            Says("Billing here."),
        ],
    )
    agent = engine_desk(service, handoffs={"billing": billing(voice="cedar", guardrails=[])})
    async with Simulation(agent) as phone:
        call = await phone.talk(polite("my bill please", gap_ms=4000))
    assert phone.transcript(call.sid)[1:] == [
        ("user", "My bill."),
        ("assistant", "One moment. Billing here."),
    ]
    assert len(service.conversations) == 2
    *_, update = service.of("session.update")
    assert update["session"]["audio"]["output"]["voice"] == "cedar"
    assert not service.problems


@in_virtual_time
async def test_an_engine_is_held_to_the_guardrails_of_who_takes_over() -> None:
    service = FakeRealtime(
        heard=["My bill."],
        says=[
            Calls([(PAY, {"name": "billing", "reason": "x"})], text="A discount, one moment."),
            Says("You get a discount."),
            Says("never said"),
        ],
    )
    agent = engine_desk(service, handoffs={"billing": billing()})
    async with Simulation(agent) as phone:
        call = await phone.talk(polite("my bill please", gap_ms=4000))
    said = " ".join(text for role, text in phone.transcript(call.sid) if role == "assistant")
    assert "A discount" in said  # said by the desk, whom nobody forbids it
    assert "I can't respond to that" in said
    assert "You get a discount" not in said


@in_virtual_time
async def test_a_skill_reaches_a_running_engine() -> None:
    service = FakeRealtime(
        heard=["A table."],
        says=[
            Calls([("use_skill", {"skill_name": "booking"})]),
            Calls([("book", {"day": "friday"})]),
            Says("Friday it is."),
        ],
    )
    async with Simulation(engine_desk(service, skills=[booking()])) as phone:
        call = await phone.talk(polite("a table please", gap_ms=2500))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Friday it is.")
    *_, update = service.of("session.update")
    assert update["session"]["instructions"] == "You are the desk.\n\nAsk Ann for the day."
    assert not service.problems


# --------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"handoffs": {"": billing()}}, "no name for an agent"),
        ({"handoffs": {"b": billing(tools=[Tool("handoff_to", handler=invoice)])}}, "is reserved"),
        ({"skills": [booking(), Skill("booking", "", "")]}, "two skills are named 'booking'"),
        ({"tools": [Tool("use_skill", handler=invoice)]}, "is reserved"),
    ],
)
def test_names_that_clash_are_found_before_a_phone_rings(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        desk(llm=ActingLLM(in_turn([])), **options)


def test_what_a_handoff_cannot_honour_is_said(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeRealtime()
    engine_desk(service, handoffs={"billing": billing(tts=ScriptedTTS())})
    assert caplog.messages == ["agent.handoff_ignores name=billing mode=engine parameters=tts"]


# ------------------------------------------------------------------- tools that take long, in an engine


@in_virtual_time
async def test_an_engine_says_progress_and_reassurance_while_a_tool_runs() -> None:
    async def search(args: Any, ctx: Any) -> Any:
        await asyncio.sleep(2)
        yield {"progress": "Half of it is done."}
        await asyncio.sleep(3)
        yield {"result": "found"}

    tool = Tool(
        "search", handler=search, reassurance={"message": "Still looking.", "after_ms": 800}
    )
    service = FakeRealtime(heard=["Search."], says=[Calls([("search", {})]), Says("Found it.")])
    async with Simulation(engine_desk(service, tools=[tool])) as phone:
        call = await phone.talk(polite("search please", gap_ms=6000))
    said = " ".join(text for role, text in phone.transcript(call.sid) if role == "assistant")
    assert said == "Hello. Still looking. Half of it is done. Found it."
    assert not service.problems


@in_virtual_time
async def test_an_interruption_cancels_a_tool_of_an_engine_that_wants_it() -> None:
    ended: list[str] = []

    async def slow(args: Any, ctx: Any) -> str:
        try:
            await asyncio.sleep(8)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "late"

    tool = Tool("slow", handler=slow, cancel_on_interrupt=True)
    service = FakeRealtime(
        heard=["Search.", "Never mind."],
        says=[
            Calls([("slow", {})], text="I look it up for you, one moment please."),
            Says("Fine."),
        ],
    )
    steps = [listen(), say("search please"), wait(1800), say("never mind it please"), wait(4000)]
    async with Simulation(engine_desk(service, tools=[tool])) as phone:
        call = await phone.talk(Caller(*steps, hang_up(), voice=babble))
    assert ended == ["cancelled"]
    assert "Fine." in str(phone.transcript(call.sid))
