"""What is peculiar to a speech-to-speech engine, as far as a conversation must know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineManners:
    """What a session must know of its engine."""

    answers_itself: bool = True
    """It begins a reply when the caller's turn ends, and stops one when the caller speaks; else we ask for both."""
    says_when_done: bool = True
    """It tells when a reply is complete."""
    acknowledges: bool = True
    """It tells that a response has begun before anything comes of it: then silence means that none has."""
    greets_itself: bool = False
    """It was told the first message and says it unasked."""
    talks_beside_tools: bool = True
    """It says what it is told to while it waits for a tool; else that would end the wait, and nobody is heard."""
    announces_voices: bool = True
    """It tells when it hears the caller begin and stop; else its first sign of a turn may be the answer."""
    is_guarded: bool = False
    """Replies are judged before they are heard."""
