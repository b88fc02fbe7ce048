"""Who takes the floor: what a program may decide about interruptions and ends of turns.

An interruption is confirmed by the first of `agent(barge_in_strategies=[...])` that agrees; a caller's turn is held
open by `agent(turn_detector=...)` while the caller seems to have more to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class BargeInStrategy(Protocol):
    """Decides whether words over the agent are an interruption. With `clone()`, each call has a copy of its own."""

    async def evaluate(self, *, transcript: str, is_interim: bool, agent_speaking: bool) -> bool:
        """Whether the caller means to interrupt.

        Asked at every transcript while a reply is heard or held back; what raises, or takes longer than a second,
        counts as agreement, because a caller must be able to stop an agent.

        Args:
            transcript: What the caller has said since they began to speak over the agent.
            is_interim: The recogniser may still change its mind.
            agent_speaking: Whether the agent is heard; false while `barge_in_mode="pause_resume"` holds it back.
        """
        ...

    async def reset(self) -> None:
        """The agent's turn is over: forget what was said during it."""
        ...


@dataclass(frozen=True, slots=True)
class MinWordsStrategy:
    """Interrupts at so many words: "mm-hm" leaves the agent alone, "no, wait a moment" does not.

    Raises:
        ValueError: `min_words` is less than 1.
    """

    min_words: int
    use_interim: bool = True
    """Count words that the recogniser may still change; final ones only come later."""

    def __post_init__(self) -> None:
        if isinstance(self.min_words, bool) or not isinstance(self.min_words, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"MinWordsStrategy: min_words must be int, not {type(self.min_words).__name__}"
            )
        if self.min_words < 1:
            raise ValueError(
                f"MinWordsStrategy: min_words is {self.min_words}; it must be 1 or more"
            )

    async def evaluate(self, *, transcript: str, is_interim: bool, agent_speaking: bool) -> bool:
        """Whether there are enough words."""
        del agent_speaking
        if is_interim and not self.use_interim:
            return False
        return len(transcript.split()) >= self.min_words

    async def reset(self) -> None:
        """Nothing is remembered."""


@runtime_checkable
class TurnDetector(Protocol):
    """Says how likely it is that a caller who has fallen silent has finished. With `clone()`, one for each call."""

    threshold: float
    """Probability from which on the turn is taken for finished."""

    async def predict(self, window: bytes) -> float:
        """Probability, 0 to 1, that the turn is over.

        `window` is the caller's last sound, 8 s at most: PCM16, 16 kHz, mono, the newest sample last.
        Whatever it raises, and any delay beyond `max_semantic_hold_ms`, means that the turn is over.
        """
        ...


TurnDetectorProvider = TurnDetector
"""The same, under its other documented name."""
