"""Whole calls with an agent that lives at its vendor's: the same calls, over a wire that says much less."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.engines.elevenlabs import ElevenLabsConvAI
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
from getpatter.testing.fake_convai import AgentCalls, FakeConvAI
from getpatter.testing.fake_speech import Refusal
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail, Tool

GREETING = "Welcome to the clinic."
LONG = (
    "Our opening hours are from nine in the morning until half past five in the afternoon, on every day "
    "of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)


def agent(service: FakeConvAI, **options: Any) -> Agent:
    given: dict[str, Any] = {"first_message": GREETING} | options
    engine = ElevenLabsConvAI(service.key, service.agent_id, voice="voice_1")
    return build_agent("You are the desk.", None, engine=in_memory(engine, service), **given)


@pytest.mark.parametrize("audio_format", ["ulaw_8000", "pcm_16000", "pcm_24000"])
def test_a_caller_is_greeted_and_answered_in_the_agents_own_format(audio_format: str) -> None:
    @in_virtual_time
    async def scenario() -> None:
        service = FakeConvAI(heard=["A haircut."], says=["Which day?"], audio_format=audio_format)
        made = agent(service, language="it-IT", variables={"name": "Ada"})
        async with Simulation(made) as phone:
            call = await phone.talk(Polite("a haircut please", voice=babble, gap_ms=1200))
        assert phone.transcript(call.sid) == [
            ("assistant", GREETING),
            ("user", "A haircut."),
            ("assistant", "Which day?"),
        ]
        (conversation,) = service.conversations
        assert conversation.initiation == {
            "type": "conversation_initiation_client_data",
            "conversation_config_override": {
                "agent": {
                    "prompt": {"prompt": "You are the desk."},
                    "first_message": GREETING,
                    "language": "it",
                },
                "tts": {"voice_id": "voice_1"},
            },
            "dynamic_variables": {"name": "Ada"},
        }
        assert conversation.pongs >= 1
        assert not service.problems
        assert not phone.problems

    scenario()


@in_virtual_time
async def test_a_long_reply_is_interrupted_and_only_what_was_heard_is_kept() -> None:
    service = FakeConvAI(heard=["When?", "Stop please."], says=[LONG, "Of course."])
    caller = Caller(
        listen(gap_ms=1200),
        say("when"),
        interrupt_after(2500),
        say("stop please"),
        listen(gap_ms=1500),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    lines = phone.transcript(call.sid)
    assert [role for role, _ in lines] == ["assistant", "user", "assistant", "user", "assistant"]
    assert LONG.startswith(lines[2][1])
    assert 25 < len(lines[2][1]) < 65
    assert lines[-1] == ("assistant", "Of course.")
    assert len(call.tape().heard_spans()) == 3
    assert not service.problems


@in_virtual_time
async def test_what_a_tool_finds_out_is_said() -> None:
    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(3.0)
        return {"free": args["day"]}

    schema = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
    tool = Tool("lookup", "Find a free day.", schema, lookup)
    service = FakeConvAI(
        heard=["When?"], says=[AgentCalls([("lookup", {"day": "Tuesday"})], then="On Tuesday.")]
    )
    async with Simulation(agent(service, tools=[tool])) as phone:
        call = await phone.talk(Polite("when", voice=babble, gap_ms=1500))
    assert phone.transcript(call.sid)[1:] == [("user", "When?"), ("assistant", "On Tuesday.")]
    (result,) = service.of("client_tool_result")
    assert (result["result"], result["is_error"]) == ('{"free":"Tuesday"}', False)
    assert not service.problems


@in_virtual_time
async def test_a_lost_connection_is_opened_again_and_nobody_is_greeted_twice() -> None:
    service = FakeConvAI(heard=["When?", "Thanks."], says=["On Tuesday.", "Goodbye."])

    async def drop(handset: Any) -> None:
        service.drop_all()

    caller = Caller(
        listen(gap_ms=1200),
        say("when"),
        listen(gap_ms=1500),
        drop,
        wait(1000),
        say("thanks a lot"),
        listen(gap_ms=1500),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(caller)
    assert phone.transcript(call.sid) == [
        ("assistant", GREETING),
        ("user", "When?"),
        ("assistant", "On Tuesday."),
        ("user", "Thanks."),
        ("assistant", "Goodbye."),
    ]
    again = service.conversations[1]
    assert again.initiation["conversation_config_override"]["agent"]["first_message"] == ""
    (context,) = [each for each in again.received if each["type"] == "contextual_update"]
    assert "On Tuesday." in context["text"]


@in_virtual_time
async def test_a_wrong_key_ends_the_call() -> None:
    service = FakeConvAI()
    engine = in_memory(ElevenLabsConvAI("xi-wrong", service.agent_id), service)
    async with Simulation(build_agent("You are the desk.", None, engine=engine)) as phone:
        call = await phone.talk(Caller(wait(60_000), voice=babble))
        assert phone.calls[call.sid].end["reason"] == "provider_error"
        assert call.duration_s < 20


@in_virtual_time
async def test_keys_and_guardrails() -> None:
    rule = Guardrail(name="law", blocked_terms=["sue"], replacement="I cannot advise on that.")
    service = FakeConvAI(says=["Of course you may sue them all."])
    caller = Caller(listen(gap_ms=1200), press("5"), listen(gap_ms=2000), hang_up(), voice=babble)
    async with Simulation(agent(service, guardrails=[rule])) as phone:
        call = await phone.talk(caller)
    lines = phone.transcript(call.sid)
    assert lines[1] == ("user", "[DTMF: 5]")
    assert lines[2][1].endswith("I cannot advise on that.")
    assert "sue" not in lines[2][1]
    assert service.of("user_message")[0]["text"] == "[DTMF: 5]"


@in_virtual_time
async def test_a_service_that_is_busy_is_tried_again() -> None:
    service = FakeConvAI(says=["Hi."])
    service.refusals += [Refusal(503), Refusal(503)]
    async with Simulation(agent(service)) as phone:
        call = await phone.talk(Polite(voice=babble, gap_ms=1200))
    assert phone.transcript(call.sid) == [("assistant", GREETING)]
