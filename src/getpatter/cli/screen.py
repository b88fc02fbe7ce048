"""What the commands write: colour on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from getpatter import config

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["Screen"]

_PLAIN_WIDTH = 100


class Screen:
    """Standard output. Nothing that is shown is taken for markup."""

    def __init__(self, *, no_color: bool = False) -> None:
        """`no_color`: as if it were no terminal."""
        is_plain = no_color or not config.wants_colour()
        self._console = Console(
            force_terminal=False if is_plain else None, no_color=is_plain, highlight=False
        )
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH
        self._status: Status | None = None

    def now(self, text: str = "") -> None:
        """On a terminal: what goes on now, below everything else, until it is something else or nothing."""
        if not self._console.is_terminal:
            return
        if self._status is not None:
            self._status.stop()
            self._status = None
        if text:
            self._status = self._console.status(Text(text, "dim"), spinner="line")
            self._status.start()

    def line(self, text: str = "", style: str = "") -> None:
        """One line, never wrapped."""
        self._console.print(Text(text, style), soft_wrap=True)

    def entry(self, at: str, who: str, text: str, style: str = "") -> None:
        """One line of a conversation: when, who, what."""
        line = Text().append(f"{at:>6}  ", "dim")
        line.append(f"{who:<7}", f"bold {style}" if style else "bold").append("  ")
        line.append(text, style)
        self._console.print(line, soft_wrap=True)

    def check(self, name: str, *, is_good: bool, detail: str = "") -> None:
        """A thing that was looked at."""
        line = Text()
        line.append(*(("  ok      ", "green") if is_good else ("  FAILED  ", "bold red")))
        line.append(name)
        if detail:
            line.append(f": {detail}", "" if not is_good else "dim")
        self._console.print(line, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns whose name begins with `>` stand at the right."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for name in columns:
            is_number = name.startswith(">")
            table.add_column(
                name.removeprefix(">"),
                justify="right" if is_number else "left",
                no_wrap=is_number,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)
