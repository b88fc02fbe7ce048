"""What codecs and resampling cost: microseconds of CPU for 20 ms of one direction of one call.

    python -m benchmarks.audio            all conversions, about ten seconds
    python -m benchmarks.audio --quick

Each line is the median of 40 runs and the span from the tenth to the ninetieth per cent; a run converts
200 frames. `ms per s` is CPU per second of audio, which must stay below 2 (spec CV-2).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks._figures import options
from getpatter.audio.convert import converter
from getpatter.audio.dtmf import DtmfDetector
from getpatter.audio.mix import mix_pcm
from getpatter.audio.resample import StatefulResampler
from getpatter.types import (
    ALAW_8K,
    MULAW_8K,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    Encoding,
)

RUNS = 40
FRAMES = 200
PCM16_44K = AudioFormat(Encoding.PCM16, 44100)
PCM16_22K = AudioFormat(Encoding.PCM16, 22050)
PCM16_48K = AudioFormat(Encoding.PCM16, 48000)
ROADS = [
    (MULAW_8K, MULAW_8K),
    (MULAW_8K, ALAW_8K),
    (MULAW_8K, PCM16_8K),
    (PCM16_8K, MULAW_8K),
    (MULAW_8K, PCM16_16K),
    (PCM16_16K, MULAW_8K),
    (MULAW_8K, PCM16_24K),
    (PCM16_24K, MULAW_8K),
    (PCM16_24K, PCM16_16K),
    (PCM16_16K, PCM16_24K),
    (PCM16_22K, MULAW_8K),
    (PCM16_44K, MULAW_8K),
    (PCM16_44K, PCM16_16K),
    (PCM16_48K, MULAW_8K),
]


def cpu_us(step: Callable[[], object], runs: int) -> list[float]:
    """CPU time of one step, in each of the runs."""
    found: list[float] = []
    for _ in range(runs + 2):
        began = time.process_time_ns()
        for _ in range(FRAMES):
            step()
        found.append((time.process_time_ns() - began) / 1000 / FRAMES)
    return found[2:]


def report(name: str, found: list[float]) -> None:
    low, *_, high = statistics.quantiles(found, n=10)
    middle = statistics.median(found)
    print(f"{name:32} {middle:7.2f}   {low:6.2f} - {high:6.2f}   {middle * 50 / 1000:6.3f}")


def shown(format_: AudioFormat) -> str:
    return f"{format_.encoding} {format_.sample_rate / 1000:g}k"


def frame(format_: AudioFormat) -> bytes:
    rng = np.random.default_rng(1)
    pcm = rng.integers(-8000, 8000, format_.sample_rate // 50).astype("<i2").tobytes()
    return converter(AudioFormat(Encoding.PCM16, format_.sample_rate), format_).convert(pcm)


def main() -> None:
    runs = 8 if options(__doc__ or "").quick else RUNS
    print(f"{'20 ms of':32} {'us':>7}   {'p10 - p90':>15}   {'ms per s':>6}")
    for src, dst in ROADS:
        one, data = converter(src, dst), frame(src)
        report(f"{shown(src)} to {shown(dst)}", cpu_us(partial(one.convert, data), runs))
    long = StatefulResampler(24000, 8000)
    second = frame(PCM16_24K) * 50
    report(
        "pcm16 24k to 8k, 1 s at a time",
        [us / 50 for us in cpu_us(lambda: long.process(second), runs)],
    )
    voice = frame(PCM16_16K)
    report("mix at 16k", cpu_us(lambda: mix_pcm(voice, voice, 0.3), runs))
    keys = DtmfDetector()
    phone = frame(PCM16_8K)
    report("listening for keys at 8k", cpu_us(lambda: keys.push(phone), runs))


if __name__ == "__main__":
    main()
