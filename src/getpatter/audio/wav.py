"""WAV files: any that people have, read to mono PCM16; recordings, written so that a crash loses nothing.

Layout: <https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html>. Nothing here opens a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from getpatter.audio.g711 import ALAW_VALUES, MULAW_VALUES
from getpatter.audio.pcm import INT16, Float64, saturated, whole_samples

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_FORMAT: Final = struct.Struct("<HHIIHH")
_LARGEST: Final = 0xFFFFFFFF
_MOST_CHANNELS: Final = 64


@dataclass(frozen=True, slots=True)
class WavAudio:
    """The sound of a WAV file."""

    pcm: bytes
    """PCM16, mono."""
    sample_rate: int

    @property
    def lasts_ms(self) -> float:
        """Its length in milliseconds."""
        return len(self.pcm) / 2 / self.sample_rate * 1000


def read_wav(data: bytes) -> WavAudio:
    """Read the bytes of a WAV file: PCM of 8 to 32 bit, float or G.711, any number of channels (averaged).

    A file that was cut short, or streamed with a length nobody knew, is read as far as it goes.

    Raises:
        ValueError: not a WAV file, or an encoding that is not one of those.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a WAV file: it does not begin with RIFF....WAVE")
    layout: _Layout | None = None
    for name, body in _chunks(data):
        if name == b"fmt ":
            layout = _Layout.parse(body)
        elif name == b"data":
            if layout is None:
                raise ValueError("broken WAV file: its sound comes before its format")
            return WavAudio(_mono(layout, body), layout.sample_rate)
    raise ValueError("broken WAV file: it has no sound (no 'data' chunk)")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data" and size == 0:
            size = len(data)  # a writer that died, or streamed, before it knew the length
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


@dataclass(frozen=True, slots=True)
class _Layout:
    encoding: int
    channels: int
    sample_rate: int
    bits: int

    @classmethod
    def parse(cls, body: bytes) -> _Layout:
        if len(body) < _FORMAT.size:
            raise ValueError("broken WAV file: its format is cut short")
        encoding, channels, rate, _, _, bits = _FORMAT.unpack_from(body)
        if encoding == _EXTENSIBLE and len(body) >= 26:  # noqa: PLR2004 - where the real one stands
            encoding = int.from_bytes(body[24:26], "little")
        if not 1 <= channels <= _MOST_CHANNELS or rate == 0:
            raise ValueError(f"broken WAV file: {channels} channels at {rate} Hz")
        if (encoding, bits) not in _READERS:
            raise ValueError(
                f"WAV encoding {encoding} with {bits} bit cannot be read: "
                "save it as PCM (8, 16, 24 or 32 bit), float, A-law or mu-law"
            )
        return cls(encoding, channels, rate, bits)


def _mono(layout: _Layout, body: bytes) -> bytes:
    frame = layout.channels * layout.bits // 8
    body = body[: len(body) // frame * frame]
    if (layout.encoding, layout.bits, layout.channels) == (_PCM, 16, 1):
        return bytes(body)
    samples = _READERS[layout.encoding, layout.bits](body)
    mixed = samples.reshape(-1, layout.channels).mean(axis=1)
    return saturated(np.nan_to_num(mixed).astype(np.float32)).tobytes()


def _pcm8(body: bytes) -> Float64:
    return (np.frombuffer(body, np.uint8).astype(np.float64) - 128) * 256


def _pcm16(body: bytes) -> Float64:
    return np.frombuffer(body, INT16).astype(np.float64)


def _pcm24(body: bytes) -> Float64:
    parts = np.frombuffer(body, np.uint8).reshape(-1, 3)
    wide = np.zeros((len(parts), 4), np.uint8)
    wide[:, 1:] = parts
    return wide.view("<i4")[:, 0] / 65536


def _pcm32(body: bytes) -> Float64:
    return np.frombuffer(body, "<i4") / 65536


def _float32(body: bytes) -> Float64:
    return np.frombuffer(body, "<f4").astype(np.float64) * 32768


def _float64(body: bytes) -> Float64:
    return np.frombuffer(body, "<f8") * 32768


def _alaw(body: bytes) -> Float64:
    return ALAW_VALUES[np.frombuffer(body, np.uint8)].astype(np.float64)


def _mulaw(body: bytes) -> Float64:
    return MULAW_VALUES[np.frombuffer(body, np.uint8)].astype(np.float64)


_READERS: Final = {
    (_PCM, 8): _pcm8,
    (_PCM, 16): _pcm16,
    (_PCM, 24): _pcm24,
    (_PCM, 32): _pcm32,
    (_FLOAT, 32): _float32,
    (_FLOAT, 64): _float64,
    (_ALAW, 8): _alaw,
    (_MULAW, 8): _mulaw,
}


def wav_header(n_bytes: int, sample_rate: int, channels: int = 1) -> bytes:
    """The 44 bytes before `n_bytes` of PCM16. Sizes beyond 4 GB stay at the format's limit."""
    frame = 2 * channels
    return _HEADER.pack(
        b"RIFF",
        min(n_bytes + _HEADER.size - 8, _LARGEST),
        b"WAVE",
        b"fmt ",
        _FORMAT.size,
        _PCM,
        channels,
        sample_rate,
        sample_rate * frame,
        frame,
        16,
        b"data",
        min(n_bytes, _LARGEST),
    )


def wav_bytes(pcm: bytes, sample_rate: int, channels: int = 1) -> bytes:
    """A whole WAV file of PCM16."""
    return wav_header(len(pcm), sample_rate, channels) + pcm


def interleaved(left: bytes, right: bytes) -> bytes:
    """Two mono PCM16 pieces as stereo; the shorter one is followed by silence."""
    one, two = whole_samples(left), whole_samples(right)
    both = np.zeros((max(one.size, two.size), 2), INT16)
    both[: one.size, 0] = one
    both[: two.size, 1] = two
    return both.tobytes()


class WavWriter:
    """Writes PCM16 to an open, seekable binary file, whose header is right again after every second.

    A process that is killed loses at most what came after: every reader stops at the length in the
    header, and `read_wav` gets the rest too when the length is still zero. The file stays the caller's:
    `finish` completes the header, and does not close it. All calls block on the disk.
    """

    __slots__ = ("_file", "_in_header", "_start", "channels", "sample_rate", "written")

    def __init__(self, file: BinaryIO, sample_rate: int, channels: int = 2) -> None:
        """Begin the file, at its current position, with the header of an empty recording."""
        self.sample_rate = sample_rate
        self.channels = channels
        self.written = 0
        """Bytes of sound so far."""
        self._file = file
        self._in_header = 0
        self._start = file.tell()
        file.write(wav_header(0, sample_rate, channels))
        file.flush()

    def write(self, pcm: bytes) -> None:
        """Append interleaved samples: for stereo, one of the left and one of the right by turns."""
        self._file.write(pcm)
        self.written += len(pcm)
        if self.written - self._in_header >= self.sample_rate * self.channels * 2:
            self.sync()

    def write_stereo(self, left: bytes, right: bytes) -> None:
        """Append two mono pieces, side by side; the shorter is followed by silence."""
        self.write(interleaved(left, right))

    def sync(self) -> None:
        """Make the header tell the length so far, and hand everything to the operating system."""
        self._file.seek(self._start)
        self._file.write(wav_header(self.written, self.sample_rate, self.channels))
        self._file.seek(self._start + _HEADER.size + self.written)
        self._file.flush()
        self._in_header = self.written

    def finish(self) -> None:
        """The last `sync`; writing on afterwards is allowed."""
        self.sync()
