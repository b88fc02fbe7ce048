"""What the framework adds to an answer, beside the time that recogniser, model and voice take.

    python -m benchmarks.overhead              1, 10 and 50 calls at once, under two minutes
    python -m benchmarks.overhead --quick

The server runs in one process, the carrier with its callers in this one; between them are real sockets. The
recogniser, model and voice are scripted: they take exactly so long, as far as the loop's timers (whole
milliseconds) can. An answer is timed from the moment the carrier sends the last frame with a voice in it to
the moment the first frame of the reply arrives, which is when it is heard. Before that lies the wait that
every telephone has: a carrier sends a frame when its 20 ms have been spoken, so the last sample waits for the end
of its frame. It is shown by itself, and not counted as ours.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from benchmarks._carrier import FRAME_BYTES, Carrier, Speech
from benchmarks._figures import options, percentile, spread, verdict
from benchmarks._phone import Setup, running
from getpatter.server.listener import loop_factory

SETUP = Setup(
    final_delay=0.1, first_token_delay=0.06, first_audio_delay=0.04, reply="Yes.", ms_per_letter=100
)
SPEECH_S = 0.6
TURN_S = 1.8
P50_AIM_MS, P99_AIM_MS, P99_AIM_CALLS = 5.0, 25.0, 50


async def answers(carrier: Carrier, n_calls: int, seconds: float) -> None:
    """Let so many callers talk for so long."""
    chance = random.Random(n_calls)
    await carrier.connect(
        [
            Speech.of(SPEECH_S, TURN_S, cut_samples=chance.randrange(FRAME_BYTES))
            for _ in range(n_calls)
        ]
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(carrier.talk())
        await asyncio.sleep(TURN_S)  # everybody was answered once
        carrier.count(counts=True)
        await asyncio.sleep(seconds)
        carrier.count(counts=False)
        await carrier.close()


def measure(n_calls: int, seconds: float) -> tuple[list[float], list[float], int, int]:
    """Milliseconds that we added, at the wire and at the ear; answers that never came; late frames of ours."""
    with running(SETUP) as phone, asyncio.Runner(loop_factory=loop_factory()) as runner:

        async def run() -> Carrier:
            carrier = Carrier(phone)
            await answers(carrier, n_calls, seconds)
            return carrier

        heard = runner.run(run()).heard
    wire = [each - SETUP.services_ms for each in heard.answers_ms]
    ear = [each - SETUP.services_ms for each in heard.ear_ms]
    return wire, ear, heard.unanswered, heard.late_frames


def report(n_calls: int, runs: Sequence[tuple[list[float], list[float], int, int]]) -> list[float]:
    wire = [ms for run in runs for ms in run[0]]
    ear = [ms for run in runs for ms in run[1]]
    p50s = [percentile(run[0], 50) for run in runs]
    p99s = [percentile(run[0], 99) for run in runs]
    rest = [at_ear - at_wire for at_ear, at_wire in zip(ear, wire, strict=True)]
    lost = sum(run[2] for run in runs)
    late = sum(run[3] for run in runs)
    print(
        f"{n_calls:5}   {spread(p50s):>22}   {spread(p99s):>22}   {max(wire):7.1f}"
        f"   {percentile(rest, 50):5.1f} / {max(rest):4.1f}   {percentile(ear, 50):5.1f}"
        f" / {percentile(ear, 99):5.1f}   {len(wire):6}"
        + (f"   {lost} never answered" if lost else "")
        + (f"   disturbed: the carrier sent {late} frames late" if late else ""),
        flush=True,
    )
    return [percentile(wire, 50), percentile(wire, 99)]


def main() -> None:
    quick = options(__doc__ or "").quick
    repeats, seconds = (1, 2.5) if quick else (3, 8.0)
    print(f"services take {SETUP.services_ms:.0f} ms of every answer; figures in ms without them\n")
    print(
        f"{'calls':>5}   {'added p50 (runs)':>22}   {'added p99 (runs)':>22}   {'max':>7}"
        f"   {'frame 50/max':>12}   {'at the ear 50/99':>13}   {'n':>4}"
    )
    p50, p99 = 0.0, 0.0
    for n_calls in (1, 10, 50):
        runs = [measure(n_calls, seconds) for _ in range(repeats)]
        p50, p99 = report(n_calls, runs)
    verdict(
        f"at {P99_AIM_CALLS} calls at once p50 <= {P50_AIM_MS:g} ms and p99 <= {P99_AIM_MS:g} ms",
        is_met=p50 <= P50_AIM_MS and p99 <= P99_AIM_MS,
    )


if __name__ == "__main__":
    main()
