"""The conversions that need numpy: tables where the rates are equal, decode-resample-encode where not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from getpatter.audio import g711
from getpatter.audio.convert import Converter
from getpatter.audio.pcm import Float32, PcmCarry, saturated, whole_samples
from getpatter.audio.resample import FloatResampler, check_rate
from getpatter.types import AudioFormat, Encoding

_TABLES: dict[tuple[Encoding, Encoding], Callable[[bytes], bytes]] = {
    (Encoding.MULAW, Encoding.ALAW): g711.mulaw_to_alaw,
    (Encoding.ALAW, Encoding.MULAW): g711.alaw_to_mulaw,
    (Encoding.MULAW, Encoding.PCM16): g711.mulaw_to_pcm16,
    (Encoding.ALAW, Encoding.PCM16): g711.alaw_to_pcm16,
    (Encoding.PCM16, Encoding.MULAW): g711.pcm16_to_mulaw,
    (Encoding.PCM16, Encoding.ALAW): g711.pcm16_to_alaw,
}


def between(src: AudioFormat, dst: AudioFormat) -> Converter:
    """A new converter between two different formats."""
    check_rate(src.sample_rate)
    check_rate(dst.sample_rate)
    if src.sample_rate == dst.sample_rate:
        return _Recoding(src, dst)
    return _Resampling(src, dst)


class _Recoding:
    """Another encoding at the same rate: sample by sample, so only half a sample is ever held back."""

    __slots__ = ("_carry", "_table")

    def __init__(self, src: AudioFormat, dst: AudioFormat) -> None:
        self._carry = PcmCarry(src.bytes_per_sample)
        self._table = _TABLES[src.encoding, dst.encoding]

    def convert(self, data: bytes) -> bytes:
        return self._table(self._carry.push(data))

    def flush(self) -> bytes:
        self._carry.reset()
        return b""


class _Resampling:
    """Another rate: decoded to floats once, and rounded once, at the end."""

    __slots__ = ("_carry", "_decode", "_encode", "_resampler")

    def __init__(self, src: AudioFormat, dst: AudioFormat) -> None:
        self._carry = PcmCarry(src.bytes_per_sample)
        self._decode = _DECODERS[src.encoding]
        self._resampler = FloatResampler(src.sample_rate, dst.sample_rate)
        self._encode = _ENCODERS[dst.encoding]

    def convert(self, data: bytes) -> bytes:
        return self._encode(self._resampler.feed(self._decode(self._carry.push(data))))

    def flush(self) -> bytes:
        self._carry.reset()
        return self._encode(self._resampler.flush())


def _floats_of_mulaw(data: bytes) -> Float32:
    return g711.MULAW_FLOATS[np.frombuffer(data, np.uint8)]


def _floats_of_alaw(data: bytes) -> Float32:
    return g711.ALAW_FLOATS[np.frombuffer(data, np.uint8)]


def _floats_of_pcm16(data: bytes) -> Float32:
    return whole_samples(data).astype(np.float32)


def _mulaw_of_floats(samples: Float32) -> bytes:
    return g711.MULAW_CODES[saturated(samples).view(np.uint16)].tobytes()


def _alaw_of_floats(samples: Float32) -> bytes:
    return g711.ALAW_CODES[saturated(samples).view(np.uint16)].tobytes()


def _pcm16_of_floats(samples: Float32) -> bytes:
    return saturated(samples).tobytes()


_DECODERS: dict[Encoding, Callable[[bytes], Float32]] = {
    Encoding.MULAW: _floats_of_mulaw,
    Encoding.ALAW: _floats_of_alaw,
    Encoding.PCM16: _floats_of_pcm16,
}
_ENCODERS: dict[Encoding, Callable[[Float32], bytes]] = {
    Encoding.MULAW: _mulaw_of_floats,
    Encoding.ALAW: _alaw_of_floats,
    Encoding.PCM16: _pcm16_of_floats,
}
