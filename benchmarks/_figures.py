"""How benchmarks print their figures, and how they notice that somebody else used the machine."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STAT: Final = Path("/proc/stat")


def options(about: str) -> argparse.Namespace:
    """The command line of a benchmark: `--quick`."""
    wanted = argparse.ArgumentParser(description=about.splitlines()[0])
    wanted.add_argument("--quick", action="store_true", help="less of everything, under 20 s")
    return wanted.parse_args()


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median of repeats, and the least and the most of them."""
    if not values:
        return "-"
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def busy_seconds(core: int | None = None) -> float | None:
    """CPU time used by everybody, on one core or on all; `None` where the system does not tell."""
    try:
        lines = _STAT.read_text().splitlines()
    except OSError:
        return None
    name = "cpu" if core is None else f"cpu{core}"
    for line in lines:
        first, *rest = line.split()
        if first == name:
            user, nice, system, _idle, _wait, irq, soft, steal = (int(each) for each in rest[:8])
            return (user + nice + system + irq + soft + steal) / _TICKS
    return None


def verdict(aim: str, *, is_met: bool) -> None:
    """One line that says whether the claim holds."""
    print(f"aim: {aim}: {'met' if is_met else 'MISSED'}")
