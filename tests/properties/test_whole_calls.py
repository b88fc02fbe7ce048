"""Random people over the carrier's real frames: it never complains, nobody waits in vain, every flight replays."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final, Self

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from getpatter.agent import Agent
from getpatter.carriers import resumed_wire
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import Replay, read_header, replay
from getpatter.testing.callers import (
    Caller,
    Step,
    babble,
    cough,
    hang_up,
    hum,
    mumble,
    press,
    say,
    wait,
)
from getpatter.testing.line import Conditions
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

FEW: Final = settings(
    max_examples=max(1, settings().max_examples // 10), phases=[Phase.explicit, Phase.generate]
)
"""A whole call takes some 50 ms, so there are fewer of them than of smaller examples, and none to make them smaller."""

LINES: Final = tuple(f"line {number}" for number in range(40))
GREETINGS: Final = (
    "",
    "Hello.",
    "Hello, this is the bakery. We have bread and cake. What may it be?",
)
REPLIES: Final = (
    "Yes.",
    "That is noted, and it will be ready at nine. Is there anything else that you would like to have?",
    "",
)


@dataclass
class Noting(ScriptedSTT):
    """Also keeps what it recognised, over all its clones."""

    noted: list[str] = field(default_factory=list)

    def clone(self) -> Self:
        return type(self)(self.lines, self.final_delay, self.ends_turn, noted=self.noted)

    def _recognise(self) -> None:
        before = list(self._left)
        super()._recognise()
        self.noted += before[: len(before) - len(self._left)]


@dataclass(frozen=True)
class Act:
    """One thing that a caller does."""

    what: str
    size: int = 0

    def step(self) -> Step:
        match self.what:
            case "say":
                return say("x" * self.size)
            case "wait":
                return wait(self.size)
            case "press":
                return press("123456789*0#"[: self.size])
            case "cough":
                return cough()
            case "hum":
                return hum(self.size)
            case _:
                return mumble(self.size)


ACTS: Final = st.one_of(
    st.builds(Act, st.just("say"), st.sampled_from([3, 9, 30])),
    st.builds(Act, st.just("wait"), st.sampled_from([40, 300, 900, 2500])),
    st.builds(Act, st.just("press"), st.sampled_from([1, 3])),
    st.builds(Act, st.sampled_from(["hum", "mumble"]), st.sampled_from([200, 700])),
    st.just(Act("cough")),
)


@dataclass(frozen=True)
class Story:
    """One call: who rings, over what line, and how the agent is made."""

    acts: tuple[Act, ...]
    conditions: Conditions = field(default_factory=Conditions)
    greeting: str = GREETINGS[2]
    barge_in_ms: float = 300
    thinks_s: float = 0.3
    reply: int = 1
    final_delay: float = 0.25
    voice_delay: float = 0.1


STORIES: Final = st.builds(
    Story,
    acts=st.lists(ACTS, max_size=6).map(tuple),
    conditions=st.builds(
        Conditions,
        loss=st.sampled_from([0.0, 0.05]),
        late_marks_ms=st.sampled_from([0.0, 400.0, 2500.0]),
        stops_twice=st.booleans(),
    ),
    greeting=st.sampled_from(GREETINGS),
    barge_in_ms=st.sampled_from([0.0, 300.0]),
    thinks_s=st.sampled_from([0.0, 0.3, 3.0]),
    reply=st.integers(0, len(REPLIES) - 1),
    final_delay=st.sampled_from([0.1, 0.6]),
    voice_delay=st.sampled_from([0.02, 0.5]),
)


@dataclass
class Told:
    """What became of a call."""

    recognised: list[str]
    asked: list[str]
    metrics: list[Any]
    problems: list[str]
    reason: str
    flight: Path = field(default_factory=Path)


@in_virtual_time
async def play(story: Story, folder: Path) -> Told:
    """The call, in virtual time."""
    asked: list[str] = []

    async def desk(event: dict[str, Any]) -> AsyncIterator[str]:
        asked.append(event["text"])
        await asyncio.sleep(story.thinks_s)
        for word in REPLIES[story.reply].split(" "):
            yield f"{word} "

    stt = Noting(LINES, story.final_delay)
    agent = Agent(
        system_prompt="You are a bakery's desk.",
        first_message=story.greeting,
        stt=stt,
        tts=ScriptedTTS(story.voice_delay, ms_per_letter=40),
        barge_in_threshold_ms=story.barge_in_ms,
    )
    caller = Caller(*(act.step() for act in story.acts), wait(8000), hang_up(), voice=babble)
    async with Simulation(
        agent, conditions=story.conditions, on_message=desk, flight_recorder=folder
    ) as phone:
        call = await phone.talk(caller)
        ended = phone.calls[call.sid]
    turns = [event["turn"] for event in ended.metrics]
    return Told(stt.noted, asked, turns, phone.problems, ended.end["reason"])


def told_of(story: Story, folder: Path) -> Told:
    told = play(story, folder)
    FlightRecorder.written()
    (told.flight,) = folder.glob("*.jsonl")
    return told


def flown_again(flight: Path) -> Replay:
    header = read_header(flight)
    return replay(flight, resumed_wire(header.carrier, header.started))


@FEW
@given(STORIES)
@example(Story((Act("wait", 900), Act("say", 30), Act("say", 9))))
@example(Story((Act("wait", 300), Act("cough"), Act("press", 3)), Conditions(late_marks_ms=2500.0)))
def test_a_call_ends_well_whoever_rings(story: Story) -> None:
    folder = Path(mkdtemp(prefix="flights-"))
    try:
        told = told_of(story, folder)
        assert not told.problems
        assert told.reason == "caller_hangup"
        keys = [text for text in told.asked if "[DTMF: " in text]
        pressed = "".join("123456789*0#"[: act.size] for act in story.acts if act.what == "press")
        assert "".join(text.partition("[DTMF: ")[2].partition("]")[0] for text in keys) == pressed
        heard = " ".join(told.asked)
        assert [line for line in told.recognised if line not in heard] == []
        replies = [turn for turn in told.metrics if turn.user_text]
        assert [turn.user_text for turn in replies] == told.asked
        for turn in replies:
            whole = REPLIES[story.reply]
            assert turn.interrupted or turn.agent_text == whole
            assert whole.startswith(turn.agent_text)
        flight = flown_again(told.flight)
        assert flight.first_difference is None
        assert [line.text for line in flight.lines if line.role == "user"] == told.asked
    finally:
        shutil.rmtree(folder)


def test_a_recording_that_was_changed_is_noticed(tmp_path: Path) -> None:
    told = told_of(Story((Act("say", 9),)), tmp_path)
    lines = told.flight.read_text().splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if line.startswith('["out"'))
    told.flight.write_text("".join([*lines[:first], *lines[first + 1 :]]))
    assert flown_again(told.flight).first_difference is not None


@pytest.mark.parametrize("lost", [1, 100, 5000])
def test_a_recording_that_was_cut_off_replays_as_far_as_it_goes(tmp_path: Path, lost: int) -> None:
    told = told_of(Story((Act("say", 9),)), tmp_path)
    told.flight.write_bytes(told.flight.read_bytes()[:-lost])
    flight = flown_again(told.flight)
    common = min(len(flight.frames_recorded), len(flight.frames_replayed))
    assert common > 0
    assert flight.frames_recorded[:common] == flight.frames_replayed[:common]
