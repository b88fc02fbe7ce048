"""Whole calls with an engine that names neither responses nor turns, and ends its connections while people talk."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.engines.google import GeminiLive
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
from getpatter.testing.fake_gemini import Calls, FakeGemini, Says
from getpatter.testing.fake_speech import Refusal
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail, Tool

GREETING: Final = "Welcome to the clinic."
SCHEMA: Final = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
}
LONG: Final = (
    "Our opening hours are from nine in the morning until half past five in the afternoon, on every day "
    "of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)


def agent(service: FakeGemini, **options: Any) -> Agent:
    given: dict[str, Any] = {"first_message": GREETING} | options
    engine = in_memory(GeminiLive(service.key), service)
    return build_agent("You are the desk of a clinic.", None, engine=engine, **given)


def polite(*lines: str) -> Any:
    return Polite(*lines, voice=babble)


def interrupter() -> Any:
    return Caller(
        listen(),
        say("when"),
        interrupt_after(2500),
        say("stop please"),
        listen(),
        hang_up(),
        voice=babble,
    )


def texts(service: FakeGemini) -> list[str]:
    return [
        part["text"]
        for content in service.of("clientContent")
        for turn in content.get("turns", [])
        for part in turn["parts"]
    ]


@pytest.mark.parametrize("words_delay", [-0.1, 0.4])
def test_a_caller_is_greeted_and_answered_and_the_words_may_come_late(words_delay: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        service = FakeGemini(
            heard=["A haircut please.", "Monday."],
            says=[Says("Which day?"), Says("Monday it is.")],
            words_delay=words_delay,
        )
        async with Simulation(agent(service, language="it-IT")) as phone:
            call = await phone.talk(polite("a haircut please", "on monday"))
            assert phone.transcript(call.sid) == [
                ("assistant", GREETING),
                ("user", "A haircut please."),
                ("assistant", "Which day?"),
                ("user", "Monday."),
                ("assistant", "Monday it is."),
            ]
            assert phone.calls[call.sid].end["reason"] == "caller_hangup"
            assert not phone.problems
        assert texts(service)[0].endswith("The words:\n\n" + GREETING)
        (conversation,) = service.conversations
        assert conversation.setup["systemInstruction"] == {
            "parts": [{"text": "You are the desk of a clinic."}]
        }
        assert conversation.setup["generationConfig"]["speechConfig"]["languageCode"] == "it-IT"
        assert service.close_codes == [1000]
        assert not service.problems

    scenario()


@in_virtual_time
async def test_a_long_reply_is_interrupted_and_only_what_was_heard_is_kept() -> None:
    service = FakeGemini(heard=["When?", "Stop please."], says=[Says(LONG), Says("Of course.")])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(interrupter())
    lines = phone.transcript(call.sid)
    assert [role for role, _ in lines] == ["assistant", "user", "assistant", "user", "assistant"]
    heard = lines[2][1]
    assert LONG.startswith(heard)
    assert 25 < len(heard) < 65
    assert lines[3:] == [("user", "Stop please."), ("assistant", "Of course.")]
    turn = phone.calls[call.sid].end["metrics"].turns[1]
    assert turn.interrupted
    assert turn.user_text == "When?"
    # One span of the cut reply, one of the answer: nothing of the old one came back.
    assert len(call.tape().heard_spans()) == 3
    assert not service.problems
    assert not phone.problems


@in_virtual_time
async def test_with_interruption_off_nothing_of_the_reply_is_lost() -> None:
    service = FakeGemini(heard=["When?", "Hello?"], says=[Says(LONG), Says("Yes, hello.")])
    async with Simulation(agent(service, barge_in_threshold_ms=0)) as phone:
        call = await phone.talk(interrupter())
    said = " ".join(text for role, text in phone.transcript(call.sid) if role == "assistant")
    assert LONG in said
    assert said.endswith("Yes, hello.")
    assert ("user", "Hello?") in phone.transcript(call.sid)
    (conversation,) = service.conversations
    assert conversation.setup["realtimeInputConfig"]["activityHandling"] == "NO_INTERRUPTION"


@in_virtual_time
async def test_what_a_tool_finds_out_is_said_in_the_same_turn() -> None:
    asked: list[dict[str, Any]] = []

    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        asked.append(args)
        await asyncio.sleep(3.0)
        return {"free": "Tuesday"}

    tool = Tool("lookup", "Find a free day.", SCHEMA, lookup)
    calls = Calls(
        [("lookup", {"day": "monday"}), ("lookup", {"day": "any"})],
        text="Let me see.",
        then="On Tuesday.",
    )
    service = FakeGemini(heard=["When can I come?"], says=[calls])
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(Polite("when can i come", voice=babble, gap_ms=4000))
    assert asked == [{"day": "monday"}, {"day": "any"}]
    assert phone.transcript(call.sid)[1:] == [
        ("user", "When can I come?"),
        ("assistant", "Let me see. On Tuesday."),
    ]
    results = [
        each for response in service.of("toolResponse") for each in response["functionResponses"]
    ]
    assert [each["response"] for each in results] == [{"free": "Tuesday"}] * 2
    # The greeting, and no more: results make it speak by themselves.
    assert len(service.of("clientContent")) == 1
    assert not service.problems


@in_virtual_time
async def test_a_tool_whose_result_is_no_longer_wanted_is_not_answered() -> None:
    done: list[str] = []

    async def slow(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        await asyncio.sleep(4)
        done.append("found")
        return "Tuesday"

    tool = Tool("lookup", "Find a free day.", SCHEMA, slow)
    service = FakeGemini(
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
    assert not service.of("toolResponse")
    assert not service.problems


@in_virtual_time
async def test_what_a_guardrail_forbids_is_never_heard_to_the_end() -> None:
    rule = Guardrail(
        name="law", blocked_terms=["legal action"], replacement="I cannot advise on that."
    )
    service = FakeGemini(
        heard=["What now?"],
        says=[Says("Well, you could take legal action against them. " + LONG)],
        speed=1.5,
    )
    async with Simulation(agent(service, guardrails=[rule])) as phone:
        call = await phone.talk(polite("what now"))
    said = phone.transcript(call.sid)[-1][1]
    assert said.endswith("I cannot advise on that.")
    assert "legal action" not in said
    assert call.duration_s < 20  # it was not let to talk to its end
    assert not service.problems


@in_virtual_time
async def test_keys_are_told_to_the_model_as_one_turn() -> None:
    service = FakeGemini(says=[Says("You chose twelve.")])
    caller = Caller(listen(), press("12"), listen(), hang_up(), voice=babble)
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[1:] == [
        ("user", "[DTMF: 12]"),
        ("assistant", "You chose twelve."),
    ]
    assert "[DTMF: 12]" in texts(service)
    assert not service.problems


@in_virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up() -> None:
    service = FakeGemini(
        heard=["Bye."],
        says=[Calls([("end_call", {"reason": "done"})], text="Goodbye, and thank you!", then="")],
    )
    caller = Caller(listen(), say("bye"), wait(60_000), voice=babble)
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye, and thank you!")
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"
    assert call.hung_up_by == "api"
    assert not service.problems


@pytest.mark.parametrize("is_resumable", [True, False])
def test_a_connection_that_is_about_to_end_is_changed_in_a_pause(is_resumable: bool) -> None:
    @in_virtual_time
    async def scenario() -> None:
        service = FakeGemini(
            heard=["First.", "Second."],
            says=[Says(LONG), Says("Two.")],
            lasts=18.0,
            goes_away=10.0,
            is_resumable=is_resumable,
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
        assert phone.transcript(call.sid) == [
            ("assistant", GREETING),
            ("user", "First."),
            ("assistant", LONG),
            ("user", "Second."),
            ("assistant", "Two."),
        ]
        first, second = service.conversations[:2]
        assert second.was_resumed is is_resumable
        assert ("historyConfig" in second.setup) is not is_resumable
        # Nothing of what was said is unknown to the session that goes on, and nothing was said twice.
        model = [each["parts"][0]["text"] for each in second.history if each["role"] == "model"]
        assert model[:2] == [GREETING, LONG]
        assert len(call.tape().heard_spans()) == 3
        assert first.line.close_code == 1000
        assert not service.problems

    scenario()


@in_virtual_time
async def test_a_connection_that_drops_in_mid_word_is_opened_again_and_goes_on() -> None:
    service = FakeGemini(
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
    assert not service.problems


@in_virtual_time
async def test_a_handle_that_the_service_has_forgotten_is_tried_once() -> None:
    service = FakeGemini(heard=["When?", "Thanks."], says=[Says("On Tuesday."), Says("Goodbye.")])

    async def forget(handset: Any) -> None:
        service.handles.clear()
        service.drop_all()

    caller = Caller(
        listen(),
        say("when"),
        listen(gap_ms=1500),
        forget,
        wait(2500),
        say("thanks a lot"),
        listen(gap_ms=1500),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye.")
    _, refused, again = service.conversations
    assert "handle" in refused.setup["sessionResumption"]
    assert [each["role"] for each in again.history[:3]] == ["model", "user", "model"]


@in_virtual_time
async def test_a_wrong_key_ends_the_call_with_an_apology_of_the_carrier() -> None:
    service = FakeGemini()
    engine = in_memory(GeminiLive("AIza-wrong"), service)
    async with Simulation(build_agent("You are the desk.", None, engine=engine)) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
        assert phone.calls[call.sid].end["reason"] == "provider_error"
        assert call.duration_s < 20


@in_virtual_time
async def test_a_service_that_is_busy_is_tried_again() -> None:
    service = FakeGemini(heard=["Hi."], says=[Says("Hello.")])
    service.refusals += [Refusal(503), Refusal(503)]
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("hi"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Hello.")


@in_virtual_time
async def test_a_caller_who_never_speaks_is_asked_once_and_then_released() -> None:
    service = FakeGemini()
    async with Simulation(agent(service), idle_timeout=10.0) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
    assert [text for _, text in phone.transcript(call.sid)] == [GREETING, "Are you still there?"]
    assert phone.calls[call.sid].end["reason"] == "idle"


@in_virtual_time
async def test_a_voice_that_only_our_detector_hears_leaves_nobody_mute() -> None:
    service = FakeGemini(heard=["When?"], says=[Says(LONG), Says("As I said, until noon.")])

    async def deafen(handset: Any) -> None:
        service.conversations[0].deafen()

    caller = Caller(
        listen(),
        say("when"),
        interrupt_after(2000),
        deafen,
        say("hm hm hm"),
        listen(gap_ms=10_000),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    said = [text for role, text in phone.transcript(call.sid) if role == "assistant"]
    assert LONG.startswith(said[1])
    assert said[-1] == "As I said, until noon."


@in_virtual_time
async def test_usage_is_reported_by_the_model_really_used_and_what_has_no_price_is_named() -> None:
    service = FakeGemini(heard=["Hi."], says=[Says("Hello.")])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("hi"))
    metrics = phone.calls[call.sid].end["metrics"]
    assert metrics.llm_model == "gemini-3.8-live"
    assert metrics.unpriced == ("google/gemini-3.8-live",)
    assert metrics.provider_mode == "gemini_live"
