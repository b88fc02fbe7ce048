"""What does `kill -9` cost? Processes with calls up are killed at random instants; then their files are read.

python -m benchmarks.crash [--kills 200] [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks._figures import verdict
from getpatter.dashboard.store import MetricsStore

AT_ONCE: Final = 2
LONGEST_S: Final = 5.0
WRITTEN_WITHIN_MS: Final = 1000.0
"""A file is synced when it is replaced, and a busy disk takes its time."""


@dataclass
class Remains:
    """What one killed process had told its program, and what its files say."""

    started: int = 0
    ended: int = 0
    said: int = 0
    lost: list[float] = field(default_factory=list)
    """Milliseconds from the callback to the kill, for each line that was told and is not on disk."""
    lost_of: Counter[str] = field(default_factory=Counter)
    """The same lines, counted by call."""
    torn_last: int = 0
    torn_inside: int = 0
    unreadable: int = 0
    lost_calls: int = 0
    restored: int = 0
    marked: int = 0
    """Restored as `failed`, reason `process ended`."""
    late_ends: list[float] = field(default_factory=list)
    """Milliseconds from `on_call_end` to the kill, for each call whose end was being written."""
    wrong: int = 0
    """Restored in a state that it never had."""
    again: int = 0


def killed(seed: int) -> Remains:
    """Run one process, kill it, and read what is left."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks._crash", folder, str(seed)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None, "a pipe"
            process.stdout.readline()  # it is ready
            time.sleep(0.5 + dice.random() * LONGEST_S)
            at = time.monotonic()
            process.kill()
            told = [json.loads(line) for line in process.stdout.read().splitlines() if line]
        return _read(root, told, at)


def _read(root: Path, told: list[list[Any]], at: float) -> Remains:
    remains = Remains()
    kept: Counter[tuple[str, str, str]] = Counter()
    for folder in root.glob("calls/*/*/*/*"):
        try:
            json.loads((folder / "metadata.json").read_text())
        except (OSError, ValueError):
            remains.unreadable += 1
        kept.update(_lines(folder, remains))
    started = {row[2] for row in told if row[0] == "started"}
    ended = {row[2]: row[1] for row in told if row[0] == "ended"}
    for what, when, *rest in told:
        if what == "said":
            remains.said += 1
            call_id, role, text = rest
            kept[call_id, role, text] -= 1
            if kept[call_id, role, text] < 0:
                remains.lost.append((at - when) * 1000)
                remains.lost_of[call_id] += 1
    remains.started, remains.ended = len(started), len(ended)
    store = MetricsStore()
    remains.restored = store.hydrate(root)
    remains.again = store.hydrate(root)
    records = {record["call_id"]: record for record in store.get_calls(limit=1000)}
    remains.lost_calls = len(started - records.keys())
    for call_id, record in records.items():
        is_marked = record["status"] == "failed" and record.get("reason") == "process ended"
        remains.marked += is_marked
        if is_marked and call_id in ended:
            remains.late_ends.append((at - ended[call_id]) * 1000)
        remains.wrong += not is_marked and record["status"] != "completed"
    return remains


def _lines(folder: Path, remains: Remains) -> Iterator[tuple[str, str, str]]:
    path = folder / "transcript.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for index, line in enumerate(lines):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            if index == len(lines) - 1:
                remains.torn_last += 1
            else:
                remains.torn_inside += 1
            continue
        yield folder.name, entry["role"], entry["text"]


def main() -> None:
    """Print what was lost, in a table."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    wanted.add_argument("--kills", type=int, default=200)
    wanted.add_argument("--quick", action="store_true", help="10 kills")
    given = wanted.parse_args()
    kills = 10 if given.quick else given.kills
    with ThreadPoolExecutor(AT_ONCE) as pool:
        remains = list(pool.map(killed, range(kills)))
    lost = [each for one in remains for each in one.lost]
    late = [each for one in remains for each in one.late_ends]
    most = max((count for one in remains for count in one.lost_of.values()), default=0)
    rows = [
        ("processes killed", kills),
        ("calls begun", sum(one.started for one in remains)),
        ("calls over before the kill", sum(one.ended for one in remains)),
        ("lines told to on_transcript", sum(one.said for one in remains)),
        ("lines told and not on disk", len(lost)),
        ("  most of one call", most),
        ("  told at most this long before the kill, ms", round(max(lost, default=0.0), 1)),
        ("torn last lines (skipped)", sum(one.torn_last for one in remains)),
        ("torn lines elsewhere", sum(one.torn_inside for one in remains)),
        ("calls begun and not on disk", sum(one.lost_calls for one in remains)),
        ("directories without readable metadata", sum(one.unreadable for one in remains)),
        ("calls restored by hydrate", sum(one.restored for one in remains)),
        ("  marked as failed, 'process ended'", sum(one.marked for one in remains)),
        ("    whose end was being written", len(late)),
        ("    told at most this long before the kill, ms", round(max(late, default=0.0), 1)),
        ("  in a state that they never had", sum(one.wrong for one in remains)),
        ("restored by a second hydrate", sum(one.again for one in remains)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value:>8}")
    is_met = (
        most <= 1
        and max(late, default=0.0) < WRITTEN_WITHIN_MS
        and not any(one.torn_inside or one.wrong or one.again for one in remains)
    )
    verdict("a kill costs a call at most what is being written", is_met=is_met)
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
