"""How fast whole calls run in virtual time: seconds of telephone call for a second of this machine's CPU.

    python -m benchmarks.virtual_time              under a minute
    python -m benchmarks.virtual_time --quick

A call is what tests run: signed webhooks, tokens, media frames in the carrier's own words every 20 ms, callers that
listen, scripted services. Each of so many callers has three turns, about half a minute. With `detector` the built-in
network hears every frame; `without` stands for a test that does not care for voices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from benchmarks._figures import options, percentile, spread, verdict
from benchmarks._phone import NoDetector
from getpatter.agent import build_agent
from getpatter.runtime.detector import SharedDetector
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation

LINES = ("I would like a haircut", "on tuesday please", "no that is all")
REPLIES = (
    "Of course, we can do that for you. Which day of the week would suit you best?",
    "Tuesday at ten it is then. Is there anything else that I can do for you today?",
    "Thank you for calling, and have a very nice day.",
)
AIM = 200.0


async def talk(n_calls: int, *, has_detector: bool) -> float:
    """Seconds of call, all calls together."""
    agent = build_agent(
        "",
        None,
        stt=ScriptedSTT(LINES),
        tts=ScriptedTTS(),
        llm=ScriptedLLM(REPLIES),
        first_message="Welcome to the clinic, how can I help you?",
    )
    async with Simulation(agent) as phone:
        if not has_detector:
            house = phone._server._house if phone._server is not None else None  # noqa: SLF001
            assert house is not None
            house.detector = cast("SharedDetector", NoDetector())
        calls = [phone.ring(Polite(*LINES, voice=babble)) for _ in range(n_calls)]
        for call in calls:
            await call.ended(within_s=600)
        assert not phone.problems
        for call in calls:
            assert len(phone.transcript(call.sid)) == 1 + 2 * len(LINES), "everything was said"
        return sum(call.duration_s for call in calls)


def speed(n_calls: int, *, has_detector: bool) -> float:
    """Call seconds for each second of CPU."""
    began = time.process_time()
    seconds = virtual_time.run(talk(n_calls, has_detector=has_detector))
    return seconds / (time.process_time() - began)


def report(n_calls: int, found: Sequence[float], *, has_detector: bool) -> None:
    print(
        f"{n_calls:4} at once, {'with' if has_detector else 'without'} detector:"
        f" {spread(found, 0)} call seconds a second"
    )


def main() -> None:
    quick = options(__doc__ or "").quick
    speed(1, has_detector=True)  # imports and weights
    too_slow: list[str] = []
    for n_calls, repeats in ((1, 3 if quick else 9), (20 if quick else 100, 1 if quick else 3)):
        for has_detector in (False, True):
            found = [speed(n_calls, has_detector=has_detector) for _ in range(repeats)]
            report(n_calls, found, has_detector=has_detector)
            if percentile(found, 50) < AIM:
                too_slow.append(f"{n_calls} {'with' if has_detector else 'without'} detector")
    missed = f", missed by {', '.join(too_slow)}" if too_slow else ""
    verdict(f"at least {AIM:g} call seconds a second{missed}", is_met=not too_slow)


if __name__ == "__main__":
    main()
