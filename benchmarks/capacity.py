"""How many calls one core carries, and what a call costs: CPU, memory, lateness.

    python -m benchmarks.capacity              about two minutes
    python -m benchmarks.capacity --quick

The server is held to core 0 and the carrier to core 1 (`sched_setaffinity`; elsewhere the system decides). Callers
speak a quarter of the time and the agent half of it, in turns of eight seconds that begin evenly spread. Carrier and
services share mu-law at 8 kHz, so nothing is converted. Two tables: without the voice detector, and with the
built-in one on every call.

`late` is how much later than it wanted a call was woken to send (the pacing wheel's own histogram); `gaps` are
silences that callers heard inside an answer. A number of calls is carried when `late` is below 20 ms at the 99th
per cent, no answer had a gap and every caller was answered. `others` is what else ran on the server's core: figures
with more than 5 % are marked.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from benchmarks._carrier import Carrier, Speech
from benchmarks._figures import busy_seconds, options, percentile, verdict
from benchmarks._phone import Figures, Phone, Setup, running
from getpatter.server.listener import loop_factory

TURN_S, SPEECH_S = 8.0, 2.0
REPLY = "We are open from nine to five on weekdays, and until noon on Saturday."
CARRIED_LATE_MS = 20.0
AIMS = {False: 250, True: 150}
SERVER_CORE, CARRIER_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a number of calls."""

    calls: int
    cpu: float
    """CPU seconds per second."""
    kb_per_call: float
    figures: Figures
    gaps: int
    unanswered: int
    answers: int
    added_p99_ms: float
    others: float
    late_frames: int

    @property
    def is_carried(self) -> bool:
        """Whether nobody noticed how many they were."""
        return (
            self.figures.late_p99_ms < CARRIED_LATE_MS
            and not self.gaps
            and not self.unanswered
            and self.answers > 0
        )

    def __str__(self) -> str:
        disturbed = " *" if self.others > 0.05 or self.late_frames else ""
        return (
            f"{self.calls:5}   {self.cpu:6.1%}   {1000 * self.cpu / self.calls:8.2f}"
            f"   {self.kb_per_call:7.0f}   {self.figures.late_p50_ms:5.1f} / "
            f"{self.figures.late_p99_ms:5.1f} / {self.figures.late_max_ms:5.1f}   {self.gaps:4}"
            f"   {self.added_p99_ms:7.1f}   {self.answers:7}   {self.others:6.1%}"
            f"   {'yes' if self.is_carried else 'NO'}{disturbed}"
        )


HEAD = (
    f"{'calls':>5}   {'core':>6}   {'ms CPU/s':>8}   {'kB/call':>7}   {'late p50 / p99 / max':>21}"
    f"   {'gaps':>4}   {'added99':>7}   {'answers':>7}   {'others':>6}   carried"
)


def setup(*, has_detector: bool) -> Setup:
    return Setup(
        has_detector=has_detector,
        core=SERVER_CORE if (os.cpu_count() or 1) > 1 else None,
        reply=REPLY,
        ms_per_letter=0.5 * TURN_S * 1000 / len(REPLY),
    )


async def load(phone: Phone, n_calls: int, seconds: float) -> Run:
    """So many calls for so many seconds, after a while to settle."""
    carrier = Carrier(phone)
    speech = Speech.of(SPEECH_S, TURN_S)
    empty = phone.figures()
    await carrier.connect([speech] * n_calls)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(carrier.talk())
        await asyncio.sleep(4.0)
        before = await asyncio.to_thread(phone.figures)
        busy = busy_seconds(SERVER_CORE)
        carrier.count(counts=True)
        await asyncio.sleep(seconds)
        carrier.count(counts=False)
        busy_after = busy_seconds(SERVER_CORE)
        after = await asyncio.to_thread(phone.figures)
        await carrier.close()
    lasted = after.at - before.at
    cpu = (after.cpu_s - before.cpu_s) / lasted
    everybody = (busy_after - busy) / seconds if busy is not None and busy_after is not None else 0
    heard = carrier.heard
    added = [ms - phone.setup.services_ms for ms in heard.answers_ms]
    return Run(
        calls=n_calls,
        cpu=cpu,
        kb_per_call=(after.rss_bytes - empty.rss_bytes) / n_calls / 1024,
        figures=after,
        gaps=len(heard.gaps_ms),
        unanswered=heard.unanswered + (n_calls - after.calls),
        answers=len(heard.answers_ms),
        added_p99_ms=percentile(added, 99),
        others=max(0.0, everybody - cpu),
        late_frames=heard.late_frames,
    )


def measure(n_calls: int, seconds: float, *, has_detector: bool) -> Run:
    with (
        running(setup(has_detector=has_detector)) as phone,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        run = runner.run(load(phone, n_calls, seconds))
    print(run, flush=True)
    return run


def largest(counts: list[int], seconds: float, *, has_detector: bool) -> int:
    """The largest of `counts` that is carried; stops at the first that is not."""
    carried = 0
    for n_calls in counts:
        run = measure(n_calls, seconds, has_detector=has_detector)
        if not run.is_carried:
            break
        carried = n_calls
    return carried


def main() -> None:
    quick = options(__doc__ or "").quick
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {CARRIER_CORE})
    for has_detector in (False, True):
        print(f"\nvoice detector {'on every call' if has_detector else 'off'}\n{HEAD}")
        aim = AIMS[has_detector]
        if quick:
            counts = [50]
        elif has_detector:
            counts = [50, 100, 150, 200, 300]
        else:
            counts = [50, 100, 250, 350, 450]
        carried = largest(counts, 2.0 if quick else 6.0, has_detector=has_detector)
        if not quick:
            verdict(f"{aim} calls on one core", is_met=carried >= aim)


if __name__ == "__main__":
    main()
