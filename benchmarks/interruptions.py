"""Is anything ever done twice, or done and not told, when callers interrupt? 10,000 times, in virtual time.

python -m benchmarks.interruptions [interruptions]
"""

from __future__ import annotations

import sys
import time
from itertools import product

from benchmarks._interruptions import Mishap, measured
from getpatter.tools import Effect

EFFECTS: tuple[Effect, ...] = ("write", "irreversible")
MISHAPS: tuple[Mishap, ...] = ("none", "raises", "too slow")


def main() -> None:
    """Print one row for each kind of tool and mishap."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    cases = list(product(EFFECTS, MISHAPS))
    each = -(-wanted // len(cases))
    print("effect        mishap    interrupted  in tool  wishes    runs  done  twice  lost      s")
    total = 0
    failures = 0
    for seed, (effect, mishap) in enumerate(cases):
        began = time.perf_counter()
        tally = measured(seed, each, effect, mishap)
        took = time.perf_counter() - began
        total += tally.interruptions
        failures += tally.twice + tally.lost
        print(
            f"{effect:13} {mishap:9} {tally.interruptions:11} {tally.while_running:8} {tally.wishes:7} "
            f"{tally.runs:7} {tally.done:5} {tally.twice:6} {tally.lost:5} {took:6.1f}"
        )
    print(f"{total} interruptions, {failures} mistakes")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
