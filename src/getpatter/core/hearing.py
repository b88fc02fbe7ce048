"""What listens for the caller's voice in one stream, as the manners of the call want it."""

from __future__ import annotations

from getpatter.core.barge_in import BargeIn
from getpatter.core.manners import Manners
from getpatter.core.speech_gate import SpeechGate


def hearing(manners: Manners) -> tuple[SpeechGate, BargeIn]:
    """A fresh gate and a fresh judge of interruptions: neither remembers a stream before."""
    gate = SpeechGate(
        min_speech_ms=manners.min_speech_ms,
        min_silence_ms=manners.min_silence_ms,
        threshold=manners.speech_threshold,
    )
    return gate, BargeIn(manners.barge_in_threshold_ms, manners.speech_threshold)
