"""What a voice detector is to the rest: a thing that hears frames of PCM and says when speech begins.

The built-in one is `SileroVAD`. Anything with these three methods may be given as `agent(vad=...)`; with a
`clone()` method each call gets a copy of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class VADEvent:
    """What a detector has to say about the audio so far."""

    type: Literal["speech_start", "speech_end", "silence"]
    confidence: float = 0.0
    """Probability of speech, 0 to 1; for `speech_start` the highest so far."""
    duration_ms: float = 0.0
    """`speech_start`: speech so far; `speech_end`: length of the speech; `silence`: silence so far."""


@runtime_checkable
class VADProvider(Protocol):
    """A voice detector for one call."""

    async def process_frame(self, pcm: bytes, sample_rate: int) -> VADEvent | None:
        """Hear the next piece of PCM16 mono. Called in order, a piece every 20 ms or so, all through the call.

        Must not block: real work belongs to a thread. `None` means nothing new.
        """
        ...

    def reset(self) -> None:
        """Forget what was heard; the next piece begins a new stream."""
        ...

    async def close(self) -> None:
        """The call is over."""
        ...
