"""What `import getpatter` costs a program that starts: time and modules.

    python -m benchmarks.imports              twenty fresh interpreters, about five seconds
    python -m benchmarks.imports --quick

Wall time inside of a fresh interpreter, from before the statement to after it, files in the system's cache. Then
what a program really writes, `from getpatter import Patter, Twilio`, which loads the façade.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks._figures import options, percentile, spread, verdict

AIM_MS = 100.0
HEAVY = ("numpy", "starlette", "uvicorn", "picows", "httpx", "cryptography")
PROGRAM = """
import sys, time
before, began = set(sys.modules), time.perf_counter()
{statement}
print((time.perf_counter() - began) * 1000, *(set(sys.modules) - before))
"""


def measured(statement: str, runs: int) -> tuple[list[float], set[str]]:
    """Milliseconds of each run, and the modules that were loaded."""
    times: list[float] = []
    modules: set[str] = set()
    for _ in range(runs + 1):
        command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        first, *names = done.stdout.split()
        times.append(float(first))
        modules = set(names)
    return times[1:], modules


def main() -> None:
    runs = 5 if options(__doc__ or "").quick else 20
    median = 0.0
    for statement in ("from getpatter import Patter, Twilio", "import getpatter"):
        times, modules = measured(statement, runs)
        heavy = [name for name in HEAVY if name in modules]
        median = percentile(times, 50)
        print(
            f"{statement}: {spread(times)} ms, {len(modules)} modules,"
            f" {sum(name.split('.')[0] == 'getpatter' for name in modules)} of them ours;"
            f" loads {', '.join(heavy) or 'no numpy, server or vendor package'}"
        )
    verdict(f"import getpatter within {AIM_MS:g} ms", is_met=median <= AIM_MS)


if __name__ == "__main__":
    main()
