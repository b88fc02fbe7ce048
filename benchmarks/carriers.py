"""What becomes of phone calls, scenario by scenario: each carrier played from ring to farewell.

    python -m benchmarks.carriers                              all carriers, some forty rows each
    python -m benchmarks.carriers --carrier twilio             one of them; also telnyx, plivo
    python -m benchmarks.carriers --only transfer --only REST  rows whose names hold one of these words
    python -m benchmarks.carriers --real-time                  on the clock of the wall, a minute or two each
    python -m benchmarks.carriers --list

Every row has a simulated carrier and a `Patter.serve()` of its own; between them are real loopback sockets: REST,
signed webhooks, media frames. The rows run side by side on a loop with virtual time, which stands still while
bytes are under way, so a ring of 25 seconds costs nothing and nothing depends on the machine. A row says what was
seen at the carrier's end and in the program's callbacks, and PASS, or FAIL with the reason; each ends with the
carrier having found nothing to complain about. The REST requests of all rows are then held against the vendor's
own specification. The exit code is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks._official import Opinion, judged
from benchmarks._scenarios import SCENARIOS, Scenario
from benchmarks._stage import CARRIERS, Ways, playing
from benchmarks._table import Row, shown
from benchmarks._transfers import TRANSFERS
from getpatter.testing import time as virtual_time

ROWS: Final = [*SCENARIOS, *TRANSFERS]
_ROW_LIMIT_S: Final = 300.0
_SIDE_BY_SIDE: Final = 60


@dataclass(frozen=True, slots=True)
class Run:
    """All rows of one carrier."""

    rows: list[Row]
    requests: Opinion


async def play(ways: Ways, scenario: Scenario) -> tuple[Row, list[Any]]:
    """One row, and the REST requests it made."""
    reason = ""
    async with playing(ways, agent=scenario.agent, serving=scenario.serving) as stage:
        try:
            async with asyncio.timeout(_ROW_LIMIT_S):
                await scenario.play(stage)
                await stage.settle()
            stage.check_always()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
            reason = f"{type(error).__name__}: {error}"
        seen = (stage.at_the_carrier(), stage.in_the_program(), str(len(stage.carrier.requests)))
    return Row(scenario.name, seen, reason), list(stage.carrier.requests)


async def run(ways: Ways, scenarios: Sequence[Scenario]) -> Run:
    """Play all rows of a carrier, a dozen at a time."""
    turn = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def in_turn(scenario: Scenario) -> tuple[Row, list[Any]]:
        async with turn:
            return await play(ways, scenario)

    played = await asyncio.gather(*map(in_turn, scenarios))
    requests = [request for _, made in played for request in made]
    return Run([row for row, _ in played], judged(ways.name, requests))


def wanted(ways: Ways, only: Sequence[str]) -> list[Scenario]:
    """The rows of a carrier whose names hold one of the words; all where there is no word."""
    return [
        each
        for each in ROWS
        if each.only(ways) and (not only or any(word in each.name for word in only))
    ]


def main() -> None:
    """Play, print, and leave with 1 when anything failed."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--carrier", action="append", choices=sorted(CARRIERS), default=[])
    asked.add_argument("--only", action="append", default=[], metavar="NAME")
    asked.add_argument("--real-time", action="store_true", help="on the clock of the wall")
    asked.add_argument("--list", action="store_true", help="the names of the rows")
    asked.add_argument("--verbose", action="store_true", help="with the log")
    asked.add_argument("--quick", action="store_true", help="the same: it is quick")
    options = asked.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    if options.list:
        print(*(each.name for each in ROWS), sep="\n")
        return
    has_failed = False
    for name in options.carrier or CARRIERS:
        ways = CARRIERS[name]
        began = time.monotonic()
        playing_all = run(ways, wanted(ways, options.only))
        found = asyncio.run(playing_all) if options.real_time else virtual_time.run(playing_all)
        head = (
            "at the carrier: end, by whom, streams",
            "in the program: on_call_end, outcome",
            "REST",
        )
        print(shown(name, head, found.rows))
        print(found.requests)
        for problem in found.requests.problems:
            print(f"  -> {problem}")
        print(f"{time.monotonic() - began:.1f} s\n", flush=True)
        has_failed |= bool(found.requests.problems) or not all(row.has_passed for row in found.rows)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
