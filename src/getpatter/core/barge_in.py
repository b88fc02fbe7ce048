"""What counts as an interruption, and what is a cough.

Counted in audio, not on a clock: the voice detector's frames that hold speech are added up, and a gap
longer than `GAP_MS` starts the count again. So a cough (one short burst) and its echo never reach the
threshold, however late the detector's verdicts arrive, and a steady voice reaches it on time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GAP_MS: Final = 100.0
"""Silence inside one burst of speech: the closure of a plosive lasts up to about 90 ms."""
MS_PER_WORD: Final = 250.0
"""Length taken for a word that only the recogniser heard (240 words a minute: fast speech)."""


@dataclass(slots=True)
class BargeIn:
    """Speech over the agent, added up until it means something."""

    threshold_ms: float
    """Sustained speech that interrupts; 0 switches interruption off."""
    onset_probability: float = 0.5
    _speech_ms: float = 0.0
    _gap_ms: float = 0.0
    _is_reached: bool = False

    def voice(self, probability: float, frame_ms: float) -> bool:
        """Add one detector frame. True when the threshold is reached by it."""
        if probability >= self.onset_probability:
            before = self._speech_ms
            # The closure between two syllables belongs to the speech around it.
            self._speech_ms += frame_ms + (self._gap_ms if before else 0.0)
            self._gap_ms = 0.0
            return self._reaches_now(frame_ms)
        self._gap_ms += frame_ms
        if self._gap_ms > GAP_MS:
            self.reset()
        return False

    def words(self, count: int, lasts_ms: float | None) -> bool:
        """The recogniser alone heard `count` words. True when they amount to an interruption."""
        # Not added to the detector's count: on a noisy line that is over the threshold already.
        length = MS_PER_WORD * count if lasts_ms is None else lasts_ms
        return 0 < self.threshold_ms <= length

    @property
    def is_reached(self) -> bool:
        """Whether the present burst has reached the threshold."""
        return self._is_reached

    def _reaches_now(self, frame_ms: float) -> bool:
        if self.threshold_ms <= 0 or self._is_reached:
            return False
        # Frames come whole, so the threshold is taken to the nearest of them.
        self._is_reached = self._speech_ms >= self.threshold_ms - frame_ms / 2
        return self._is_reached

    @property
    def speech_ms(self) -> float:
        """Speech of the present burst."""
        return self._speech_ms

    def reset(self) -> None:
        """The burst is over."""
        self._speech_ms = self._gap_ms = 0.0
        self._is_reached = False
