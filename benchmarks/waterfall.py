"""Whether the parts of every turn's latency add up to what the caller heard, over a thousand calls in virtual time.

    python -m benchmarks.waterfall              1,000 calls, a few minutes
    python -m benchmarks.waterfall --quick      100 calls

The caller's side measures for itself: from the last sample of what the caller said to the first sample of the answer,
on the audio that went over the simulated line. Our side adds up the parts of the turn (`TurnMetrics.waterfall`),
which come from the call's own events. Recognisers, models, voices and engines take random times; callers speak tones
with sharp edges, and the detector of the pipelines finds edges to the sample, so that no opinion about where a word
ends is part of the difference. Ends with 1 when any turn differs by more than 1 ms, or is missing.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks._figures import options, percentile, verdict
from getpatter.agent import Agent, build_agent
from getpatter.engines.openai import Realtime
from getpatter.models import TurnMetrics
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Caller, Program, hang_up, listen, say
from getpatter.testing.fake_realtime import FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.vad.base import VADEvent

TOLERANCE_MS: Final = 1.0
CALLS_AT_ONCE: Final = 10
TURNS: Final = 3
REPLIES: Final = (
    "Of course, which day would you like?",
    "That is possible.",
    "Thank you, goodbye.",
)
RATE: Final = 8000
_LOUD: Final = 2000
RESAMPLED_LATE: Final = 40
"""Samples of 16 kHz by which the audio of a detector lags behind the line: half the filter of `audio/resample.py`."""


@dataclass
class EdgeDetector:
    """Finds where a tone begins and ends, to the sample: what a detector without doubt would say."""

    delay: int = RESAMPLED_LATE
    _position: int = 0
    _began: int | None = None
    _last: int = 0

    def clone(self) -> EdgeDetector:
        """The same, with nothing heard."""
        return EdgeDetector(self.delay)

    async def process_frame(self, pcm: bytes, sample_rate: int) -> VADEvent | None:
        """Hear one piece."""
        samples = np.abs(np.frombuffer(pcm, np.int16).astype(np.int32))
        loud = np.flatnonzero(samples > _LOUD)
        start, self._position = self._position, self._position + samples.size
        a_ms = 1000 / sample_rate
        if loud.size:
            self._last = start + int(loud[-1]) + 1
            if self._began is None:
                self._began = start + int(loud[0])
                lag = self._position - self._began + self.delay
                return VADEvent("speech_start", 1.0, lag * a_ms)
        elif self._began is not None:
            began, self._began = self._began, None
            return VADEvent("speech_end", 1.0, (self._last - began) * a_ms)
        return None

    def reset(self) -> None:
        """Begin anew."""

    async def close(self) -> None:
        """Nothing to give back."""


def tone(frames: int) -> bytes:
    """A square wave of 200 Hz, so many frames of 20 ms long: PCM16 at 8 kHz."""
    period = np.concatenate([np.full(20, 12000), np.full(20, -12000)]).astype(np.int16)
    return np.tile(period, frames * 4).tobytes()


def caller(dice: random.Random) -> Program:
    steps: list[Any] = [listen()]
    for _ in range(TURNS):
        steps += [say(tone(dice.randint(20, 60))), listen()]
    return Caller(*steps, hang_up())


def pipeline(dice: random.Random) -> Agent:
    return build_agent(
        "",
        None,
        stt=ScriptedSTT(["one", "two", "three"], final_delay=dice.uniform(0.1, 0.6)),
        llm=ScriptedLLM(REPLIES, dice.uniform(0.05, 0.9), dice.uniform(0.0, 0.03)),
        tts=ScriptedTTS(dice.uniform(0.05, 0.4), 25.0),
        vad=EdgeDetector(),
        first_message="Welcome.",
    )


def engine(dice: random.Random) -> Agent:
    service = FakeRealtime(
        heard=["one", "two", "three"] * CALLS_AT_ONCE,
        says=[Says(text) for text in REPLIES] * CALLS_AT_ONCE,
        first_delay=dice.uniform(0.1, 0.9),
    )
    return build_agent(
        "", None, engine=in_memory(Realtime(service.key), service), first_message="Welcome."
    )


@dataclass
class Found:
    """What the two sides measured, turn by turn."""

    calls: int = 0
    turns: int = 0
    seconds: float = 0.0
    differences: dict[str, list[float]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)


async def talk(mode: str, dice: random.Random, found: Found) -> None:
    agent = pipeline(dice) if mode == "pipeline" else engine(dice)
    async with Simulation(agent) as phone:
        calls = [phone.ring(caller(dice)) for _ in range(CALLS_AT_ONCE)]
        for call in calls:
            await call.ended(within_s=600)
        assert not phone.problems, phone.problems
        for call in calls:
            heard = call.tape().answer_times()
            told = list(answers(phone.calls[call.sid].metrics))
            found.calls += 1
            found.modes[mode] += 1
            found.seconds += call.duration_s
            if len(heard) != len(told) or len(told) != TURNS:
                found.missing.append(f"{mode}: heard {len(heard)}, told {len(told)}")
                continue
            for latency, turn in zip(heard, told, strict=True):
                found.turns += 1
                off = abs(sum(turn.waterfall.values()) - latency)
                found.differences.setdefault(mode, []).append(off)
                for name, ms in turn.waterfall.items():
                    found.parts.setdefault(f"{mode} {name}", []).append(ms)


def answers(events: list[Any]) -> Iterator[TurnMetrics]:
    """The turns in which somebody waited for an answer."""
    for event in events:
        if event["turn"].waterfall:
            yield event["turn"]


def main() -> None:
    quick = options(__doc__ or "").quick
    n_calls = 100 if quick else 1000
    dice, found = random.Random(20261121), Found()
    began = time.process_time()
    for batch in range(n_calls // CALLS_AT_ONCE):
        virtual_time.run(talk("engine" if batch % 2 else "pipeline", dice, found))
    print(
        f"{found.calls} calls ({', '.join(f'{n} {mode}' for mode, n in found.modes.items())}),"
        f" {found.turns} turns, {found.seconds / 3600:.2f} h of talk,"
        f" {time.process_time() - began:.0f} s of CPU"
    )
    for name, values in sorted(found.parts.items()):
        print(
            f"  {name:22} p50 {percentile(values, 50):7.1f} ms   p95 {percentile(values, 95):7.1f} ms"
            f"   {len(values)} turns"
        )
    worst = max(map(max, found.differences.values()), default=float("inf"))
    for mode, off in found.differences.items():
        print(f"difference from what the caller heard, {mode}: at most {max(off):.3f} ms")
    for line in found.missing[:5]:
        print(f"  {line}")
    is_met = worst <= TOLERANCE_MS and not found.missing and found.turns == n_calls * TURNS
    verdict(
        f"the parts of every turn add up to what was heard, within {TOLERANCE_MS:g} ms",
        is_met=is_met,
    )
    if not is_met:
        sys.exit(1)


if __name__ == "__main__":
    main()
