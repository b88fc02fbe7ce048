"""G.711, the sound of telephones: 8 bit a sample, on a nearly logarithmic scale.

A code is sign, segment (3 bit) and step (4 bit); mu-law is sent with all bits inverted, A-law with every
second one. Both are small functions of one sample, so both directions are tables: 256 entries to decode,
65 536 to encode, and between the two laws one `bytes.translate`.

Standard: <https://www.itu.int/rec/T-REC-G.711>. Where the standard leaves the rounding of 16-bit input
open (it speaks of 14 and 13 bit), the low bits are shifted out, as in the C code everybody uses.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from getpatter.audio.pcm import INT16, Float32, Int16, whole_samples

_ALL_CODES: Final = np.arange(256)
_MULAW_BIAS: Final = 33
"""Added to a 14-bit magnitude, it makes every segment begin at a power of two."""
_MULAW_LOUDEST: Final = 8191
"""The end of the last segment, bias included."""
_ALAW_SIGN: Final = 0x80
_EVERY_SECOND_BIT: Final = 0x55


def _mulaw_values() -> Int16:
    code = ~_ALL_CODES & 0xFF
    magnitude = ((((code & 0xF) << 1) + _MULAW_BIAS) << ((code >> 4) & 7)) - _MULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(INT16) << 2


def _alaw_values() -> Int16:
    code = _ALL_CODES ^ _EVERY_SECOND_BIT
    segment = (code >> 4) & 7
    step = ((code & 0xF) << 1) + 1
    magnitude = np.where(segment == 0, step, (step + 32) << np.maximum(segment - 1, 0))
    return np.where(code & _ALAW_SIGN, magnitude, -magnitude).astype(INT16) << 3


def _mulaw_codes() -> bytes:
    """Codes of all 16-bit samples, in the order of their bit patterns: 0 to 32767, -32768 to -1."""
    linear = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(linear) + _MULAW_BIAS, _MULAW_LOUDEST)
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0xF)
    inverted = np.where(linear < 0, 0x7F, 0xFF)
    return bytes((code ^ inverted).astype(np.uint8))


def _alaw_codes() -> bytes:
    """As `_mulaw_codes`, for A-law."""
    linear = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 3
    magnitude = np.where(linear < 0, ~linear, linear)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 0xF)
    sign = np.where(linear < 0, 0, _ALAW_SIGN)
    return ((code | sign) ^ _EVERY_SECOND_BIT).astype(np.uint8).tobytes()


MULAW_VALUES: Final = _mulaw_values()
"""16-bit sample of each mu-law code."""
ALAW_VALUES: Final = _alaw_values()
"""16-bit sample of each A-law code."""
MULAW_CODES: Final = np.frombuffer(_mulaw_codes(), np.uint8)
"""Mu-law code of each 16-bit sample, indexed by the sample seen as unsigned."""
ALAW_CODES: Final = np.frombuffer(_alaw_codes(), np.uint8)
"""A-law code of each 16-bit sample, indexed by the sample seen as unsigned."""

MULAW_FLOATS: Final[Float32] = MULAW_VALUES.astype(np.float32)
ALAW_FLOATS: Final[Float32] = ALAW_VALUES.astype(np.float32)

_MULAW_TO_ALAW: Final = ALAW_CODES[MULAW_VALUES.view(np.uint16)].tobytes()
_ALAW_TO_MULAW: Final = MULAW_CODES[ALAW_VALUES.view(np.uint16)].tobytes()


def mulaw_to_pcm16(data: bytes) -> bytes:
    """Mu-law codes as PCM16 of the same rate."""
    return MULAW_VALUES[np.frombuffer(data, np.uint8)].tobytes()


def alaw_to_pcm16(data: bytes) -> bytes:
    """A-law codes as PCM16 of the same rate."""
    return ALAW_VALUES[np.frombuffer(data, np.uint8)].tobytes()


def pcm16_to_mulaw(pcm: bytes) -> bytes:
    """PCM16 as mu-law codes; half a sample at the end is left out (streams: `PcmCarry`)."""
    return MULAW_CODES[whole_samples(pcm).view(np.uint16)].tobytes()


def pcm16_to_alaw(pcm: bytes) -> bytes:
    """PCM16 as A-law codes; half a sample at the end is left out (streams: `PcmCarry`)."""
    return ALAW_CODES[whole_samples(pcm).view(np.uint16)].tobytes()


def mulaw_to_alaw(data: bytes) -> bytes:
    """Mu-law codes as the nearest A-law codes."""
    return data.translate(_MULAW_TO_ALAW)


def alaw_to_mulaw(data: bytes) -> bytes:
    """A-law codes as the nearest mu-law codes."""
    return data.translate(_ALAW_TO_MULAW)
