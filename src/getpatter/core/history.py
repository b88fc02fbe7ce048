"""The conversation as the model must see it: only what was said, and of the agent only what was heard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

Role = Literal["user", "assistant"]
MAX_ENTRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One thing said."""

    role: Role
    text: str
    timestamp: float
    """Wall clock, Unix seconds."""
    turn_index: int
    is_interrupted: bool = False

    def to_dict(self) -> dict[str, object]:
        """The form of callbacks: role, text, timestamp."""
        return {"role": self.role, "text": self.text, "timestamp": self.timestamp}


@dataclass(slots=True)
class History:
    """Lines in the order in which they were spoken."""

    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        """Append what was said last."""
        self.lines.append(line)

    def recent(self, most: int = MAX_ENTRIES) -> tuple[Line, ...]:
        """The newest `most` lines, for a model."""
        return tuple(self.lines[-most:])

    def to_dicts(self) -> list[dict[str, object]]:
        """Fresh dicts, owned by whoever gets them."""
        return [line.to_dict() for line in self.lines]


@dataclass(frozen=True, slots=True)
class Heard:
    """One spoken piece and how much of its audio reached the ear."""

    text: str
    share: float
    """0.0 to 1.0."""


def heard_text(pieces: Iterable[Heard]) -> str:
    """The words that were heard, to the last whole word.

    Without word timings from the voice, a piece's audio is taken to be spread evenly over its letters.
    """
    said: list[str] = []
    for piece in pieces:
        if piece.share >= 0.999:  # noqa: PLR2004 - rounding of sample counts, not a threshold
            said.append(piece.text)
            continue
        if piece.share > 0:
            said.append(_prefix(piece.text, piece.share))
        break
    return " ".join(part for part in said if part)


def _prefix(text: str, share: float) -> str:
    cut = int(len(text) * share)
    if cut >= len(text) or text[cut].isspace():
        return text[:cut].rstrip()
    head, separator, _ = text[:cut].rpartition(" ")
    return head.rstrip() if separator else ""
