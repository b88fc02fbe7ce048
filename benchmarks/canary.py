"""Where secrets, card numbers and phone numbers turn up: whole calls with everything switched on that could tell.

    python -m benchmarks.canary                      all carriers
    python -m benchmarks.canary --carrier telnyx     one of them; also twilio, plivo
    python -m benchmarks.canary --json               for programs

Calls come in and go out through each simulated carrier, over real loopback sockets, to fakes of real vendors. A card
number is spoken and another one keyed (`call.collect_digits()`), tools run here and on the web, callers are handed on,
providers refuse keys and quote them, carriers and strangers send what they should not, callbacks raise with everything
they know in the text. Meanwhile all loggers of the process are at DEBUG, tracing is on, calls are kept on disk and in
flight recordings. Then every place is searched for every canary: plain, URL-encoded, reversed, hexadecimal, in base64
at each alignment, digits with separators between them. The exit code is 1 when one is where no document says it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks._canary import DOCUMENTED, NAMES, Haul, Place
from benchmarks._canary_calls import SCENES
from benchmarks._stage import CARRIERS, Ways
from getpatter.observability import shutdown_tracing
from getpatter.testing import time as virtual_time

_SCENE_LIMIT_S: Final = 900.0
ABSENT: Final = "absent"
EXPECTED: Final = "present as documented"
LEAKED: Final = "LEAKED"


class _Tap(logging.Handler):
    """Every record as a formatter would write it, with its traceback."""

    def __init__(self, haul: Haul) -> None:
        super().__init__(logging.DEBUG)
        self._haul = haul
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        is_ours = record.name.split(".")[0] == "getpatter"
        self._haul.add(Place.OUR_LOG if is_ours else Place.LIBRARY_LOG, self.format(record))


@contextlib.contextmanager
def _everything_on(haul: Haul) -> Iterator[None]:
    spans, numbers = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([numbers]))
    os.environ["PATTER_OTEL_ENABLED"] = "1"
    root, tap = logging.getLogger(), _Tap(haul)
    root.addHandler(tap)
    root.setLevel(logging.DEBUG)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    finally:
        root.removeHandler(tap)
        shutdown_tracing()
    haul.add(Place.TERMINAL, out.getvalue() + err.getvalue())
    for span in spans.get_finished_spans():
        haul.add(Place.SPANS, span.to_json())
    data = numbers.get_metrics_data()
    haul.add(Place.NUMBERS, data.to_json() if data is not None else "")


async def _play(ways: Ways, haul: Haul, root: Path, problems: list[str]) -> None:
    for number, (name, play) in enumerate(SCENES.items()):
        try:
            async with asyncio.timeout(_SCENE_LIMIT_S):
                await play(ways, haul, root / str(number))
        except Exception:  # noqa: BLE001 - whatever it is, the scene was not played
            problems.append(f"{name}: {traceback.format_exc()}")


def search(ways: Ways) -> tuple[Haul, list[str]]:
    """Play all scenes with a carrier; what got out, and which scenes failed. Once in a process, as tracing is."""
    haul, problems = Haul(), list[str]()
    with tempfile.TemporaryDirectory() as folder, _everything_on(haul):
        virtual_time.run(_play(ways, haul, Path(folder), problems))
    return haul, problems


def verdicts(haul: Haul) -> dict[str, dict[str, str]]:
    """Place by place, what became of each canary; and what a leak stands in."""
    found = haul.found()
    rows: dict[str, dict[str, str]] = {}
    for place in Place:
        row = rows.setdefault(place.value, {})
        for name in NAMES:
            if (place, name) not in found:
                row[name] = ABSENT
            elif name in DOCUMENTED.get(place, ()):
                row[name] = EXPECTED
            else:
                row[name] = f"{LEAKED}: {found[place, name][:1500]}"
    return rows


def shown(title: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """The table: a line for each place, a column for each canary; below it what a leak stands in."""
    names = list(next(iter(rows.values())))
    width = max(map(len, rows))
    marks = {ABSENT: ".", EXPECTED: "D"}
    lines = [f"== {title}", f"   . {ABSENT}   D {EXPECTED}   X {LEAKED}"]
    lines += [f"   {chr(ord('a') + at)} {name}" for at, name in enumerate(names)]
    letters = " ".join(chr(ord("a") + at) for at in range(len(names)))
    lines.append(f"{'':6}{'':{width}}  {letters}")
    leaks: list[str] = []
    for place, row in rows.items():
        cells = " ".join(marks.get(row[name], "X") for name in names)
        lines.append(f"{'FAIL' if 'X' in cells else 'PASS':6}{place:{width}}  {cells}")
        leaks += [f"-> {place}, {n}: {v}" for n, v in row.items() if v.startswith(LEAKED)]
    return "\n".join([*lines, *leaks])


def main() -> None:
    """Search, print, and leave with 1 when anything was where it must not be."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--carrier", choices=sorted(CARRIERS))
    asked.add_argument("--json", action="store_true", help="for programs")
    asked.add_argument("--quick", action="store_true", help="the same: it is quick")
    options = asked.parse_args()
    if options.carrier is None:
        import subprocess  # noqa: PLC0415 - one process a carrier

        words = [sys.executable, "-m", "benchmarks.canary", *(["--json"] if options.json else [])]
        done = [subprocess.run([*words, "--carrier", name], check=False) for name in CARRIERS]
        sys.exit(any(each.returncode for each in done))
    haul, problems = search(CARRIERS[options.carrier])
    rows = verdicts(haul)
    searched = {place.value: len(texts) for place, texts in haul.seen.items()}
    if options.json:
        print(
            json.dumps(
                {
                    "rows": rows,
                    "problems": problems,
                    "searched": searched,
                    "tokens": len(haul.tokens),
                }
            )
        )
    else:
        print(shown(f"{options.carrier}: {len(SCENES)} scenes", rows))
        print(f"searched: {sum(searched.values())} texts, {len(haul.tokens)} tokens")
        print(*problems, sep="\n")
    has_leaked = any(each.startswith(LEAKED) for row in rows.values() for each in row.values())
    sys.exit(bool(problems) or has_leaked)


if __name__ == "__main__":
    main()
