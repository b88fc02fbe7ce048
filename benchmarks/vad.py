"""What the voice detector costs: microseconds of CPU for 32 ms of one call, alone and in company.

    python -m benchmarks.vad              about twenty seconds
    python -m benchmarks.vad --quick

Each line is the median of 30 runs and the span from the tenth to the ninetieth per cent. `of a core` is
the share that one call takes all the time. The last table shows why the matrix library is held to one
thread: the same frames with all of its threads, CPU and waiting time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks._figures import options
from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.types import Encoding
from getpatter.vad.blas import blas_threads
from getpatter.vad.silero_batch import SileroBatch
from getpatter.vad.silero_network import FRAME, OneCall, States, _network, probabilities

RUNS = 30
FRAMES_IN_A_RUN = 1280


def sound(samples: int) -> bytes:
    return np.random.default_rng(1).normal(0, 1500, samples).astype("<i2").tobytes()


def timed(step: Callable[[], object], frames_a_step: int, runs: int) -> list[tuple[float, float]]:
    """Microseconds of CPU and of waiting, a frame, in each of the runs."""
    steps = max(1, FRAMES_IN_A_RUN // frames_a_step)
    found: list[tuple[float, float]] = []
    for _ in range(runs + 2):
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(steps):
            step()
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        frames = steps * frames_a_step * 1000
        found.append((cpu / frames, wall / frames))
    return found[2:]


def report(name: str, found: list[tuple[float, float]]) -> None:
    cpu = [one for one, _ in found]
    low, *_, high = statistics.quantiles(cpu, n=10)
    middle, wall = statistics.median(cpu), statistics.median(w for _, w in found)
    share = middle / 32000
    print(f"{name:34} {middle:7.1f}   {low:6.1f} - {high:6.1f}   {wall:8.1f}   {share:8.3%}")


def whole_batch(calls: int) -> Callable[[], object]:
    """Everything that the runtime pays: bytes in, verdicts out."""
    batch = SileroBatch()
    slots = [batch.add(Encoding.MULAW) for _ in range(calls)]
    data = pcm16_to_mulaw(sound(FRAME))

    def step() -> None:
        for slot in slots:
            batch.push(slot, data)
        batch.run()

    return step


def network(calls: int) -> Callable[[], object]:
    states, rows = States(calls), list(range(calls))
    frames = np.random.default_rng(1).normal(0, 0.05, (calls, FRAME)).astype(np.float32)
    return lambda: probabilities(frames, states, rows)


def unlimited(calls: int) -> Callable[[], object]:
    """As `network`, on as many threads as the library likes."""
    states, rows = States(calls), list(range(calls))
    frames = np.random.default_rng(1).normal(0, 0.05, (calls, FRAME)).astype(np.float32)
    return lambda: _network().run(frames, states, rows)


def main() -> None:
    runs = 4 if options(__doc__ or "").quick else RUNS
    head = f"{'us':>7}   {'p10 - p90':>15}   {'waiting':>8}   {'of a core':>8}"
    print(f"{'one frame of 32 ms':34} {head}")
    call, data = OneCall(), sound(FRAME)
    report("one call by itself", timed(lambda: call.hear(data), 1, runs))
    for calls in (1, 4, 16, 64, 128, 256):
        report(f"{calls} calls at once, bytes in", timed(whole_batch(calls), calls, runs))
    print(f"\n{'the network alone, matrix library':34} {head}")
    for calls in (4, 16, 64):
        report(f"{calls} calls, one thread", timed(network(calls), calls, runs))
    for calls in (4, 16, 64):
        report(f"{calls} calls, {blas_threads()} threads", timed(unlimited(calls), calls, runs))


if __name__ == "__main__":
    main()
