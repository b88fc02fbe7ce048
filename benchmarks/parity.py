"""Every provider in every scenario: which promises of a phone call each one was seen to keep.

`python -m benchmarks.parity` makes all the calls, in virtual time but over real sockets to the fake services, and
prints what became of each; `--write` writes `docs/reference/parity.md`; `--only deepgram` makes a few.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from getpatter.testing import time as virtual_time
from tests.support.parity import CELLS, FAILING, NOT, OK, Cell
from tests.support.parity_page import PAGE, page
from tests.support.parity_scenes import play


def main() -> int:
    """Make the calls. The exit status is 1 when one did not go as declared."""
    wanted = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    wanted.add_argument("--write", nargs="?", const=PAGE, type=Path, help="write the page")
    wanted.add_argument("--only", default="", help="only cells whose name contains this")
    wanted.add_argument("--quick", action="store_true", help="one column, the reply")
    given = wanted.parse_args()
    only = "-reply" if given.quick else given.only
    if given.write and only:
        wanted.error("the page is about all cells")
    logging.getLogger("getpatter").propagate = False  # the scenes look at the log themselves
    logging.getLogger("getpatter").addHandler(logging.NullHandler())
    seen: dict[Cell, str] = {}
    began = time.monotonic()
    for cell in CELLS:
        if only in cell.id:
            seen[cell] = _made(cell)
            print(f"{seen[cell]:>5}  {cell.id}", flush=True)
    counted = Counter(seen.values())
    print(f"{dict(counted)} in {time.monotonic() - began:.0f} s")
    if given.write:
        given.write.write_text(page(lambda cell: seen.get(cell, NOT)))
    wrong = [cell for cell, what in seen.items() if (what != OK) != (cell.key in FAILING)]
    return 1 if wrong else 0


def _made(cell: Cell) -> str:
    try:
        virtual_time.run(play(cell))
    except Exception:  # noqa: BLE001 - whatever it is, it is what became of the cell
        traceback.print_exc(limit=-2)
        return "fails"
    return OK


if __name__ == "__main__":
    sys.exit(main())
