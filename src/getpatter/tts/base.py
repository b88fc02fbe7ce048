"""What a voice must be able to do, and what the call may ask of one that can do more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from getpatter.types import PCM16_16K, AudioFormat


@runtime_checkable
class TTSProvider(Protocol):
    """A voice. Any object with these methods will do.

    More that is used when it is there: `clone()` (a fresh one for each call), `output_format` (an `AudioFormat`;
    without it PCM16 16 kHz is expected), `with_output(formats)` (a clone that gives the first of `formats` it can,
    or None), `voice_key` (text that is equal for voices that sound equal; lets the greeting be kept), `warmup()`;
    `provider_key` and `model` (of the price table), `billed_characters` (sent, heard or not),
    `spent` (a tuple of `Spent`, where several voices share the work).
    """

    def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Audio of `text` as it is made. Cancelling the iterator cancels this synthesis and nothing else."""
        ...

    async def close(self) -> None:
        """Give back sockets and processes, within 2 s. Idempotent."""
        ...


def output_format(tts: object) -> AudioFormat:
    """The format a voice gives."""
    declared = getattr(tts, "output_format", None)
    return declared if isinstance(declared, AudioFormat) else PCM16_16K
