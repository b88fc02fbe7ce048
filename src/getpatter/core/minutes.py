"""Who said what, told in the order in which it was spoken, however late the words are.

A speech-to-speech service reports a caller's words long after it has begun to answer them, sometimes after the
next turn, sometimes never. So every turn is entered when it is taken, and told when its words are there and
everything before it was told:

```
taken      user 1    reply 1    user 2    reply 2
words         -      "Sure."    "Then"       -          nothing is told: user 1 has no words yet
   user 1 "Well"                                        told: user 1, reply 1, user 2
```

A turn of the caller that has no words after `WORDS_WITHIN` seconds is told without (CV-60).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from getpatter.core.history import Role
from getpatter.core.messages import TurnRecord
from getpatter.types import Instant

WORDS_WITHIN: Final = 3.0


@dataclass(slots=True, eq=False)
class Entry:
    """One turn of one side."""

    role: Role
    turn_index: int
    text: str = ""
    is_settled: bool = False
    """Its text is final."""
    is_interrupted: bool = False
    due: Instant | None = None
    """When it is told with whatever words it has."""
    record: TurnRecord | None = None
    is_void: bool = False
    """Nothing was said after all: it leaves no line."""


@dataclass(slots=True)
class Minutes:
    """The turns of a call that were not told yet."""

    _open: deque[Entry] = field(default_factory=deque)

    def user(self, turn_index: int, now: Instant) -> Entry:
        """The caller has finished a turn; its words are on their way."""
        entry = Entry("user", turn_index, due=Instant(now + WORDS_WITHIN))
        self._open.append(entry)
        return entry

    def agent(self, turn_index: int) -> Entry:
        """A reply begins. It keeps everything after it waiting until it is settled."""
        entry = Entry("assistant", turn_index)
        self._open.append(entry)
        return entry

    def ready(self, now: Instant) -> list[Entry]:
        """The entries that can be told now, oldest first. Each is told once."""
        told: list[Entry] = []
        while self._open and (
            self._open[0].is_settled or (self._open[0].due is not None and now >= self._open[0].due)
        ):
            told.append(self._open.popleft())
        return told

    def rest(self) -> list[Entry]:
        """The call is over: everything that is left, with the words that are there."""
        told = list(self._open)
        self._open.clear()
        return told

    @property
    def pending(self) -> tuple[Entry, ...]:
        """What was not told yet, in order."""
        return tuple(self._open)

    @property
    def deadline(self) -> Instant | None:
        """When `ready` may have something without anything happening before."""
        return self._open[0].due if self._open else None
