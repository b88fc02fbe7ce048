"""Samples of any encoding as floats on the scale of 16 bit, and back."""

from __future__ import annotations

import numpy as np

from getpatter.audio import g711
from getpatter.audio.pcm import Float32, saturated, whole_samples
from getpatter.types import Encoding


def floats_of(data: bytes, encoding: Encoding) -> Float32:
    """The samples of `data`, which holds whole ones."""
    match encoding:
        case Encoding.MULAW:
            return g711.MULAW_FLOATS[np.frombuffer(data, np.uint8)]
        case Encoding.ALAW:
            return g711.ALAW_FLOATS[np.frombuffer(data, np.uint8)]
        case Encoding.PCM16:
            return whole_samples(data).astype(np.float32)


def bytes_of(sound: Float32, encoding: Encoding) -> bytes:
    """`sound` rounded and encoded; too loud saturates. Overwrites `sound`."""
    samples = saturated(sound)
    match encoding:
        case Encoding.MULAW:
            return g711.MULAW_CODES[samples.view(np.uint16)].tobytes()
        case Encoding.ALAW:
            return g711.ALAW_CODES[samples.view(np.uint16)].tobytes()
        case Encoding.PCM16:
            return samples.tobytes()
