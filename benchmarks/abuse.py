"""What strangers get who forge, replay, truncate, flood and guess: a status or a close code, and nothing else.

    python -m benchmarks.abuse                       all carriers
    python -m benchmarks.abuse --carrier plivo       one of them; also twilio, telnyx
    python -m benchmarks.abuse --only flood          rows whose names hold this word

A phone serves (`Patter.serve()`) behind a simulated carrier, real loopback sockets between them, on a loop with virtual
time. Everything is sent while a good call is up. Each row says what was sent, what came back and what must come back.
After each refused row the counters are read: connections opened at a provider, replies asked of a model, words
spoken, callbacks fired, calls in the store. None may have moved. At the end the good call must have been held as if
nobody had been there. The exit code is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from benchmarks._abuses import CASES, NUISANCES, Arena, Case, Nuisance, bother
from benchmarks._forge import FORGES, Request, Ticket
from benchmarks._scenarios import SAID
from benchmarks._stage import CARRIERS, WORDS, MissedError, Stage, Ways, must_be, playing
from benchmarks._table import Row, shown
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Caller, Handset, babble, hang_up, listen, say

_ROW_LIMIT_S: Final = 200.0
_AGENT: Final = {"prewarm": False}
"""Providers are connected when the stream is admitted, not when the phone rings: each connection counts."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What a request can have set going, counted since the server began."""

    provider_connections: int
    model_requests: int
    texts_spoken: int
    callbacks: int
    stored_calls: int

    def since(self, before: Effects) -> str:
        """What moved, in words; empty when nothing did."""
        moved = {
            name: getattr(self, name) - getattr(before, name)
            for name in self.__slots__
            if getattr(self, name) != getattr(before, name)
        }
        return ", ".join(f"{name.replace('_', ' ')} +{n}" for name, n in moved.items())


def effects(stage: Stage) -> Effects:
    """The counters now."""
    store: Any = stage.phone.metrics_store
    told = stage.heard.values()
    return Effects(
        len(stage.stt.connections),
        len(stage.llm.asked),
        len(stage.tts.spoken),
        sum(len(each.starts) + len(each.ends) + len(each.lines) for each in told),
        store.call_count,
    )


@dataclass(frozen=True, slots=True)
class Run:
    """All rows of one carrier."""

    rows: list[Row]
    refused: int
    good: str
    """What is wrong with the good call; empty when nothing is."""


async def attacked(arena: Arena, case: Case) -> Row:
    """One refused row: what came back, and that nothing moved."""
    before, got = effects(arena.stage), ""
    try:
        async with asyncio.timeout(_ROW_LIMIT_S):
            got = await case.attack(arena)
        reason = "" if got == case.expected else f"got {got}, expected {case.expected}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
        reason = f"{type(error).__name__}: {error}"
    moved = effects(arena.stage).since(before)
    return Row(case.name, (got, case.expected), reason or moved)


async def bothered(arena: Arena, nuisance: Nuisance) -> Row:
    """One row inside a call."""
    got = ""
    try:
        async with asyncio.timeout(_ROW_LIMIT_S):
            got = await bother(arena, nuisance)
        reason = "" if got == nuisance.expected else f"got {got}, expected {nuisance.expected}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
        reason = f"{type(error).__name__}: {error}"
    return Row(nuisance.name, (got, nuisance.expected), reason)


@asynccontextmanager
async def arena(ways: Ways) -> AsyncIterator[Arena]:
    """A phone that nobody has called yet."""
    async with playing(ways, agent=_AGENT) as stage:
        forge = FORGES[ways.name](stage)
        yield Arena(stage, forge, Ticket(forge.new_call_id(), "nobody", ""))


async def with_a_good_call(ways: Ways, cases: Sequence[Case]) -> tuple[list[Row], str]:
    """The rows that take no time, while somebody talks to the agent."""
    async with arena(ways) as place:
        stage, over = place.stage, asyncio.Event()
        opened = _remembered(stage, place.sent)

        async def until_over(handset: Handset) -> None:
            await handset.until(lambda _: over.is_set())

        call = stage.ring(
            Caller(listen(), until_over, say(WORDS), listen(), hang_up(), voice=babble)
        )
        await stage.streaming(call)
        await stage.until(lambda: stage.of(call).lines, "the greeting was not heard")
        url = urlsplit(opened[0])
        token = parse_qs(url.query).get("token", [""])[0] or call.leg._parameters["token"]  # noqa: SLF001
        place.good = Ticket(stage.ways.call_id(call), url.path.rpartition("/")[2], token)
        rows = [await attacked(place, case) for case in cases]
        over.set()
        try:
            await call.ended()
            end = await stage.farewell(call)
            must_be("transcript", stage.of(call).said, SAID)
            must_be("reason", end["reason"], "caller_hangup")
            must_be("streams", len(call.rides), 1)
            must_be("provider connections", len(stage.stt.connections), 1)
            stage.check_always()
        except MissedError as error:
            return rows, str(error)
    return rows, ""


def _remembered(stage: Stage, sent: list[Request]) -> list[str]:
    """Keep what the carrier sends from now on; returns the addresses of the media sockets it opens."""
    opened: list[str] = []
    network = stage.carrier.network
    really_open, really_post = network.open, network.post

    async def open_and_keep(url: str, *arguments: Any) -> Any:
        opened.append(url)
        return await really_open(url, *arguments)

    async def post_and_keep(url: str, body: bytes, headers: Mapping[str, str]) -> Any:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        sent.append(Request(path, body, dict(headers)))
        return await really_post(url, body, headers)

    network.open, network.post = open_and_keep, post_and_keep
    return opened


async def run(ways: Ways, only: Sequence[str] = ()) -> Run:
    """All rows of a carrier: the quick ones beside a good call, the waiting ones and those inside a call apart."""

    def is_wanted(name: str) -> bool:
        return not only or any(word in name for word in only)

    cases = [case for case in CASES if ways.name in case.only and is_wanted(case.name)]

    async def waiting() -> list[Row]:
        async with arena(ways) as place:
            return [await attacked(place, case) for case in cases if case.waits]

    async def inside() -> list[Row]:
        async with arena(ways) as place:
            return [await bothered(place, each) for each in NUISANCES if is_wanted(each.name)]

    quick = [case for case in cases if not case.waits]
    (rows, good), waited, bothers = await asyncio.gather(
        with_a_good_call(ways, quick), waiting(), inside()
    )
    return Run([*rows, *waited, *bothers], len(cases), good)


def main() -> None:
    """Attack, print, and leave with 1 when anything failed."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--carrier", action="append", choices=sorted(CARRIERS), default=[])
    asked.add_argument("--only", action="append", default=[], metavar="NAME")
    asked.add_argument("--verbose", action="store_true", help="with the log")
    asked.add_argument("--quick", action="store_true", help="the same: it is quick")
    options = asked.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    has_failed = False
    for name in options.carrier or CARRIERS:
        began = time.monotonic()
        found = virtual_time.run(run(CARRIERS[name], options.only))
        print(shown(f"{name}: what strangers get", ("got", "must get"), found.rows))
        quiet = sum(row.has_passed for row in found.rows[: found.refused])
        print(
            f"{quiet} of {found.refused} refused rows opened no provider connection, asked no model, spoke no word, "
            "fired no callback and left nothing in the store"
        )
        print(
            f"the good call beside them: {found.good or 'undisturbed, from greeting to farewell'}"
        )
        print(f"{time.monotonic() - began:.1f} s\n", flush=True)
        has_failed |= bool(found.good) or not all(row.has_passed for row in found.rows)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
