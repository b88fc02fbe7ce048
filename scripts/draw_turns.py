"""Draws `docs/explanation/turns.svg` and the table in `turns.md` from `core/turns.py`.

python -m scripts.draw_turns
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Final

from getpatter.core.turns import TABLE, WAITING, Floor, Turn

EXPLANATION: Final = Path(__file__).parents[1] / "docs" / "explanation"
BEGIN: Final = "<!-- table: python -m scripts.draw_turns -->\n"
END: Final = "<!-- end of table -->\n"

_PLACES: Final = {
    Floor.OPENING: (110, 90),
    Floor.OPEN: (430, 90),
    Floor.CALLER: (430, 300),
    Floor.PAUSE: (110, 300),
    Floor.THINKING: (430, 530),
    Floor.DOUBT: (760, 530),
    Floor.AGENT: (1060, 90),
    Floor.OVERLAP: (1060, 300),
    Floor.HELD: (760, 200),
    Floor.SILENCED: (110, 730),
    Floor.CLOSING: (560, 730),
    Floor.CLOSED: (1000, 730),
    Floor.AWAY: (760, 90),
}
_BOX: Final = (128, 46)
_EVERYWHERE: Final = frozenset({Turn.CLOSE_ASKED, Turn.GONE, Turn.MACHINE_FOUND, Turn.HANDED_OVER})
"""Arrows that leave nearly every state; drawn as a sentence, not as thirty lines."""
_NOTE: Final = (
    "From every state: “close asked” leads to closing, “gone” to closed (reported); "
    "“handed over” to away; until the call closes, “machine found” leads to silenced."
)


_HEAD: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 830" role="img" font-family="sans-serif" \
aria-label="Who has the floor: states and events">
<style>
path{fill:none;stroke:#567;stroke-width:1.4}
rect{stroke:#234;stroke-width:1.5}
.rests{fill:#e8f0fa}.waits{fill:#fdeccb}
.state{font-size:16px;font-weight:bold;fill:#123}
.on{font-size:11px;fill:#234;paint-order:stroke;stroke:#fff;stroke-width:4px}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8z" style="fill:#567"/></marker></defs>
<rect width="1200" height="830" style="fill:#fff;stroke:none"/>"""


def _arrows() -> dict[tuple[Floor, Floor], list[str]]:
    found: dict[tuple[Floor, Floor], list[str]] = defaultdict(list)
    for (floor, event), (to, acts) in TABLE.items():
        if event not in _EVERYWHERE:
            does = f" / {', '.join(act.value for act in acts)}" if acts else ""
            found[floor, to].append(event.value + does)
    return found


def _edge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of box `a` to `b` leaves the box."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    scale = min(
        _BOX[0] / 2 / abs(dx) if dx else math.inf, _BOX[1] / 2 / abs(dy) if dy else math.inf
    )
    return a[0] + dx * scale, a[1] + dy * scale


def _label(x: float, y: float, words: list[str], anchor: str = "middle") -> str:
    first = y - 6.5 * (len(words) - 1)
    return "\n".join(
        f'<text class="on" text-anchor="{anchor}" x="{x:.0f}" y="{first + 13 * i:.0f}">'
        f"{escape(word)}</text>"
        for i, word in enumerate(words)
    )


def _loop(floor: Floor, words: list[str]) -> str:
    x, y = _PLACES[floor]
    top = y - _BOX[1] / 2
    path = (
        f"M{x - 24} {top:.0f} C{x - 34} {top - 30:.0f} {x + 34} {top - 30:.0f} {x + 24} {top:.0f}"
    )
    return (
        f'<path d="{path}" marker-end="url(#tip)"/>\n'
        f"{_label(x, top - 28 - 6.5 * (len(words) - 1), words)}"
    )


def _arrow(floor: Floor, to: Floor, words: list[str], *, is_both_ways: bool) -> str:
    a, b = _PLACES[floor], _PLACES[to]
    (x1, y1), (x2, y2) = _edge(a, b), _edge(b, a)
    length = math.dist((x1, y1), (x2, y2))
    bend = 46.0 if is_both_ways else 14.0
    nx, ny = (y2 - y1) / length * bend, -(x2 - x1) / length * bend
    mx, my = (x1 + x2) / 2 + nx, (y1 + y2) / 2 + ny
    path = f"M{x1:.0f} {y1:.0f} Q{mx:.0f} {my:.0f} {x2:.0f} {y2:.0f}"
    # Nearer to where it comes from: crossing arrows keep their words apart.
    t = 0.42
    lx = (1 - t) ** 2 * x1 + 2 * t * (1 - t) * mx + t * t * x2
    ly = (1 - t) ** 2 * y1 + 2 * t * (1 - t) * my + t * t * y2
    return f'<path d="{path}" marker-end="url(#tip)"/>\n{_label(lx, ly, words)}'


def _box(floor: Floor) -> str:
    x, y = _PLACES[floor]
    kind = "waits" if floor in WAITING else "rests"
    width, height = _BOX
    return (
        f'<rect class="{kind}" x="{x - width // 2}" y="{y - height // 2}" '
        f'width="{width}" height="{height}" rx="10"/>\n'
        f'<text class="state" text-anchor="middle" x="{x}" y="{y + 5}">{floor.value}</text>'
    )


def drawing() -> str:
    """The whole drawing, as SVG."""
    arrows = _arrows()
    parts = [_HEAD]
    for (floor, to), words in arrows.items():
        if floor is to:
            parts.append(_loop(floor, words))
        else:
            parts.append(_arrow(floor, to, words, is_both_ways=(to, floor) in arrows))
    parts.extend(_box(floor) for floor in Floor)
    parts.append(f'<text class="on" x="40" y="800">{escape(_NOTE)}</text>')
    parts.append('<text class="on" x="40" y="816">Yellow: must not last; an alarm ends it.</text>')
    return "\n".join([*parts, "</svg>\n"])


def table() -> str:
    """Every row of the table, as Markdown."""
    rows = ["| State | Event | Next state | What is done |", "|---|---|---|---|"]
    for (floor, event), (to, acts) in TABLE.items():
        does = ", ".join(act.value for act in acts)
        rows.append(f"| {floor.value} | {event.value} | {to.value} | {does} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Write both."""
    (EXPLANATION / "turns.svg").write_text(drawing(), encoding="utf-8")
    page = EXPLANATION / "turns.md"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    page.write_text(
        pattern.sub(lambda _: BEGIN + "\n" + table() + "\n" + END, text), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
