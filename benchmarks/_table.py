"""Rows of PASS and FAIL: played side by side, printed as a table, counted into an exit code."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_REASON_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one case."""

    name: str
    columns: tuple[str, ...]
    reason: str = ""
    """Why it failed; empty when it did not."""

    @property
    def has_passed(self) -> bool:
        """Whether all was as it must be."""
        return not self.reason


def shown(title: str, head: Sequence[str], rows: Sequence[Row]) -> str:
    """The table as text."""
    lines = [("", *head), *((row.name, *row.columns) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head) + 1)]
    text = [f"== {title}"]
    for index, cells in enumerate(lines):
        verdict = "" if not index else "PASS  " if rows[index - 1].has_passed else "FAIL  "
        row = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        text.append(f"{verdict:6}{row}".rstrip())
        if index and not rows[index - 1].has_passed:
            reason = textwrap.wrap(rows[index - 1].reason, _REASON_WIDTH) or ["?"]
            text += [f"{'':6}  -> {line}" for line in reason]
    failed = sum(not row.has_passed for row in rows)
    text.append(f"{len(rows)} rows, {failed} failed")
    return "\n".join(text)
