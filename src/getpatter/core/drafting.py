"""When is it worth writing a reply before the caller's turn is certain?

Words that the recogniser has not changed for `after` seconds are probably all there is. A draft is begun for them;
it is used only if the turn ends with the same words, which is for the writer to check. Drafts cost tokens, so a turn
has `MOST_DRAFTS` of them at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from getpatter.types import Instant

MOST_DRAFTS: Final = 3


@dataclass(slots=True)
class Drafting:
    """The words of the present turn as the recogniser last reported them, and the draft for them."""

    after: float | None
    """Seconds that words must stand unchanged; `None` switches drafts off."""
    _text: str = ""
    _since: Instant = Instant(0.0)
    _drafted: str = ""
    _drafts: int = 0

    def heard(self, text: str, now: Instant) -> bool:
        """All the words of the turn so far. True when a draft was begun for other ones, and is of no use now."""
        if text == self._text:
            return False
        self._text, self._since = text, now
        is_stale = bool(self._drafted) and same_words(text, self._drafted) is False
        if is_stale:
            self._drafted = ""
        return is_stale

    @property
    def due(self) -> Instant | None:
        """When a draft is to be begun."""
        if self.after is None or not self._text or self._drafted or self._drafts >= MOST_DRAFTS:
            return None
        return Instant(self._since + self.after)

    def begin(self) -> str:
        """A draft is begun: for these words."""
        self._drafted = self._text
        self._drafts += 1
        return self._text

    def over(self) -> bool:
        """The turn has ended, one way or the other. True when there is a draft for it."""
        had, self._drafted = bool(self._drafted), ""
        self._text, self._drafts = "", 0
        return had


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in capitals and punctuation at most, which a recogniser adds when it confirms."""
    return _bare(one) == _bare(other)


def _bare(text: str) -> list[str]:
    words = ("".join(c for c in word.casefold() if c.isalnum()) for word in text.split())
    return [word for word in words if word]
