"""Calls that we place, in virtual time: every outcome, machines, and nothing crossing over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from getpatter.agent import build_agent
from getpatter.models import CallResult, MachineDetectionResult
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import Callee

THEIRS = "+15550002222"


def agent(*heard: str, **options: Any) -> Any:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["I see."]),
        "first_message": "This is the clinic.",
    } | options
    return build_agent("You call people back.", None, **given)


@in_virtual_time
async def test_an_answered_call_is_held_with_the_settings_of_its_own() -> None:
    async with Simulation(agent(), callees={THEIRS: Callee(Polite("yes", voice=babble))}) as phone:
        result = await phone.call(
            THEIRS,
            agent=agent("yes please"),
            first_message="Hello {name}.",
            variables={"name": "Ada"},
        )
    assert isinstance(result, CallResult)
    assert result.outcome == "answered"
    assert [(line["role"], line["text"]) for line in result.transcript] == [
        ("assistant", "Hello Ada."),
        ("user", "yes please"),
        ("assistant", "I see."),
    ]
    start = phone.calls[result.call_id].start
    assert (start["caller"], start["callee"]) == ("+15550001234", THEIRS)
    assert start["direction"] == "outbound"
    assert not phone.problems


@pytest.mark.parametrize(
    ("callee", "outcome", "status"),
    [
        (Callee(outcome="busy"), "busy", "busy"),
        (Callee(outcome="no-answer", rings_s=60), "no_answer", "no-answer"),
        (Callee(outcome="failed"), "failed", "failed"),
    ],
)
@in_virtual_time
async def test_a_call_that_nobody_takes_ends_with_its_outcome_and_no_callback(
    callee: Callee, outcome: str, status: str
) -> None:
    async with Simulation(agent(), callees={THEIRS: callee}) as phone:
        result = await phone.call(THEIRS)
    assert (result.outcome, result.status) == (outcome, status)
    assert not phone.calls
    assert not phone.problems


@in_virtual_time
async def test_a_machine_gets_the_message_of_its_call_once_and_whole() -> None:
    verdicts: list[MachineDetectionResult] = []
    machine = Callee(Caller(wait(60_000), voice=babble), answered_by="machine_end_beep")
    async with Simulation(agent(), callees={THEIRS: machine}) as phone:
        result = await phone.call(
            THEIRS,
            voicemail_message="Please call us back, {name}.",
            variables={"name": "Ada"},
            on_machine_detection=verdicts.append,
        )
        (call,) = phone.twilio.calls
    assert result.outcome == "voicemail"
    assert call.words == ["Please call us back, Ada."]
    assert [verdict.classification for verdict in verdicts] == ["machine"]
    assert verdicts[0].raw == "machine_end_beep"
    assert phone.calls[call.sid].end["reason"] == "voicemail"
    assert not phone.problems


@in_virtual_time
async def test_a_machine_without_a_message_is_released_within_two_seconds_of_the_verdict() -> None:
    machine = Callee(Caller(wait(60_000), voice=babble), answered_by="machine_end_silence")
    async with Simulation(agent(), callees={THEIRS: machine}) as phone:
        result = await phone.call(THEIRS)
        (call,) = phone.twilio.calls
    assert result.outcome == "voicemail"
    assert call.words == []
    assert call.hung_up_by == "api"
    assert call.duration_s < machine.verdict_after_s + 2


@in_virtual_time
async def test_a_human_verdict_changes_nothing_and_is_told() -> None:
    verdicts: list[str] = []
    human = Callee(Polite("hello", voice=babble), answered_by="human")
    async with Simulation(agent("hello"), callees={THEIRS: human}) as phone:
        result = await phone.call(
            THEIRS,
            voicemail_message="Call back.",
            on_machine_detection=lambda verdict: verdicts.append(verdict.classification),
        )
        (call,) = phone.twilio.calls
    assert result.outcome == "answered"
    assert verdicts == ["human"]
    assert call.words == []


@in_virtual_time
async def test_a_fax_is_hung_up_on() -> None:
    fax = Callee(Caller(wait(60_000), voice=babble), answered_by="fax")
    async with Simulation(agent(), callees={THEIRS: fax}) as phone:
        await phone.call(THEIRS, voicemail_message="Call back.")
        (call,) = phone.twilio.calls
    assert call.words == []
    assert call.hung_up_by == "api"


@in_virtual_time
async def test_what_the_carrier_is_asked_follows_the_arguments() -> None:
    busy = {THEIRS: Callee(outcome="busy")}
    async with Simulation(agent(), callees=busy, max_call_duration=900) as phone:
        await phone.call(THEIRS, machine_detection=False, ring_timeout=None)
        await phone.call(THEIRS, voicemail_message="x", machine_detection=False, ring_timeout=7)
        plain, detecting = phone.twilio.asked("POST /Calls.json")
    assert "Timeout" not in plain.form
    assert "MachineDetection" not in plain.form
    assert plain.form["TimeLimit"] == ["900"]
    assert detecting.form["Timeout"] == ["7"]
    assert detecting.form["MachineDetection"] == ["DetectMessageEnd"]
    assert detecting.form["AsyncAmd"] == ["true"]


@pytest.mark.timeout(60)  # 700 seconds of talk are a second or two of work
@in_virtual_time
async def test_a_hundred_calls_at_once_keep_their_own_words() -> None:
    numbers = [f"+1555200{index:04d}" for index in range(100)]
    people = {number: Callee(Polite("yes", voice=babble)) for number in numbers}
    async with Simulation(agent("yes"), callees=people) as phone:
        results = await asyncio.gather(
            *(phone.call(number, first_message=f"Hello {number}.") for number in numbers)
        )
    for number, result in zip(numbers, results, strict=True):
        assert result.transcript[0]["text"] == f"Hello {number}."
        assert phone.calls[result.call_id].start["callee"] == number
