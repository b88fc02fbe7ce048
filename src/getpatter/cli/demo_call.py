"""One call to the demo's agent: a real server on loopback, a simulated carrier, and what became of it.

The caller's own ear is the witness. What is measured here is measured on the sound that came out at the far end of
the carrier's socket, not on what the server believes it has said.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from getpatter import Agent, Patter
from getpatter.cli.demo_desk import AppointmentDesk, desk_agent
from getpatter.runtime import clock
from getpatter.testing.callers import (
    Caller,
    Handset,
    NobodySpokeError,
    Step,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    silence,
)
from getpatter.testing.line import Tape
from getpatter.testing.twilio import SimulatedCall, SimulatedTwilio

__all__ = ["Act", "Outcome", "Watcher", "hold_call", "recording_steps", "script_steps"]

HOST: Final = "demo.getpatter.example"
"""The public name that web hooks are signed for; the simulated carrier connects to this machine."""
SCRIPT_ACTS: Final = 5
"""How often the caller of the script does something."""
INTERRUPTS_AFTER_MS: Final = 2500.0
_WAV_SILENCE_MS: Final = 4000.0
_IDLE_S: Final = 12.0
_MS: Final = 1000


@dataclass(slots=True)
class Act:
    """Something that the caller did, in milliseconds of the stream."""

    what: str
    """Words, or a key; empty for a recording."""
    is_key: bool
    is_interruption: bool
    began_ms: float
    ended_ms: float
    """With the silence at the end of the sound; equal to the beginning until it is over."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the transcript, as `on_transcript` was told, and where the stream stood then."""

    role: str
    text: str
    is_interrupted: bool
    at_ms: float


@dataclass(slots=True)
class Outcome:
    """What a call left behind."""

    agent: Agent
    acts: list[Act] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    end: Mapping[str, Any] = field(default_factory=dict)
    """What `on_call_end` was told."""
    server: str = ""
    status: str = ""
    hung_up_by: str = ""
    webhooks: Sequence[tuple[str, int]] = ()
    """Kind and HTTP status of each answer."""
    problems: Sequence[str] = ()
    """What the carrier found wrong."""
    failure: str = ""
    """Why the caller gave up."""
    lasted_s: float = 0.0
    tape: Tape | None = None
    flight: Path | None = None


class Watcher:
    """Told while it happens; this one tells nobody."""

    def rings(self, caller: str, callee: str, server: str) -> None:
        """The phone rings."""

    def acts(self, act: Act) -> None:
        """The caller begins to do something."""

    def said(self, line: Line, outcome: Outcome, tape: Tape) -> None:
        """The agent has understood something, or the caller has heard something."""


# ---------------------------------------------------------------------------------------------- the caller


@dataclass(slots=True)
class Stage:
    """Where a call takes place."""

    outcome: Outcome
    watcher: Watcher
    call: SimulatedCall | None = None

    def act(self, step: Step, what: str, *, is_key: bool = False, interrupts: bool = False) -> Step:
        """A step that is remembered."""

        async def run(handset: Handset) -> None:
            await handset.until(lambda _: True)
            act = Act(what, is_key, interrupts, handset.now_ms, handset.now_ms)
            self.outcome.acts.append(act)
            self.watcher.acts(act)
            await step(handset)
            act.ended_ms = handset.now_ms

        return run

    async def transcribed(self, event: Mapping[str, Any]) -> None:
        """`on_transcript`."""
        if self.call is None or not self.call.rides:
            return
        play = self.call.leg.play
        now_ms = play.sample(clock.now()) / play.format.sample_rate * _MS
        line = Line(event["role"], event["text"], event["interrupted"], now_ms)
        self.outcome.lines.append(line)
        self.watcher.said(line, self.outcome, self.call.tape())


Perform = Callable[[Stage], Sequence[Step]]
"""The steps of a caller on a stage."""


def script_steps(stage: Stage) -> Sequence[Step]:
    """Five turns: a booking, a day, an interruption, a key, a confirmation. The agent hangs up."""
    return [
        listen(),
        stage.act(
            say("i would like to book an appointment"), "i would like to book an appointment"
        ),
        listen(),
        stage.act(say("on tuesday please"), "on tuesday please"),
        interrupt_after(INTERRUPTS_AFTER_MS),
        stage.act(say("make it thursday instead"), "make it thursday instead", interrupts=True),
        listen(),
        stage.act(press("1"), "1", is_key=True),
        listen(),
        stage.act(say("yes that is right"), "yes that is right"),
    ]


def recording_steps(pcm: bytes) -> Perform:
    """Hear the greeting, play a recording, hear what comes of it, hang up."""

    def steps(stage: Stage) -> Sequence[Step]:
        return [listen(), stage.act(say(pcm), ""), silence(_WAV_SILENCE_MS), hang_up()]

    return steps


# ------------------------------------------------------------------------------------------------ the call


async def hold_call(
    perform: Perform, *, folder: Path, watcher: Watcher, limit_s: float = 120.0
) -> Outcome:
    """Serve the desk on a free port, let the caller ring, and wait for the end.

    Args:
        perform: What the caller does.
        folder: Where the flight recording goes.
        watcher: Told of everything as it happens.
        limit_s: How long the call may last.
    """
    async with SimulatedTwilio() as carrier:
        phone = Patter(
            carrier=carrier.carrier(),
            phone_number=carrier.number,
            webhook_url=HOST,
            persist=False,
        )
        outcome = Outcome(desk_agent(phone))
        stage = Stage(outcome, watcher)
        port = free_port()
        carrier.server = outcome.server = f"127.0.0.1:{port}"
        farewell = asyncio.Event()

        async def ended(event: Mapping[str, Any]) -> None:
            outcome.end = event
            farewell.set()

        async with _served(
            phone,
            outcome.agent,
            port=port,
            on_message=AppointmentDesk().on_message,
            on_transcript=stage.transcribed,
            on_call_end=ended,
            flight_recorder=folder,
            idle_timeout=_IDLE_S,
            dashboard=False,
        ):
            call = stage.call = carrier.ring(Caller(*perform(stage)))
            watcher.rings(call.caller, call.callee, outcome.server)
            outcome.failure = await _wait(call, limit_s) or await _wait_for(farewell)
            _keep(outcome, call, carrier, folder)
        return outcome


@asynccontextmanager
async def _served(phone: Patter, agent: Agent, **options: Any) -> AsyncGenerator[None]:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(phone.serve(agent, **options))
            try:
                await phone.ready
                yield
            finally:
                await phone.disconnect()
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


async def _wait(call: SimulatedCall, limit_s: float) -> str:
    try:
        await call.ended(within_s=limit_s)
    except NobodySpokeError as nobody:
        return str(nobody)
    except TimeoutError:
        return f"the call had not ended after {limit_s:g} s"
    return ""


async def _wait_for(farewell: asyncio.Event) -> str:
    try:
        async with asyncio.timeout(_IDLE_S):
            await farewell.wait()
    except TimeoutError:
        return "on_call_end was not called"
    return ""


def _keep(outcome: Outcome, call: SimulatedCall, carrier: SimulatedTwilio, folder: Path) -> None:
    outcome.status = call.status
    outcome.hung_up_by = call.hung_up_by
    outcome.webhooks = [(each.kind, each.status) for each in call.deliveries]
    outcome.problems = carrier.problems
    outcome.lasted_s = call.duration_s
    if call.rides:
        outcome.tape = call.tape()
    recording = folder / f"{call.sid}.flight.jsonl"
    if recording.is_file():
        outcome.flight = recording


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
