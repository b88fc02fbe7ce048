"""Bytes to samples and back, once, in the way every other module here relies on.

PCM is signed 16 bit, little-endian, mono. Inside a conversion, samples are `float32` on the same scale
(-32768 to 32767), so that nothing is rounded or clipped before the last step.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

INT16: Final = np.dtype("<i2")
"""Little-endian on every machine."""

Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_LOWEST: Final = np.float32(-32768)
_HIGHEST: Final = np.float32(32767)


class PcmCarry:
    """Cuts a byte stream at whole samples: an odd byte waits for the next chunk."""

    __slots__ = ("_rest", "_width")

    def __init__(self, sample_width: int = 2) -> None:
        """Carry for samples of `sample_width` bytes (for interleaved stereo PCM16: 4)."""
        if sample_width < 1:
            raise ValueError(f"sample_width must be at least 1, not {sample_width}")
        self._width = sample_width
        self._rest = b""

    @property
    def pending(self) -> bytes:
        """Bytes of a sample that is not complete yet."""
        return self._rest

    def push(self, chunk: bytes) -> bytes:
        """The whole samples so far. Returns `chunk` itself, uncopied, when nothing is left over."""
        if self._rest:
            chunk = self._rest + chunk
        left = len(chunk) % self._width
        if left:
            self._rest = bytes(chunk[-left:])
            return chunk[:-left]
        self._rest = b""
        return chunk

    def reset(self) -> None:
        """Forget the incomplete sample."""
        self._rest = b""


def whole_samples(pcm: bytes) -> Int16:
    """PCM16 bytes as a read-only array; half a sample at the end is left out."""
    return np.frombuffer(pcm, INT16, len(pcm) // 2)


def saturated(samples: Float32) -> Int16:
    """Rounded to 16 bit; what is too loud stays at the limit instead of wrapping. Overwrites `samples`."""
    np.rint(samples, out=samples)
    np.maximum(samples, _LOWEST, out=samples)
    np.minimum(samples, _HIGHEST, out=samples)
    return samples.astype(INT16)


def swapped_bytes(pcm: bytes) -> bytes:
    """PCM16 of the other byte order (network order L16 to ours, and back)."""
    return whole_samples(pcm).byteswap().tobytes()
