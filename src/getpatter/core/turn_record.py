"""What is kept of one turn: its words and the instants of its life."""

from __future__ import annotations

import msgspec


class TurnRecord(msgspec.Struct, frozen=True):
    """One turn's texts and the instants of its life (seconds on the call's clock; `None`: did not happen)."""

    index: int
    user_text: str
    agent_text: str
    is_interrupted: bool = False
    is_greeting: bool = False
    is_engine: bool = False
    """A speech-to-speech engine gave it: it has no text before its sound."""
    speech_began: float | None = None
    speech_ended: float | None = None
    final_at: float | None = None
    committed_at: float | None = None
    first_text_at: float | None = None
    last_text_at: float | None = None
    first_voice_at: float | None = None
    last_voice_at: float | None = None
    first_audio_at: float | None = None
    bargein_ms: float | None = None
    characters: int = 0
    """Sent to the voice, whether heard or not."""
