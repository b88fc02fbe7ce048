"""Whole calls with an engine whose calls are created over HTTP, and joined over a socket of raw sound."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.engines.ultravox import UltravoxRealtime
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
from getpatter.testing.fake_speech import Refusal
from getpatter.testing.fake_ultravox import Calls, FakeUltravox, Says
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


def agent(service: FakeUltravox, **options: Any) -> Agent:
    given: dict[str, Any] = {"first_message": GREETING} | options
    engine = in_memory(UltravoxRealtime(service.key), service)
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


@pytest.mark.parametrize("words_delay", [-0.1, 0.4])
def test_a_caller_is_greeted_and_answered_and_the_words_may_come_late(words_delay: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        service = FakeUltravox(
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
        (greeting,) = service.of("forced_agent_message")
        assert greeting["content"] == GREETING
        (created,) = service.created
        assert created["systemPrompt"] == "You are the desk of a clinic."
        assert created["languageHint"] == "it-IT"
        assert created["medium"]["serverWebSocket"]["inputSampleRate"] == 8000
        assert service.close_codes == [1000]
        assert not service.problems

    scenario()


@in_virtual_time
async def test_a_long_reply_is_interrupted_and_only_what_was_heard_is_kept() -> None:
    service = FakeUltravox(heard=["When?", "Stop please."], says=[Says(LONG), Says("Of course.")])
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
async def test_a_voice_shorter_than_the_threshold_interrupts_nobody() -> None:
    service = FakeUltravox(heard=["When?"], says=[Says(LONG)])
    caller = Caller(
        listen(), say("when"), interrupt_after(2000), say("hm"), listen(), hang_up(), voice=babble
    )
    async with Simulation(agent(service, barge_in_threshold_ms=900)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[-1] == ("assistant", LONG)
    vad = service.created[0]["vadSettings"]
    assert vad["minimumInterruptionDuration"] == "0.900s"


@in_virtual_time
async def test_what_a_tool_finds_out_is_said_in_the_same_turn() -> None:
    asked: list[dict[str, Any]] = []

    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        asked.append(args)
        await asyncio.sleep(3.0)
        return {"free": "Tuesday"}

    tool = Tool("lookup", "Find a free day.", SCHEMA, lookup)
    calls = Calls([("lookup", {"day": "any"})], text="Let me see.", then="On Tuesday.")
    service = FakeUltravox(heard=["When can I come?"], says=[calls])
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(Polite("when can i come", voice=babble, gap_ms=4000))
    assert asked == [{"day": "any"}]
    assert phone.transcript(call.sid)[1:] == [
        ("user", "When can I come?"),
        ("assistant", "Let me see. On Tuesday."),
    ]
    (result,) = service.of("client_tool_result")
    assert result["result"] == '{"free":"Tuesday"}'
    # It goes on by itself.
    assert not service.of("user_text_message")
    assert not service.problems


@in_virtual_time
async def test_what_a_guardrail_forbids_is_never_heard_to_the_end() -> None:
    rule = Guardrail(
        name="law", blocked_terms=["legal action"], replacement="I cannot advise on that."
    )
    service = FakeUltravox(
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
    service = FakeUltravox(says=[Says("You chose twelve.")])
    caller = Caller(listen(), press("12"), listen(), hang_up(), voice=babble)
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid)[1:] == [
        ("user", "[DTMF: 12]"),
        ("assistant", "You chose twelve."),
    ]
    assert [each["text"] for each in service.of("user_text_message")] == ["[DTMF: 12]"]
    assert not service.problems


@in_virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up() -> None:
    service = FakeUltravox(
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


@in_virtual_time
async def test_a_call_that_the_service_ends_is_followed_by_another_that_knows_what_was_said() -> (
    None
):
    service = FakeUltravox(
        heard=["First.", "Second."], says=[Says("One."), Says("Two.")], lasts=8.0
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
    assert service.created[1]["initialMessages"] == [
        {"role": "MESSAGE_ROLE_AGENT", "text": GREETING},
        {"role": "MESSAGE_ROLE_USER", "text": "First."},
        {"role": "MESSAGE_ROLE_AGENT", "text": "One."},
    ]
    assert len(service.of("forced_agent_message")) == 1
    assert not service.problems


@in_virtual_time
async def test_a_connection_that_drops_in_mid_word_is_opened_again_and_goes_on() -> None:
    service = FakeUltravox(
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
async def test_a_wrong_key_ends_the_call_with_an_apology_of_the_carrier() -> None:
    service = FakeUltravox()
    engine = in_memory(UltravoxRealtime("AIza-wrong"), service)
    async with Simulation(build_agent("You are the desk.", None, engine=engine)) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
        assert phone.calls[call.sid].end["reason"] == "provider_error"
        assert call.duration_s < 20


@in_virtual_time
async def test_a_service_that_is_busy_is_tried_again() -> None:
    service = FakeUltravox(heard=["Hi."], says=[Says("Hello.")])
    service.refusals += [Refusal(503), Refusal(503)]
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("hi"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Hello.")


@in_virtual_time
async def test_a_caller_who_never_speaks_is_asked_once_and_then_released() -> None:
    service = FakeUltravox()
    async with Simulation(agent(service), idle_timeout=10.0) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
    assert [text for _, text in phone.transcript(call.sid)] == [GREETING, "Are you still there?"]
    assert phone.calls[call.sid].end["reason"] == "idle"


@in_virtual_time
async def test_a_voice_that_only_our_detector_hears_leaves_nobody_mute() -> None:
    service = FakeUltravox(heard=["When?"], says=[Says(LONG), Says("As I said, until noon.")])

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
    service = FakeUltravox(heard=["Hi."], says=[Says("Hello.")])
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(polite("hi"))
    metrics = phone.calls[call.sid].end["metrics"]
    assert metrics.llm_model == "ultravox-v0.7"
    assert metrics.unpriced == ("ultravox/ultravox-v0.7",)
    assert metrics.provider_mode == "ultravox_realtime"
