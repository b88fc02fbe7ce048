"""The demo's desk on a line without sockets: whole conversations with all kinds of callers, in no time."""

from __future__ import annotations

import pytest

from getpatter import Patter
from getpatter.agent import Agent
from getpatter.cli.demo_desk import GREETING, AppointmentDesk
from getpatter.testing.callers import (
    Caller,
    Step,
    babble,
    cough,
    interrupt_after,
    listen,
    press,
    say,
)
from getpatter.testing.line import Conditions
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

BOOKED = ("assistant", "You are booked for Thursday morning. Goodbye!")
SAID = (
    "i would like to book an appointment",
    "on tuesday please",
    "make it thursday instead",
    "yes that is right",
)


def _agent(*lines: str) -> Agent:
    return Patter().agent(
        system_prompt="You book appointments.",
        first_message=GREETING,
        stt=ScriptedSTT(list(lines)),
        tts=ScriptedTTS(ms_per_letter=30),
    )


def _script(*, impatient: bool = True) -> list[Step]:
    before_thursday = interrupt_after(1500) if impatient else listen()
    return [
        listen(), say(SAID[0]), listen(), say(SAID[1]), before_thursday, say(SAID[2]),
        listen(), press("1"), listen(), say(SAID[3]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(jitter_ms=60, seed=1),
        Conditions(loss=0.05, seed=2),
        Conditions(late_marks_ms=120, stops_twice=True),
    ],
    ids=["good line", "jitter", "loss", "late marks"],
)
@pytest.mark.parametrize("impatient", [True, False], ids=["interrupts", "waits"])
@in_virtual_time
async def test_an_appointment_is_booked(*, conditions: Conditions, impatient: bool) -> None:
    desk = AppointmentDesk()
    async with Simulation(
        _agent(*SAID), conditions=conditions, on_message=desk.on_message
    ) as phone:
        call = await phone.talk(Caller(*_script(impatient=impatient), voice=babble))
    said = phone.transcript(call.sid)
    assert said[0] == ("assistant", GREETING)
    assert [text for role, text in said if role == "user"] == [*SAID[:3], "[DTMF: 1]", SAID[3]]
    assert said[-1] == BOOKED
    hours = next(text for _, text in said if text.startswith("Tuesday it is."))
    assert hours.endswith("for the afternoon.") is not impatient
    assert call.hung_up_by == "api"
    assert phone.calls[call.sid].end["reason"] == "agent_hangup"
    assert not phone.problems


@in_virtual_time
async def test_a_cough_does_not_cost_the_caller_the_opening_hours() -> None:
    desk = AppointmentDesk()
    steps = [listen(), say(SAID[1]), interrupt_after(1500), cough(), listen(), press("2")]
    async with Simulation(
        _agent("on tuesday please", "", "yes"), on_message=desk.on_message
    ) as phone:
        call = await phone.talk(Caller(*steps, listen(), say("yes"), voice=babble))
    said = phone.transcript(call.sid)
    heard = " ".join(text for role, text in said if role == "assistant")
    assert "every day we are away between twelve and one for lunch" in heard
    assert said[-1] == ("assistant", "You are booked for Tuesday afternoon. Goodbye!")
    assert not phone.problems


@in_virtual_time
async def test_two_callers_book_at_once() -> None:
    desk = AppointmentDesk()
    async with Simulation(_agent(*SAID), on_message=desk.on_message) as phone:
        one = phone.ring(Caller(*_script(), voice=babble))
        two = phone.ring(Caller(*_script(impatient=False), voice=babble))
        await one.ended()
        await two.ended()
    assert phone.transcript(one.sid)[-1] == BOOKED
    assert phone.transcript(two.sid)[-1] == BOOKED
    assert not phone.problems
