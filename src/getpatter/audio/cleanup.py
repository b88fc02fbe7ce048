"""What is done to the caller's sound before anybody hears it: rumble, echo, and how loud it is (CV-4).

Each stage is one caller's, takes every stretch of the sound in order, of any length, and gives back as much: samples
as `float32` on the scale of 16 bit. No stage loops over samples.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from getpatter.audio.pcm import Float32, Float64

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOTHING: Final[Float32] = np.zeros(0, np.float32)


# ------------------------------------------------------------------------------------------ high pass

_BLOCK: Final = 160


class _Block(NamedTuple):
    """A recursive filter over `n` samples at once: `y = x @ taps + state @ seen`, and the state afterwards."""

    taps: Float32
    seen: Float32
    kept: Float32
    carried: Float32


class HighPass:
    """A Butterworth filter of 4th order: -3 dB at the corner, -24 dB an octave below it.

    Recursive, and so without delay. What the recursion does to a block of samples is a matrix.
    """

    def __init__(self, corner_hz: float, sample_rate: int) -> None:
        """Let through what is above `corner_hz`.

        Raises:
            ValueError: the corner is not below half of the sample rate.
        """
        if not 0 < corner_hz < sample_rate / 2:
            raise ValueError(f"high_pass_hz is {corner_hz:g}; it must be below {sample_rate / 2:g}")
        self._corner = float(corner_hz)
        self._rate = sample_rate
        self._state = np.zeros(4, np.float32)

    def process(self, sound: Float32) -> Float32:
        """The same stretch, without what is below the corner."""
        out = np.empty_like(sound)
        for at in range(0, sound.size, _BLOCK):
            piece = sound[at : at + _BLOCK]
            block = _blocks(self._corner, self._rate, piece.size)
            out[at : at + piece.size] = piece @ block.taps + self._state @ block.seen
            self._state = piece @ block.kept + self._state @ block.carried
        return out


@lru_cache(maxsize=64)
def _blocks(corner_hz: float, rate: int, n: int) -> _Block:
    """The matrices for `n` samples, found by running the filter on each unit vector."""
    probes = np.vstack((np.eye(n), np.zeros((4, n))))
    state = np.vstack((np.zeros((n, 4)), np.eye(4)))
    out, state = _run(_sections(corner_hz, rate), probes, state)
    return _Block(
        np.asarray(out[:n], np.float32),
        np.asarray(out[n:], np.float32),
        np.asarray(state[:n], np.float32),
        np.asarray(state[n:], np.float32),
    )


def _sections(corner_hz: float, rate: int) -> list[tuple[float, float, float, float, float]]:
    """Two second-order sections by the bilinear transform, `b0 b1 b2 a1 a2`."""
    w = 2 * math.pi * corner_hz / rate
    sections: list[tuple[float, float, float, float, float]] = []
    for k in range(2):
        alpha = math.sin(w) * math.cos(math.pi * (2 * k + 1) / 8)  # sin(w) / 2Q
        a0, b = 1 + alpha, (1 + math.cos(w)) / 2
        sections.append((b / a0, -2 * b / a0, b / a0, -2 * math.cos(w) / a0, (1 - alpha) / a0))
    return sections


def _run(
    sections: list[tuple[float, float, float, float, float]], sound: Float64, state: Float64
) -> tuple[Float64, Float64]:
    """Each row through the sections (transposed direct form II), from its own state."""
    sound, state = sound.copy(), state.copy()
    for index, (b0, b1, b2, a1, a2) in enumerate(sections):
        s1, s2 = state[:, 2 * index], state[:, 2 * index + 1]
        for at in range(sound.shape[1]):
            x = sound[:, at]
            y = b0 * x + s1
            s1, s2 = b1 * x - a1 * y + s2, b2 * x - a2 * y
            sound[:, at] = y
        state[:, 2 * index], state[:, 2 * index + 1] = s1, s2
    return sound, state


# ----------------------------------------------------------------------------------------------- gain

_STEP_S: Final = 0.01
_FLOOR_DB: Final = -60.0
_ABOVE_NOISE_DB: Final = 8.0
_MOST_DOWN_DB: Final = 30.0


class Gain:
    """Brings speech to one level. In pauses the gain stays what it was, so that noise is not lifted.

    The level is that of the loudest stretches of speech; the gain moves in steps of 10 ms, without clicks.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        target_dbfs: float = -20.0,
        max_gain_db: float = 18.0,
        attack_ms: float = 10.0,
        release_ms: float = 300.0,
    ) -> None:
        """Begin without any gain."""
        self._step = round(sample_rate * _STEP_S)
        self._target = target_dbfs
        self._most = max_gain_db
        self._attack = 1 - math.exp(-_STEP_S * 1000 / attack_ms)
        self._release = 1 - math.exp(-_STEP_S * 1000 / release_ms)
        self._level: float | None = None
        self._noise = _FLOOR_DB
        self._gain = 1.0
        self._towards = 1.0
        self._left = 0
        self._energy = 0.0

    @property
    def gain_db(self) -> float:
        """How much louder it makes the sound now."""
        return 20 * math.log10(self._gain)

    def process(self, sound: Float32) -> Float32:
        """The same stretch at the level that is aimed at."""
        out = np.empty_like(sound)
        at = 0
        while at < sound.size:
            piece = sound[at : at + self._step - self._left]
            ends = self._gain + (self._towards - self._gain) * piece.size / (
                self._step - self._left
            )
            out[at : at + piece.size] = piece * np.linspace(
                self._gain, ends, piece.size, endpoint=False, dtype=np.float32
            )
            self._gain = ends
            self._energy += float(np.dot(piece, piece))
            self._left += piece.size
            at += piece.size
            if self._left == self._step:
                self._measured(self._energy / self._step)
                self._left, self._energy = 0, 0.0
        return out

    def _measured(self, power: float) -> None:
        level = max(-100.0, 10 * math.log10(power / 32768**2 + 1e-12))
        # The quietest of late is the noise; it is forgotten at 3 dB a second.
        self._noise = min(max(level, _FLOOR_DB), self._noise + 3.0 * _STEP_S)
        if level < self._noise + _ABOVE_NOISE_DB or level < _FLOOR_DB + _ABOVE_NOISE_DB:
            return
        if self._level is None:
            self._level = level
        rate = self._attack if level > self._level else self._release
        self._level += rate * (level - self._level)
        gain = min(self._most, max(-_MOST_DOWN_DB, self._target - self._level))
        self._towards = 10 ** (gain / 20)


