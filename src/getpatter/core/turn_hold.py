"""A caller who pauses may have more to say: a turn detector is asked, and holds the turn open for a while.

```
words complete --> ask ----- over -----------------------> commit
                    |  `---- not over --> `within` ------> commit
                    |                        |
                    `-- no answer ---------> ' more words, a voice: begin again at the next pause
```
"""

from __future__ import annotations

from dataclasses import dataclass

from getpatter.types import Instant


@dataclass(slots=True)
class TurnHold:
    """Whether a turn whose words are complete may be committed."""

    within: float | None
    """Seconds for which it may be held at most; `None`: there is no detector, and nothing is held."""
    number: int = 0
    """Of the question that was asked last."""
    _until: Instant | None = None
    _is_over: bool = False

    def asks(self, now: Instant) -> bool:
        """The words are complete. True when the detector is to be asked about them."""
        if self.within is None or self._until is not None:
            return False
        self.number += 1
        self._until = Instant(now + self.within)
        self._is_over = False
        return True

    def judged(self, number: int, *, is_over: bool) -> None:
        """The detector has answered question `number`."""
        if number == self.number:
            self._is_over = is_over

    def is_free(self, now: Instant) -> bool:
        """Whether the turn may be committed."""
        if self.within is None or self._is_over:
            return True
        return self._until is not None and now >= self._until

    @property
    def due(self) -> Instant | None:
        """When it is committed whatever the detector says."""
        return self._until

    def reset(self) -> None:
        """The caller goes on, or the turn was committed: an answer that is on its way means nothing."""
        self.number += 1
        self._until = None
        self._is_over = False
