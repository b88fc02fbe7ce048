"""Two calls in which everything happens that can be told of one: one with a pipeline, one with an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from getpatter.agent import Agent, build_agent
from getpatter.engines.openai import Realtime
from getpatter.events import PatterEventType
from getpatter.models import Transcript
from getpatter.testing.callers import (
    Caller,
    Program,
    babble,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    wait,
)
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS, is_audible
from getpatter.testing.simulation import Simulation
from getpatter.tools import Guardrail, Tool
from tests.support.models import ActingLLM, Request, used, wants

CANARY: Final = "canary"
"""In everything that is said, prompted, looked up or found: no span, count or log may have it."""
GREETING: Final = f"Welcome, {CANARY}."
LONG: Final = (
    f"Our {CANARY} opening hours are from nine in the morning until half past five in the afternoon, on every "
    "day of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)
SCHEMA: Final = {"type": "object", "properties": {"what": {"type": "string"}}}


@dataclass
class GuessingSTT(ScriptedSTT):
    """A recogniser that guesses before it is sure."""

    provider_key = "guessing"
    model = "guess-1"

    def feed(self, data: bytes) -> None:
        if is_audible(data) and not self._spoke and self._left and self._results is not None:
            self._results.put_nowait(Transcript(self._left[0][:4], is_final=False))
        super().feed(data)


class NamedTTS(ScriptedTTS):
    """A voice with a name and a model."""

    provider_key = "named"
    model = "voice-1"


def _acts(request: Request) -> list[Any]:
    said = request.said_last
    if "look" in said and not request.results:
        return [used(20, 4), wants("look_up", what=CANARY)]
    if "look" in said:
        return [f"It is {CANARY} on Tuesday.", used(40, 8)]
    if "hours" in said:
        return [LONG, used(30, 50)]
    if "DTMF" in said:
        return ["Forbidden words here.", used(10, 3)]
    return [f"Yes, {CANARY}.", used(10, 2)]


async def look_up(_arguments: dict[str, Any], _context: dict[str, Any]) -> dict[str, str]:
    await asyncio.sleep(0.5)
    return {"found": CANARY}


def caller() -> Program:
    """Asks for something that needs a tool, interrupts a long answer, and presses a key."""
    return Caller(
        listen(),
        say("please look it up"),
        listen(),
        say("what are your hours"),
        interrupt_after(1500),
        say("stop please"),
        listen(),
        press("5"),
        listen(),
        wait(300),
        hang_up(),
        voice=babble,
    )


def pipeline_agent(**options: Any) -> Agent:
    heard = (
        f"please look it up {CANARY}",
        f"what are your hours {CANARY}",
        f"stop please {CANARY}",
    )
    given: dict[str, Any] = {
        "stt": GuessingSTT(heard),
        "tts": NamedTTS(),
        "llm": ActingLLM(_acts, model="acting-1"),
        "first_message": GREETING,
        "tools": [Tool("look_up", CANARY, SCHEMA, look_up)],
        "guardrails": [Guardrail(name="manners", blocked_terms=["forbidden"])],
    } | options
    return build_agent(f"You are a {CANARY}.", None, **given)


def engine_agent(**options: Any) -> tuple[Agent, FakeRealtime]:
    service = FakeRealtime(
        heard=[
            f"please look it up {CANARY}",
            f"what are your hours {CANARY}",
            f"stop please {CANARY}",
        ],
        says=[
            Calls([("look_up", {"what": CANARY})]),
            Says(f"It is {CANARY} on Tuesday."),
            Says(LONG),
            Says(f"Yes, {CANARY}."),
            Says("Forbidden words here."),
        ],
    )
    given: dict[str, Any] = {
        "first_message": GREETING,
        "tools": [Tool("look_up", CANARY, SCHEMA, look_up)],
        "guardrails": [Guardrail(name="manners", blocked_terms=["forbidden"])],
    } | options
    engine = in_memory(Realtime(service.key), service)
    return build_agent(f"You are a {CANARY}.", None, engine=engine, **given), service


@dataclass
class Told:
    """Everything that the bus said, in order."""

    events: list[tuple[PatterEventType, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [payload for event, payload in self.events if event == kind]

    def listen_to(self, phone: Simulation) -> None:
        for kind in PatterEventType:
            phone.events.on(kind, partial(self._told, kind))

    def _told(self, kind: PatterEventType, payload: dict[str, Any]) -> None:
        self.events.append((kind, payload))


def failing_callback(_event: Mapping[str, Any]) -> None:
    raise RuntimeError(CANARY)


async def eventful_call(agent: Agent, **serving: Any) -> tuple[Told, Simulation, str]:
    """One call with `agent`; what was told of it, its phone (closed) and its id."""
    told = Told()
    given: dict[str, Any] = {"recording": True, "on_metrics": failing_callback} | serving
    async with Simulation(agent, **given) as phone:
        told.listen_to(phone)
        phone.twilio.refuse_next(500, operation="POST /Calls/{CallSid}/Recordings.json")
        call = await phone.talk(caller())
        await asyncio.sleep(5)
        await phone.events.drain()
    return told, phone, call.sid
