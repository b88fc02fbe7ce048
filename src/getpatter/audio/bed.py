"""The sound behind a voice, in one call: where it stands, what is chosen next, and how it is mixed in."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from zlib import crc32

import numpy as np

from getpatter.audio.pcm import Float32
from getpatter.audio.samples import bytes_of, floats_of
from getpatter.types import AudioFormat

Sounds = Callable[[int], Sequence[Float32]]
"""All sounds there are, as samples at a rate (-32768 to 32767), in the order of their weights."""


class BackgroundBed:
    """One call's background, in the format of its stream. Give it every stretch of the stream in order.

    Which of several sounds is played follows from `seed` alone.
    """

    def __init__(
        self,
        sounds: Sounds,
        stream: AudioFormat,
        *,
        weights: Sequence[float] = (1.0,),
        volume: float = 0.1,
        is_looped: bool = False,
        seed: int = 0,
    ) -> None:
        """Stand at the beginning."""
        self._sounds = sounds
        self._format = stream
        self._weights = tuple(weights)
        self._volume = volume
        self._is_looped = is_looped
        self._seed = seed
        self._at = 0
        self._choices = 0
        self._sound = self._choose()
        self._is_over = not self._sound.size

    def _choose(self) -> Float32:
        edges = [*accumulate(self._weights)]
        lot = crc32(f"{self._seed}:{self._choices}".encode()) / 2**32 * edges[-1]
        self._choices += 1
        chosen = min(bisect(edges, lot), len(edges) - 1)
        return self._sounds(self._format.sample_rate)[chosen]

    def in_format(self, stream: AudioFormat) -> BackgroundBed:
        """The same sound from the same place, for another stream."""
        other = BackgroundBed(
            self._sounds,
            stream,
            weights=self._weights,
            volume=self._volume,
            is_looped=self._is_looped,
            seed=self._seed,
        )
        other._choices = self._choices - 1
        other._sound = other._choose()
        other._at = round(self._at * stream.sample_rate / self._format.sample_rate)
        other._is_over = self._is_over
        return other

    def _next(self, samples: int) -> Float32:
        """The next stretch; shorter only at the end of what is heard once."""
        pieces: list[Float32] = []
        while samples and not self._is_over:
            piece = self._sound[self._at : self._at + samples]
            self._at += piece.size
            samples -= piece.size
            pieces.append(piece)
            if self._at >= self._sound.size:
                self._at = 0
                if self._is_looped:
                    self._sound = self._choose() if len(self._weights) > 1 else self._sound
                else:
                    self._is_over = True
        if not pieces:
            return np.zeros(0, np.float32)
        return np.concatenate(pieces) * np.float32(self._volume)

    def alone(self, size: int) -> bytes:
        """The next `size` bytes of the background on its own; empty when it is over."""
        wanted = size // self._format.bytes_per_sample
        sound = self._next(wanted)
        if not sound.size:
            return b""
        return bytes_of(
            np.concatenate((sound, np.zeros(wanted - sound.size, np.float32))),
            self._format.encoding,
        )

    def under(self, voice: bytes) -> bytes:
        """`voice` with the next stretch of the background added; too loud saturates."""
        if self._is_over:
            return voice
        sound = floats_of(voice, self._format.encoding)
        under = self._next(sound.size)
        sound[: under.size] += under
        return bytes_of(sound, self._format.encoding)
