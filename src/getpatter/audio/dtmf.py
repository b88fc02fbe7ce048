"""Keypad tones: sixteen pairs of one low and one high frequency (ITU-T Q.23, detection after Q.24).

`tones` makes them for carriers that have no command for it and for simulated callers; `DtmfDetector`
hears them in a PCM16 stream. A key counts once, however long it is held; the same key counts again
after a break.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from getpatter.audio.pcm import Float32, PcmCarry, saturated, whole_samples

_LOW: Final = (697, 770, 852, 941)
_HIGH: Final = (1209, 1336, 1477, 1633)
_KEYS: Final = "123A456B789C*0#D"
_PAUSE: Final = "wW,"
DIGITS: Final = frozenset(_KEYS)
"""The keys there are."""

_LEVEL: Final = 10 ** (-10 / 20) * 32768
"""Peak of each of the two tones, -10 dBFS."""
_EDGE_MS: Final = 2.0
"""Fade at both ends, so that a tone does not begin or end with a click."""
_PAUSE_MS: Final = 500.0


def tones(
    digits: str, sample_rate: int = 8000, *, on_ms: float = 100.0, gap_ms: float = 100.0
) -> bytes:
    """PCM16 of the keys in `digits`, each followed by a gap; `w` or `,` is half a second of silence.

    Raises:
        ValueError: a character that is neither a key (`0-9 A-D * #`) nor a pause.
    """
    gap = bytes(2 * round(sample_rate * gap_ms / 1000))
    pieces: list[bytes] = []
    for digit in digits.upper():
        if digit in _PAUSE:
            pieces.append(bytes(2 * round(sample_rate * _PAUSE_MS / 1000)))
        elif digit in DIGITS:
            pieces.append(_tone(digit, sample_rate, on_ms) + gap)
        else:
            raise ValueError(f"{digit!r} is not a key of a phone: use 0-9, A-D, *, # or w")
    return b"".join(pieces)


def _tone(digit: str, sample_rate: int, on_ms: float) -> bytes:
    row, column = divmod(_KEYS.index(digit), 4)
    n = round(sample_rate * on_ms / 1000)
    turn = 2 * np.pi * np.arange(n) / sample_rate
    edge = max(1, round(sample_rate * _EDGE_MS / 1000))
    ramp = np.minimum(np.arange(n), np.arange(n)[::-1]) / edge
    sound = np.sin(_LOW[row] * turn) + np.sin(_HIGH[column] * turn)
    return saturated((_LEVEL * np.minimum(ramp, 1) * sound).astype(np.float32)).tobytes()


class DtmfDetector:
    """Hears keys in one PCM16 stream, given in chunks of any size.

    A key must last about 40 ms, be louder than -36 dBFS and hold most of the sound's energy, which speech
    hardly ever does for that long.
    """

    __slots__ = ("_block", "_carry", "_last", "_probe", "_reported", "_samples", "_step")

    _BLOCK_MS: Final = 25.6
    _LOUD_ENOUGH: Final = 0.016 * 32768
    _SHARE: Final = 0.7
    """Part of the block's energy that the two tones must hold."""
    _TWIST: Final = 10 ** (9 / 20)
    """One tone may be this much louder than the other (Q.24 asks for 4 to 8 dB)."""

    def __init__(self, sample_rate: int = 8000) -> None:
        """Listen at `sample_rate` hertz."""
        self._block = round(sample_rate * self._BLOCK_MS / 1000)
        self._step = self._block // 2
        turn = 2 * np.pi * np.outer(np.arange(self._block), (*_LOW, *_HIGH)) / sample_rate
        self._probe = np.concatenate((np.cos(turn), np.sin(turn)), axis=1).astype(np.float32)
        self._probe *= 2 / self._block
        self._carry = PcmCarry()
        self._samples: Float32 = np.zeros(0, np.float32)
        self._last = ""
        self._reported = ""

    def push(self, pcm: bytes) -> str:
        """The keys that became certain with this chunk, in order; usually none."""
        chunk = whole_samples(self._carry.push(pcm)).astype(np.float32)
        line = np.concatenate((self._samples, chunk))
        heard = ""
        start = 0
        while start + self._block <= line.size:
            heard += self._next(self._key(line[start : start + self._block]))
            start += self._step
        self._samples = line[start:]
        return heard

    def _next(self, key: str) -> str:
        """Two blocks in a row make a key; two without it end it."""
        steady = key == self._last
        self._last = key
        if not steady or key == self._reported:
            return ""
        self._reported = key
        return key

    def _key(self, block: Float32) -> str:
        found = block @ self._probe
        level = np.hypot(found[:8], found[8:])
        row, column = int(level[:4].argmax()), int(level[4:].argmax())
        low, high = float(level[row]), float(level[4 + column])
        quieter, louder = sorted((low, high))
        if quieter < self._LOUD_ENOUGH or louder > quieter * self._TWIST:
            return ""
        energy = 2 * float(np.dot(block, block)) / self._block
        if low * low + high * high < self._SHARE * energy:
            return ""
        return _KEYS[4 * row + column]