# ----------------------------------------------------------------------------------------------- echo

_TAIL_S: Final = 0.512
"""The longest way from our sending to the caller's echo that is followed."""
_PARTS_MS: Final = 16
_RATE: Final = 0.9
"""How much of what it sees a part corrects; above 1 it would never settle."""
_RESYNC_S: Final = 0.2
_SMOOTH: Final = 0.9
_BETTER: Final = 0.8
_WORSE: Final = 2.0


class EchoCanceller:
    """Takes our own sound out of the caller's: an adaptive filter in the frequency domain, in parts of 16 ms.

    Two filters run side by side (Ochiai, Araseki and Ogihara, 1977). One follows the echo all the time, and
    forgets what it knew when the caller speaks over it; what it has learned is taken over by the other, which makes
    the output, only where it has left less of the sound for a while. The output is one part (16 ms) late.
    """

    def __init__(self, sample_rate: int) -> None:
        """Know nothing of the echo."""
        self._n = n = sample_rate * _PARTS_MS // 1000
        self._parts = parts = math.ceil(_TAIL_S * 1000 / _PARTS_MS)
        bins = n + 1
        self._ours = np.zeros((parts, bins), np.complex64)
        self._learner = np.zeros((parts, bins), np.complex64)
        self._filter = np.zeros((parts, bins), np.complex64)
        self._last = np.zeros(n, np.float32)
        self._near = _NOTHING
        self._far = _NOTHING
        self._out = np.zeros(n, np.float32)
        self._left_by_filter = 0.0
        self._left_by_learner = 0.0
        self._silent_parts = parts

    def process(self, caller: Float32, ours: Float32) -> Float32:
        """The caller without our sound. `ours`: what we played in the same time; as long as `caller`."""
        self._near = np.concatenate((self._near, caller))
        self._far = np.concatenate((self._far, ours))
        cleaned = [self._out]
        n = self._n
        while self._near.size >= n:
            cleaned.append(self._part(self._near[:n], self._far[:n]))
            self._near, self._far = self._near[n:], self._far[n:]
        sound = np.concatenate(cleaned)
        self._out = sound[caller.size :]
        return sound[: caller.size]

    def _part(self, near: Float32, far: Float32) -> Float32:
        self._silent_parts = 0 if far.any() else self._silent_parts + 1
        if self._silent_parts > self._parts:
            self._last = far
            return near
        fresh = np.fft.rfft(np.concatenate((self._last, far))).astype(np.complex64)
        self._last = far
        self._ours = np.concatenate((fresh[None], self._ours[:-1]))
        by_filter = near - self._echo(self._filter)
        by_learner = near - self._echo(self._learner)
        self._compare(by_filter, by_learner, near)
        self._learn(by_learner)
        return (
            by_filter if float(np.dot(by_filter, by_filter)) <= float(np.dot(near, near)) else near
        )

    def _echo(self, weights: NDArray[np.complex64]) -> Float32:
        heard = np.fft.irfft((weights * self._ours).sum(axis=0), 2 * self._n)
        return heard[self._n :].astype(np.float32)

    def _compare(self, by_filter: Float32, by_learner: Float32, near: Float32) -> None:
        """Take over what was learned, or have it learned again from what is known to be right."""
        filtered, learned = (
            float(np.dot(by_filter, by_filter)),
            float(np.dot(by_learner, by_learner)),
        )
        self._left_by_filter = _SMOOTH * self._left_by_filter + filtered
        self._left_by_learner = _SMOOTH * self._left_by_learner + learned
        untouched = float(np.dot(near, near))
        if self._left_by_learner < _BETTER * self._left_by_filter and learned < untouched:
            self._filter = self._learner.copy()
            self._left_by_filter = self._left_by_learner
        elif self._left_by_learner > _WORSE * self._left_by_filter:
            self._learner = self._filter.copy()
            self._left_by_learner = self._left_by_filter

    def _learn(self, error: Float32) -> None:
        n = self._n
        wrong = np.fft.rfft(np.concatenate((np.zeros(n, np.float32), error)))
        total = np.sum(np.abs(self._ours) ** 2, axis=0)
        step = _RATE * wrong / (total + 0.01 * total.mean() + 1e4)
        gradient = np.fft.irfft(np.conj(self._ours) * step, 2 * n, axis=1)
        gradient[:, n:] = 0.0  # a filter of n samples a part, and nothing that wraps around
        self._learner += np.fft.rfft(gradient, axis=1).astype(np.complex64)


