"""How a call is held: every setting of a conversation, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from getpatter.background_audio import BackgroundSound
from getpatter.core.endpointing import Patience

DEAD_AIR_AFTER: Final = 8.0
"""Seconds for which an agent that owes words may leave its caller in silence (CV-67)."""
ONE_MOMENT: Final = "One moment, please."
APOLOGY: Final = "I'm sorry, something went wrong. Could you say that again?"
FAREWELL: Final = (
    "I'm sorry, something went wrong and I have to end this call. Please try again later."
)


@dataclass(frozen=True, slots=True)
class Background:
    """What is heard behind the agent in one call."""

    sounds: tuple[BackgroundSound, ...]
    volume: float
    is_looped: bool
    seed: int = 0
    """Decides which of several sounds is played."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How this call is held. Seconds unless the name says otherwise."""

    barge_in_threshold_ms: float = 300.0
    barge_in_pauses: bool = False
    """A voice over the agent stops the sound; only words cut the reply, else it goes on from where it stopped."""
    barge_in_confirm_within: float = 1.5
    """How long it waits for them."""
    barge_in_asks: bool = False
    """Whether words are enough is asked of the program's strategies."""
    patience: Patience = field(default_factory=Patience)
    turn_held_within: float | None = None
    """How long a turn detector may hold a turn open; `None`: there is none."""
    draft_after: float | None = None
    """Words of the caller that have stood unchanged for so long are answered in a draft; `None`: never."""
    apology: str = APOLOGY
    """Said when a reply cannot be written; empty: nothing is said."""
    long_turn_message: str = ""
    """Said when the agent owes words and has none to say; empty: nothing is said."""
    long_turn_after: float = DEAD_AIR_AFTER
    """How long that may last at first; later `DEAD_AIR_AFTER`."""
    max_duration: float = 3600.0
    idle_timeout: float | None = None
    idle_prompt: str = "Are you still there?"
    closing_bound: float = 10.0
    language: str = "en"
    first_clause_early: bool = False
    speech_threshold: float = 0.5
    min_speech_ms: float = 96.0
    """A shorter burst is a click; see `core/speech_gate.py`."""
    min_silence_ms: float = 400.0
    """A shorter pause is part of the sentence."""
    frame_ms: float = 32.0
    """Length of a frame of the built-in voice detector."""
    background: Background | None = None
