"""Sound of an engine that is let through only as far as its words were judged (CV-36).

An engine sends the sound of a reply and its words side by side, in no fixed step. A piece of sound is let through
when the words that were known at its arrival are judged, and either enough words were judged to cover it at a
fast speaker's pace, or it has waited for `HOLD_SECONDS`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from getpatter.core.reply import MS_PER_LETTER
from getpatter.types import Instant

HOLD_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True)
class _Held:
    audio: bytes
    ends_ms: float
    letters: int
    at: Instant


@dataclass(slots=True)
class Held:
    """The sound of one output item on its way to the caller."""

    is_guarded: bool
    checked: int = 0
    """Letters of the item that were judged and found good."""
    letters: int = 0
    """Letters that are known."""
    is_whole: bool = False
    """No more letters will come."""
    received_ms: float = 0.0
    _waiting: deque[_Held] = field(default_factory=deque)

    def add(self, audio: bytes, lasts_ms: float, now: Instant) -> None:
        """More sound."""
        self.received_ms += lasts_ms
        self._waiting.append(_Held(audio, self.received_ms, self.letters, now))

    def release(self, now: Instant) -> list[bytes]:
        """What may be heard now."""
        free: list[bytes] = []
        while self._waiting and self._is_free(self._waiting[0], now):
            free.append(self._waiting.popleft().audio)
        return free

    def _is_free(self, held: _Held, now: Instant) -> bool:
        if not self.is_guarded:
            return True
        if self.checked < held.letters:
            return False
        if self.is_whole and self.checked >= self.letters:
            return True
        return self.checked * MS_PER_LETTER >= held.ends_ms or now >= held.at + HOLD_SECONDS

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def deadline(self) -> Instant | None:
        """When more may be free without another word."""
        if not self._waiting or self.checked < self._waiting[0].letters:
            return None
        return Instant(self._waiting[0].at + HOLD_SECONDS)
