"""Whole calls through the carriers that take orders by REST, or fetch documents: in virtual time, with real frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.runtime.control import CallControl
from getpatter.testing.callees import Callee
from getpatter.testing.callers import (
    Caller,
    Interrupter,
    Polite,
    babble,
    hang_up,
    listen,
    say,
    wait,
)
from getpatter.testing.line import Conditions
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import Habits, SimulatedTelnyx
from getpatter.testing.time import in_virtual_time
from getpatter.types import ALAW_8K
from tests.support.phones import THEIRS, phone


def agent(*heard: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["I see.", "Really?"]),
        "first_message": "Welcome to the clinic.",
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


def telnyx(**options: Any) -> SimulatedTelnyx:
    return SimulatedTelnyx(listens=False, **options)


def plivo(**options: Any) -> SimulatedPlivo:
    return SimulatedPlivo(listens=False, **options)


PLACES = [
    telnyx,
    plivo,
]

SAID = [
    ("assistant", "Welcome to the clinic."),
    ("user", "a haircut"),
    ("assistant", "I see."),
]


@pytest.mark.parametrize(
    "simulate",
    [
        telnyx,
        lambda: telnyx(habits=Habits(byte_order="big")),
        lambda: telnyx(habits=Habits(reorders=True)),
        lambda: telnyx(habits=Habits(announces=ALAW_8K)),
        lambda: telnyx(habits=Habits(fails_l16=True)),
        lambda: telnyx(conditions=Conditions(jitter_ms=80, loss=0.03, late_marks_ms=200)),
        plivo,
        lambda: plivo(conditions=Conditions(jitter_ms=80, loss=0.03, late_marks_ms=200)),
    ],
    ids=["L16", "big", "reorders", "A-law", "no L16", "bad line", "plivo", "plivo bad line"],
)
@in_virtual_time
async def test_a_caller_is_greeted_answered_and_heard_out(simulate: Any) -> None:
    simulated = simulate()
    async with phone(simulated, agent("a haircut")) as ours:
        call = simulated.ring(Polite("a haircut", voice=babble))
        await call.ended()
        end = await ours.farewell(call.id)
        assert not simulated.problems
    assert ours.lines == SAID
    assert end["reason"] == "caller_hangup"
    assert (end["caller"], end["callee"]) == ("+15550009876", "+15550001234")
    assert len(call.tape().heard_spans(gap_ms=700)) == 2


@pytest.mark.parametrize("simulate", [telnyx, plivo])
@in_virtual_time
async def test_an_interruption_clears_what_was_queued(simulate: Any) -> None:
    simulated = simulate()
    long = "We are open from nine to five on every weekday and on Saturdays until noon. " * 3
    async with phone(simulated, agent("stop", first_message=long)) as ours:
        call = simulated.ring(Interrupter("stop now please", voice=babble))
        await call.ended()
        await ours.farewell(call.id)
        assert call.leg.clears
        assert not simulated.problems
    assert ours.lines[0][0] == "assistant"
    assert len(ours.lines[0][1]) < len(long)


@pytest.mark.parametrize("simulate", [telnyx, plivo])
@in_virtual_time
async def test_a_call_that_the_program_ends_is_released_at_the_carrier(simulate: Any) -> None:
    simulated = simulate()
    async with phone(simulated, agent("bye")) as ours:
        call = simulated.ring(Caller(listen(), wait(60_000), voice=babble))
        await call.until(lambda each: each.rides)
        await ours.server.end_call(call.id)
        await call.ended()
        end = await ours.farewell(call.id)
        assert not simulated.problems
    assert call.hung_up_by == "api"
    assert end["call_id"] == call.id


@pytest.mark.parametrize("simulate", [telnyx, plivo])
@in_virtual_time
async def test_a_call_over_the_limit_is_busy(simulate: Any) -> None:
    simulated = simulate()
    async with phone(simulated, agent(), max_concurrent_calls=1) as ours:
        first = simulated.ring(Caller(listen(), wait(5000), hang_up(), voice=babble))
        await first.until(lambda each: each.rides)
        second = simulated.ring(Caller(voice=babble))
        await second.ended()
        await first.ended()
        await ours.farewell(first.id)
        assert not simulated.problems
    assert getattr(second, "cause", "user_busy") == "user_busy"
    assert getattr(second, "status", "") in {"busy", "hangup"}
    assert not second.rides


@pytest.mark.parametrize("simulate", [telnyx, plivo])
@in_virtual_time
async def test_every_call_is_recorded_where_that_was_asked_for(simulate: Any) -> None:
    simulated = simulate()
    async with phone(simulated, agent("a haircut"), recording=True) as ours:
        call = simulated.ring(Polite("a haircut", voice=babble))
        await call.ended()
        await ours.farewell(call.id)
        assert not simulated.problems
    kinds = [each.kind for each in getattr(call, "reports", None) or call.deliveries]
    assert "call.recording.saved" in kinds or "recording" in kinds


@pytest.mark.parametrize("simulate", [telnyx, plivo])
@in_virtual_time
async def test_a_caller_is_transferred_after_the_words_before_it(simulate: Any) -> None:
    simulated = simulate()
    office = Callee(rings_s=2, talks_s=30)
    simulated.callees |= {THEIRS: office, THEIRS.removeprefix("+"): office}

    async def desk(event: Mapping[str, Any], control: CallControl) -> str:
        results.append(await control.transfer(THEIRS))
        return ""

    results: list[Mapping[str, object]] = []
    async with phone(simulated, agent("the office", llm=None), on_message=desk) as ours:
        call = simulated.ring(Caller(listen(), say("the office"), wait(60_000), voice=babble))
        await call.until(lambda each: each.transfers)
        end = await ours.farewell(call.id)
        assert not call.is_over
        await call.ended(within_s=120)
        assert not simulated.problems
    assert [number.removeprefix("+") for number in call.transfers] == [THEIRS.removeprefix("+")]
    assert results == [{"status": "transferring", "mode": "cold", "to": THEIRS}]
    assert end["reason"] == "transferred"


@pytest.mark.parametrize("simulate", PLACES)
@in_virtual_time
async def test_a_placed_call_is_held_and_told(simulate: Any) -> None:
    simulated = simulate()
    person = Callee(Polite("yes", voice=babble))
    simulated.callees |= {THEIRS: person, THEIRS.removeprefix("+"): person}
    async with phone(simulated, agent("yes")) as ours:
        result = await ours.call()
        assert not simulated.problems
    assert result.outcome == "answered"
    assert [line["role"] for line in result.transcript] == ["assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("callee", "outcome"),
    [
        (Callee(outcome="busy"), "busy"),
        (Callee(outcome="no-answer", rings_s=60), "no_answer"),
        (Callee(outcome="failed"), "failed"),
    ],
)
@pytest.mark.parametrize("simulate", PLACES)
@in_virtual_time
async def test_a_placed_call_that_nobody_answers_is_told(
    simulate: Any, callee: Callee, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    simulated = simulate()
    simulated.callees |= {THEIRS: callee, THEIRS.removeprefix("+"): callee}
    async with phone(simulated, agent()) as ours:
        result = await ours.call()
        assert not simulated.problems
    assert result.outcome == outcome
    assert "call.without_media" not in caplog.text


@pytest.mark.parametrize("simulate", PLACES)
@in_virtual_time
async def test_a_machine_is_left_a_message(simulate: Any) -> None:
    simulated = simulate()
    machine = Callee(Caller(wait(120_000), voice=babble), answered_by="machine_end_beep")
    simulated.callees |= {THEIRS: machine, THEIRS.removeprefix("+"): machine}
    async with phone(simulated, agent()) as ours:
        result = await ours.call(voicemail_message="Please call {name}.", variables={"name": "us"})
        [call] = simulated.calls
        assert not simulated.problems
    assert result.outcome == "voicemail"
    assert call.words == ["Please call us."]