class Played:
    """Our own sound on the caller's time: what was played while they sent theirs.

    The carrier plays one stretch after the other, each at once if nothing is before it. How long the way is from there
    to the caller and back is not known, and is what the echo canceller finds out.
    """

    def __init__(self, sample_rate: int, began_at: float) -> None:
        """Nothing is played. `began_at`: seconds, where sample 0 is."""
        self._rate = sample_rate
        self._began = began_at
        self._line = _NOTHING
        self._base = 0
        """Position of the first sample of `_line`."""
        self._at: int | None = None
        """Position of the caller's next sample."""

    def _position(self, now: float) -> int:
        return round((now - self._began) * self._rate)

    def add(self, sound: Float32, now: float) -> None:
        """It is played now, or after what is being played."""
        gap = self._position(now) - self._base - self._line.size
        if gap > 0 and not self._line.size:
            self._base += gap
            gap = 0
        silence = np.zeros(max(0, gap), np.float32)
        self._line = np.concatenate((self._line, silence, sound))

    def clear(self, now: float) -> None:
        """The rest is not played."""
        self._line = self._line[: max(0, self._position(now) - self._base)]

    def heard_with(self, samples: int, now: float) -> Float32:
        """What was played during the caller's next `samples`, which have just come."""
        began = self._position(now) - samples
        if self._at is None or abs(began - self._at) > _RESYNC_S * self._rate:
            self._at = began  # frames were lost, or it is the first
        first = self._at - self._base
        self._at += samples
        found = np.zeros(samples, np.float32)
        piece = self._line[max(0, first) : max(0, first + samples)]
        offset = max(0, -first)
        found[offset : offset + piece.size] = piece
        drop = min(max(0, first), self._line.size)
        self._line, self._base = self._line[drop:], self._base + drop
        return found
