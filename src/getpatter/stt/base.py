"""What a recogniser must be able to do, and what the call may ask of one that can do more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from getpatter.models import Transcript
from getpatter.types import PCM16_16K, AudioFormat

DEFAULT_FORMATS = (PCM16_16K,)
"""What a recogniser that declares no `input_formats` is sent."""


@runtime_checkable
class STTProvider(Protocol):
    """A recogniser of one call. Any object with these methods will do.

    More that is used when it is there: `clone()` (a fresh one for each call), `input_formats` (a tuple of
    `AudioFormat`, best first; without it PCM16 16 kHz is sent), `with_input(formats)` (a clone that takes the first
    of `formats` it can, or `None`; asked before `connect`), `feed(data)` (a `send_audio` that never
    waits), `finalize()` (sync or async: the voice has stopped, deliver the final words now), `warmup()`;
    `provider_key` and `model` (of the price table), `billed_seconds` (of audio, as the vendor counts),
    `spent` (a tuple of `Spent`, where several recognisers share the work).
    """

    async def connect(self) -> None:
        """Open the stream. Raises `AuthenticationError`, `RateLimitError` or `PatterConnectionError`."""
        ...

    async def send_audio(self, pcm: bytes) -> None:
        """Send the caller's audio, any number of whole samples."""
        ...

    def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """Results as they come, until the stream ends."""
        ...

    async def close(self) -> None:
        """End the stream in the vendor's orderly way, within 2 s. Idempotent."""
        ...


def input_formats(stt: object) -> tuple[AudioFormat, ...]:
    """The formats a recogniser takes, best first."""
    formats = getattr(stt, "input_formats", None)
    return tuple(formats) if formats else DEFAULT_FORMATS
