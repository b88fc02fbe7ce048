"""The process that is killed: a phone with many calls in real time, which tells what it has been told.

Each line on standard output is a JSON array: `["said", instant, call id, role, text]`, `["started", instant, call id]`
or `["ended", instant, call id]`, written by the callbacks of a user's program. Instants are of the system's monotonic
clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from getpatter.agent import build_agent
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation

CALLS: Final = 24
WORDS: Final = tuple(f"word number {index}" for index in range(6))


def _tell(what: str, *more: object) -> None:
    os.write(1, json.dumps([what, time.monotonic(), *more]).encode() + b"\n")


async def _callers(phone: Simulation, dice: random.Random) -> None:
    await asyncio.sleep(dice.random() * 2)
    while True:
        lines = WORDS[: dice.randint(1, len(WORDS))]
        await phone.ring(Polite(*lines, voice=babble, gap_ms=200)).ended()


async def main(root: Path, seed: int) -> None:
    """Hold calls until somebody kills us."""
    agent = build_agent(
        "x",
        None,
        stt=ScriptedSTT(WORDS),
        tts=ScriptedTTS(0.01, ms_per_letter=15),
        llm=ScriptedLLM([f"reply number {index}" for index in range(6)], first_token_delay=0.01),
        first_message="Hello.",
    )

    def said(event: Mapping[str, Any]) -> None:
        _tell("said", event["call_id"], event["role"], event["text"])

    async with Simulation(
        agent,
        persist_root=root,
        on_call_start=lambda event: _tell("started", event["call_id"]),
        on_transcript=said,
        on_call_end=lambda event: _tell("ended", event["call_id"]),
    ) as phone:
        _tell("ready")
        dice = random.Random(seed)
        await asyncio.gather(*(_callers(phone, dice) for _ in range(CALLS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
