"""Speech callbacks: who speaks, when, in which call; set on a phone, and told for many calls at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from getpatter import Patter
from getpatter.events import SPEECH_CALLBACKS
from getpatter.testing.callers import Polite, babble
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from tests.support.eventful import caller, engine_agent, pipeline_agent

Told = list[tuple[str, dict[str, Any]]]


def listening(told: Told) -> dict[str, Callable[[dict[str, Any]], None]]:
    def hear(name: str, event: dict[str, Any]) -> None:
        told.append((name, event))

    return {name: partial(hear, name) for name in SPEECH_CALLBACKS}


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
@in_virtual_time
async def test_everything_is_told_in_its_order(mode: str) -> None:
    told: Told = []
    agent = pipeline_agent() if mode == "pipeline" else engine_agent()[0]
    async with Simulation(agent, speech=listening(told)) as phone:
        call = await phone.talk(caller())
    for name, event in told:
        assert set(event) == {"call_id", "timestamp_ms", "turn_idx", *SPEECH_CALLBACKS[name]}
        assert event["call_id"] == call.sid
    # The greeting, then the first exchange.
    names = [name for name, event in told if event["turn_idx"] <= 1]
    expected = [
        "on_agent_speech_started",
        "on_audio_out",
        "on_agent_speech_ended",
        "on_user_speech_started",
        "on_user_speech_eos",
        "on_llm_token",
        "on_agent_speech_started",
        "on_audio_out",
        "on_agent_speech_ended",
    ]
    # The recogniser may be sure of the end before the detector is, and an engine writes its own greeting.
    shown = [name for name in names if name != "on_user_speech_ended"]
    assert shown[-len(expected) :] == expected
    by_name = defaultdict(list)
    for name, event in told:
        by_name[name].append(event)
    assert [each["interrupted"] for each in by_name["on_agent_speech_ended"]].count(True) == 1
    assert {each["trigger"] for each in by_name["on_user_speech_eos"]} == {
        "vad_silence",
        "manual_commit",
    }
    first = by_name["on_user_speech_eos"][0]
    assert 0 < first["trailing_silence_ms"] < 2000
    assert len(by_name["on_agent_speech_started"]) == len(by_name["on_agent_speech_ended"]) == 5
    assert by_name["on_user_speech_ended"][0]["speech_duration_ms"] > 500
    if mode == "pipeline":
        assert by_name["on_user_speech_started"][0]["vad_confidence"] > 0.5
        assert by_name["on_llm_token"][0] | {"timestamp_ms": 0} == {
            "call_id": call.sid,
            "timestamp_ms": 0,
            "turn_idx": 1,
            "llm_provider": "ActingLLM",
            "model": "acting-1",
        }
        assert by_name["on_audio_out"][0]["tts_provider"] == "named"
        assert first["transcript_so_far"].startswith("please look it up")
    else:
        assert by_name["on_audio_out"][0]["engine"] == "openai_realtime"


@in_virtual_time
async def test_calls_at_the_same_time_are_told_apart() -> None:
    told: Told = []
    async with Simulation(pipeline_agent(), speech=listening(told)) as phone:
        calls = [phone.ring(Polite("please", "yes", voice=babble)) for _ in range(4)]
        for call in calls:
            await call.ended()
    per_call = defaultdict(list)
    for name, event in told:
        per_call[event["call_id"]].append((name, event["turn_idx"]))
    assert set(per_call) == {call.sid for call in calls}
    one, *others = per_call.values()
    assert len(one) > 10
    assert all(sorted(other) == sorted(one) for other in others)


@in_virtual_time
async def test_a_callback_may_be_set_in_mid_call_and_harms_nothing_when_it_raises() -> None:
    told: list[str] = []
    speech: dict[str, Callable[[dict[str, Any]], object]] = {}

    def fails(_event: dict[str, Any]) -> None:
        speech["on_llm_token"] = lambda event: told.append(event["call_id"])
        raise RuntimeError

    speech["on_agent_speech_started"] = fails
    async with Simulation(pipeline_agent(), speech=speech) as phone:
        call = await phone.talk(Polite("please", voice=babble))
        assert [role for role, _ in phone.transcript(call.sid)] == [
            "assistant",
            "user",
            "assistant",
        ]
    assert told == [call.sid]


def test_they_are_attributes_of_a_phone() -> None:
    phone, other = Patter(), Patter()
    for name in SPEECH_CALLBACKS:
        assert getattr(phone, name) is None
        setattr(phone, name, print)
        assert getattr(phone, name) is print
        assert getattr(other, name) is None
        setattr(phone, name, None)
        assert getattr(phone, name) is None
        with pytest.raises(TypeError, match=name):
            setattr(phone, name, 5)
    assert not phone.speech


@in_virtual_time
async def test_a_program_may_ask_where_a_call_stands() -> None:
    states: list[dict[str, object] | None] = []
    async with Simulation(pipeline_agent()) as phone:
        server = phone._server
        assert server is not None

        def note(payload: dict[str, Any]) -> None:
            assert server is not None
            states.append(server.conversation_state(payload["call_id"]))

        phone.events.on("tts_chunk", note)
        phone.events.on("turn_started", note)
        call = await phone.talk(Polite("please", voice=babble))
        assert server.conversation_state(call.sid) is None
        assert server.conversation_state("nobody") is None
    assert all(state is not None and state["call_id"] == call.sid for state in states)
    assert {state["is_agent_speaking"] for state in states if state} == {True, False}
    assert Patter().conversation_state("nobody") is None
