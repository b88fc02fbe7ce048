"""Whole calls with a speech-to-speech engine: a simulated carrier, the real wire of the service, virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.engines.openai import Realtime
from getpatter.testing.callers import Polite, babble
from getpatter.testing.fake_realtime import FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

GREETING = "Welcome to the clinic."


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
