"""Whole calls with a speech-to-speech engine: a simulated carrier, the real wire of the service, virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from getpatter.agent import Agent, build_agent
from getpatter.carriers.twilio import Twilio
from getpatter.engines.openai import Realtime
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import read_header, replay
from getpatter.testing.callers import (
    Caller,
    Polite,
    babble,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    wait,
)
from getpatter.testing.fake_realtime import Calls, Fails, FakeRealtime, Says
from getpatter.testing.fake_speech import Refusal
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail, Tool

GREETING = "Welcome to the clinic."
SCHEMA: Final = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
}


def agent(service: FakeRealtime, **options: Any) -> Agent:
    given: dict[str, Any] = {"first_message": GREETING} | options
    engine = in_memory(Realtime(service.key), service)
    return build_agent("You are the desk of a clinic.", None, engine=engine, **given)


def polite(*lines: str) -> Any:
    return Polite(*lines, voice=babble)


@in_virtual_time
async def test_a_caller_is_greeted_and_answered() -> None:
    service = FakeRealtime(heard=["A haircut please."], says=[Says("Which day?")])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("a haircut please"))
        assert phone.transcript(call.sid) == [
            ("assistant", GREETING),
            ("user", "A haircut please."),
            ("assistant", "Which day?"),
        ]
        assert phone.calls[call.sid].end["reason"] == "caller_hangup"
        assert not phone.problems
        assert not service.problems


LONG = (
    "Our opening hours are from nine in the morning until half past five in the afternoon, on every day "
    "of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)


@in_virtual_time
async def test_a_long_reply_is_interrupted_and_only_what_was_heard_is_kept() -> None:
    service = FakeRealtime(heard=["When?", "Stop please."], says=[Says(LONG), Says("Of course.")])
    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2500),
        say("stop please"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    lines = phone.transcript(call.sid)
    assert [role for role, _ in lines] == ["assistant", "user", "assistant", "user", "assistant"]
    heard = lines[2][1]
    assert LONG.startswith(heard)
    assert 30 < len(heard) < 65
    assert lines[3:] == [("user", "Stop please."), ("assistant", "Of course.")]
    (cut,) = service.of("conversation.item.truncate")
    assert 2000 < cut["audio_end_ms"] < 3600
    assert not service.problems
    assert not phone.problems
    turn = phone.calls[call.sid].end["metrics"].turns[1]
    assert turn.interrupted
    assert turn.user_text == "When?"
    # One span of the cut reply, one of the answer: nothing of the old one came back.
    assert len(call.tape().heard_spans()) == 3


@in_virtual_time
async def test_what_a_tool_finds_out_is_said() -> None:
    asked: list[dict[str, Any]] = []

    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        asked.append({"args": args, "caller": ctx["caller"]})
        await asyncio.sleep(1.0)
        return {"free": "Tuesday"}

    tool = Tool("lookup", "Find a free day.", SCHEMA, lookup)
    service = FakeRealtime(
        heard=["When can I come?"],
        says=[Calls([("lookup", {"day": "any"})], text="Let me see."), Says("On Tuesday.")],
    )
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(Polite("when can i come", voice=babble, gap_ms=2500))
    assert asked == [{"args": {"day": "any"}, "caller": "+15550009876"}]
    assert phone.transcript(call.sid)[1:] == [
        ("user", "When can I come?"),
        ("assistant", "Let me see. On Tuesday."),
    ]
    output = [
        event["item"]
        for event in service.of("conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    ]
    assert [item["output"] for item in output] == ['{"free":"Tuesday"}']
    assert not service.problems


@in_virtual_time
async def test_two_tools_at_once_are_answered_together() -> None:
    at_work: list[str] = []
    together: list[int] = []

    async def slow(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        at_work.append(args["day"])
        await asyncio.sleep(0.5 if args["day"] == "monday" else 0.2)
        together.append(len(at_work))
        return f"{args['day']} is free"

    tool = Tool("lookup", "Find a free day.", SCHEMA, slow)
    calls = Calls([("lookup", {"day": "monday"}), ("lookup", {"day": "tuesday"})])
    service = FakeRealtime(heard=["When?"], says=[calls, Says("Both days are free.")])
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(Polite("when", voice=babble, gap_ms=1500))
    assert together == [2, 2]
    assert phone.transcript(call.sid)[-1] == ("assistant", "Both days are free.")
    kinds = [event["type"] for event in service.received]
    last_output = len(kinds) - 1 - kinds[::-1].index("conversation.item.create")
    # The greeting's own, and one that follows both answers.
    assert kinds.count("response.create") == 2
    assert kinds.index("response.create", kinds.index("conversation.item.create")) > last_output
    assert not service.problems


@in_virtual_time
async def test_a_tool_never_stops_the_voice_and_can_be_interrupted() -> None:
    done: list[str] = []

    async def slow(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        await asyncio.sleep(4)
        done.append("found")
        return "Tuesday"

    tool = Tool("lookup", "Find a free day.", SCHEMA, slow)
    service = FakeRealtime(
        heard=["When?", "Never mind."],
        says=[Calls([("lookup", {"day": "any"})], text="Let me see."), Says("As you wish.")],
    )
    caller = Caller(
        listen(),
        say("when"),
        listen(gap_ms=900),
        say("never mind"),
        listen(gap_ms=4000),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(caller)
    assert done == ["found"]
    assert phone.transcript(call.sid)[2:] == [
        ("assistant", "Let me see."),
        ("user", "Never mind."),
        ("assistant", "As you wish."),
    ]
    # The result joins the conversation of the model, and nobody is made to speak of it.
    outputs = [e for e in service.of("conversation.item.create") if "output" in e["item"]]
    assert len(outputs) == 1
    assert len(service.of("response.create")) == 1
    assert not service.problems


@in_virtual_time
async def test_a_connection_that_drops_in_mid_word_is_opened_again_with_all_that_was_said() -> None:
    service = FakeRealtime(
        heard=["When?", "Thank you."],
        says=[Says(LONG), Says("That is all."), Says("Goodbye.")],
        speed=1.2,
    )

    async def drop(handset: Any) -> None:
        service.drop_all()

    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(1500),
        drop,
        listen(gap_ms=1500),
        say("thank you"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    lines = phone.transcript(call.sid)
    assert [role for role, _ in lines] == ["assistant", "user", "assistant", "user", "assistant"]
    assert lines[2][1].endswith("That is all.")
    assert lines[-1] == ("assistant", "Goodbye.")
    assert len(service.conversations) == 2
    told = [
        (event["item"]["role"], event["item"]["content"][0]["text"])
        for event in service.conversations[1].received
        if event["type"] == "conversation.item.create"
    ]
    assert told[:2] == [("assistant", GREETING), ("user", "When?")]
    assert told[2][0] == "assistant"
    assert LONG.startswith(told[2][1])
    updates = [each.session for each in service.conversations]
    assert updates[0]["instructions"] == updates[1]["instructions"]
    assert updates[0]["tools"] == updates[1]["tools"]
    assert not service.problems


@in_virtual_time
async def test_a_wrong_key_ends_the_call_with_an_apology_of_the_carrier() -> None:
    service = FakeRealtime(key="sk-another")
    engine = in_memory(Realtime("sk-wrong"), service)
    made = build_agent("You are the desk.", None, engine=engine, first_message=GREETING)
    async with Simulation(made) as phone:
        assert phone.twilio is not None
        call = await phone.talk(Caller(wait(60_000), voice=babble))
        assert phone.calls[call.sid].end["reason"] == "provider_error"
        assert call.duration_s < 20
        assert service.connections == 1
        assert not phone.transcript(call.sid)
        assert any("something went wrong" in str(asked.form) for asked in phone.twilio.requests)


@in_virtual_time
async def test_a_service_that_stays_away_ends_the_call_within_seconds() -> None:
    service = FakeRealtime(heard=["When?"], says=[Says(LONG)])

    async def vanish(handset: Any) -> None:
        service.refusals += [Refusal(503)] * 20
        service.drop_all()

    caller = Caller(
        listen(), say("when"), interrupt_after(1000), vanish, wait(60_000), voice=babble
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
        assert phone.calls[call.sid].end["reason"] == "provider_error"
        assert call.duration_s < 40


@in_virtual_time
async def test_a_caller_who_never_speaks_is_asked_once_and_then_released() -> None:
    service = FakeRealtime()
    async with Simulation(agent(service), idle_timeout=10.0) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
    assert [text for _, text in phone.transcript(call.sid)] == [GREETING, "Are you still there?"]
    assert phone.calls[call.sid].end["reason"] == "idle"


@in_virtual_time
async def test_words_that_come_late_and_out_of_order_are_told_in_the_order_they_were_spoken() -> (
    None
):
    service = FakeRealtime(
        heard=["First.", "Second."],
        says=[Says("One."), Says("Two.")],
        transcript_delays=[2.9, 0.1],
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("first one", "second one"))
    assert phone.transcript(call.sid) == [
        ("assistant", GREETING),
        ("user", "First."),
        ("assistant", "One."),
        ("user", "Second."),
        ("assistant", "Two."),
    ]


@in_virtual_time
async def test_a_turn_whose_words_never_come_is_told_without() -> None:
    service = FakeRealtime(heard=["Lost.", "Second."], transcript_delays=[float("inf"), 0.1])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("first one", "second one"))
    assert phone.transcript(call.sid)[1:4] == [
        ("user", ""),
        ("assistant", "Certainly."),
        ("user", "Second."),
    ]


@in_virtual_time
async def test_with_interruption_off_the_agent_finishes_and_then_answers() -> None:
    service = FakeRealtime(heard=["When?", "Hello?"], says=[Says(LONG), Says("Yes, hello.")])
    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2500),
        say("hello there"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service, barge_in_threshold_ms=0)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[1:] == [
        ("user", "When?"),
        ("assistant", LONG),
        ("user", "Hello?"),
        ("assistant", "Yes, hello."),
    ]
    assert not service.of("conversation.item.truncate")
    assert not service.problems


@in_virtual_time
async def test_what_a_guardrail_forbids_is_never_heard_to_the_end() -> None:
    rule = Guardrail(
        name="law", blocked_terms=["legal action"], replacement="I cannot advise on that."
    )
    service = FakeRealtime(
        heard=["What now?"], says=[Says("Well, you could take legal action against them.")]
    )
    async with Simulation(agent(service, guardrails=[rule])) as phone:
        call = await phone.talk(polite("what now"))
    said = phone.transcript(call.sid)[-1][1]
    assert said.endswith("I cannot advise on that.")
    assert "legal action" not in said
    assert not service.problems


@in_virtual_time
async def test_keys_are_told_to_the_model_as_one_turn() -> None:
    service = FakeRealtime(says=[Says("You chose twelve.")])
    caller = Caller(listen(), press("12"), listen(), hang_up(), voice=babble)
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[1:] == [
        ("user", "[DTMF: 12]"),
        ("assistant", "You chose twelve."),
    ]
    (told,) = service.of("conversation.item.create")
    assert told["item"]["content"] == [{"type": "input_text", "text": "[DTMF: 12]"}]


@in_virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up() -> None:
    service = FakeRealtime(
        heard=["Bye."],
        says=[Calls([("end_call", {"reason": "done"})], text="Goodbye, and thank you!")],
    )
    caller = Caller(listen(), say("bye"), wait(60_000), voice=babble)
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye, and thank you!")
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"
    assert call.hung_up_by == "api"
    assert not service.problems


@in_virtual_time
async def test_a_session_that_expires_is_renewed_and_the_talk_goes_on() -> None:
    service = FakeRealtime(
        heard=["First.", "Second."], says=[Says("One."), Says("Two.")], expires_after=6.0
    )
    caller = Caller(
        listen(),
        say("first"),
        listen(),
        wait(6000),
        say("second"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[1:] == [
        ("user", "First."),
        ("assistant", "One."),
        ("user", "Second."),
        ("assistant", "Two."),
    ]
    assert len(service.conversations) >= 2


@in_virtual_time
async def test_late_sound_of_a_cut_reply_is_dropped() -> None:
    service = FakeRealtime(
        heard=["When?", "Stop."], says=[Says(LONG), Says("Of course.")], latency=0.15, speed=1.5
    )
    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2500),
        say("stop please"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Of course.")
    assert len(call.tape().heard_spans()) == 3
    assert not service.problems


@in_virtual_time
async def test_a_failed_response_is_asked_for_again() -> None:
    service = FakeRealtime(heard=["When?"], says=[Fails(), Says("On Tuesday.")])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("when"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "On Tuesday.")


@in_virtual_time
async def test_the_flight_of_an_engine_call_runs_again(tmp_path: Path) -> None:
    service = FakeRealtime(heard=["When?", "Stop."], says=[Says(LONG), Says("Of course.")])
    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2500),
        say("stop please"),
        listen(),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service), flight_recorder=tmp_path) as phone:
        call = await phone.talk(caller)
    FlightRecorder.written()
    file = tmp_path / f"{call.sid}.flight.jsonl"
    header = read_header(file)
    wire = Twilio("AC" + "0" * 32, "token").wire()
    wire.resume(header.started)
    again = replay(file, wire)
    assert again.first_difference is None
    assert [(line.role, line.text) for line in again.lines] == phone.transcript(call.sid)


@in_virtual_time
async def test_the_connection_of_the_ring_carries_the_session_of_the_answer() -> None:
    service = FakeRealtime(heard=["Hi."], says=[Says("Hello Ada.")])

    async def start(event: Any) -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {"variables": {"name": "Ada"}}

    prompt = "You speak with {name} of {place}."
    engine = in_memory(Realtime(service.key), service)
    made = build_agent(prompt, None, engine=engine, variables={"name": "?", "place": "Rome"})
    async with Simulation(made, on_call_start=start) as phone:
        caller = Caller(wait(3000), say("hi"), listen(), hang_up(), voice=babble)
        call = phone.ring(caller)
        await asyncio.sleep(0.9)
        assert len(service.conversations) == 1
        assert service.conversations[0].heard_ms == 0
        await call.ended()
    (conversation,) = service.conversations
    assert conversation.instructions == "You speak with Ada of Rome."
    assert phone.transcript(call.sid)[-1] == ("assistant", "Hello Ada.")
    assert not service.problems


@in_virtual_time
async def test_a_ring_that_could_not_connect_only_means_a_later_connect() -> None:
    service = FakeRealtime(heard=["Hi."], says=[Says("Hello.")])
    service.refusals.append(Refusal(503))
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("hi"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Hello.")


@in_virtual_time
async def test_a_check_of_the_programs_own_judges_sentence_by_sentence() -> None:
    seen: list[str] = []

    async def check(text: str) -> bool:
        seen.append(text)
        await asyncio.sleep(0.1)
        return "cheap" in text

    rule = Guardrail(name="prices", check=check, replacement="Ask us about prices.")
    service = FakeRealtime(
        heard=["How much?"], says=[Says("We are glad you ask. It is really very cheap today.")]
    )
    async with Simulation(agent(service, guardrails=[rule])) as phone:
        call = await phone.talk(polite("how much"))
    said = phone.transcript(call.sid)[-1][1]
    assert said.endswith("Ask us about prices.")
    assert "cheap" not in said
    assert seen[0] == "We are glad you ask."


@in_virtual_time
async def test_a_cough_that_only_our_detector_hears_leaves_nobody_mute() -> None:
    service = FakeRealtime(heard=["When?"], says=[Says(LONG), Says("As I said, until noon.")])
    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2000),
        deafen(service),
        say("hm hm hm"),
        listen(gap_ms=2500),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    said = [text for role, text in phone.transcript(call.sid) if role == "assistant"]
    assert LONG.startswith(said[1])
    assert said[-1] == "As I said, until noon."
    assert len([role for role, _ in phone.transcript(call.sid) if role == "user"]) == 1


def deafen(service: FakeRealtime) -> Any:
    """The service's own detector hears nothing from now on."""

    async def step(handset: Any) -> None:
        del handset
        for each in service.conversations:
            each.session["audio"]["input"]["turn_detection"] = None

    return step
