"""From any audio format to any other, by the cheapest road, which is often none at all.

`converter(src, dst)` makes one for a stream; it keeps the state that resampling needs, so every direction
of every call has its own. Two ends with equal formats get their bytes back untouched. `cheapest` chooses
the pair of formats when both ends offer several.

numpy is loaded when the first real conversion is made, not when this module is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from getpatter.types import AudioFormat, Encoding


class Converter(Protocol):
    """One direction of one stream."""

    def convert(self, data: bytes) -> bytes:
        """The next chunk, of any size, in the other format. May be empty, and may lag by 2.5 ms."""
        ...

    def flush(self) -> bytes:
        """What is still held back, at the end of the stream; afterwards it is as new."""
        ...


class Untouched:
    """The converter between equal formats: returns the very object it was given."""

    __slots__ = ()

    def convert(self, data: bytes) -> bytes:
        """`data` itself."""
        return data

    def flush(self) -> bytes:
        """Nothing."""
        return b""


def converter(src: AudioFormat, dst: AudioFormat) -> Converter:
    """A new converter for one stream from `src` to `dst`. What becomes too loud saturates.

    Raises:
        ValueError: a sample rate outside 4 kHz to 384 kHz.
    """
    if src == dst:
        return Untouched()
    from getpatter.audio import _conversions  # noqa: PLC0415 - loads numpy, which most imports never need

    return _conversions.between(src, dst)


_TRANSLATION: Final = 0.1
_CODEC: Final = 1.2
_RESAMPLING: Final = 6.5
_LOST_KHZ: Final = 5.0
"""Weight of a kilohertz of sound thrown away: more than any two roads differ in time."""


def cost(src: AudioFormat, dst: AudioFormat) -> float:
    """Price of converting: about microseconds for 20 ms of audio, plus 5 for each kHz of sound lost.

    0 means that bytes pass untouched (benchmarks/audio.py measures the rest).
    """
    if src == dst:
        return 0.0
    codecs = (src.encoding is not Encoding.PCM16) + (dst.encoding is not Encoding.PCM16)
    if src.sample_rate == dst.sample_rate:
        return _TRANSLATION if codecs == 2 else _CODEC  # noqa: PLR2004 - from one law to the other
    lost_khz = max(0, src.sample_rate - dst.sample_rate) / 2000
    return _RESAMPLING + codecs * _CODEC + lost_khz * _LOST_KHZ


def cheapest(
    from_formats: Sequence[AudioFormat], to_formats: Sequence[AudioFormat]
) -> tuple[AudioFormat, AudioFormat]:
    """The pair `(from, to)` that costs least.

    Among equals the one with more sound (the higher rate) wins, then the order of `from_formats` and of
    `to_formats`: name what you like best first.

    Raises:
        ValueError: one of the lists is empty.
    """
    if not from_formats or not to_formats:
        raise ValueError("both ends must name at least one audio format")
    pairs = [(src, dst) for src in from_formats for dst in to_formats]
    return min(
        pairs, key=lambda pair: (cost(*pair), -min(pair[0].sample_rate, pair[1].sample_rate))
    )
