"""Changes the sample rate of a stream, in pieces of any size, without clicks, images or aliases.

Going up by `up` and down by `down` (16 to 24 kHz: 3 and 2), output `k` is a weighted sum of the last
`taps` inputs before `k * down / up`; the weights are a windowed sinc, shifted by the fraction. They repeat
after `up` outputs. So a *group* of neighbouring outputs is one window of inputs times one small matrix,
and a whole chunk is one matrix product:

```
inputs    ... x x x x x x x x x x x x x x x x x x x
group 0       [------ window ------]                  x matrix 0 = 16 outputs
group 1               [------ window ------]          x matrix 1 = 16 outputs
```

With `up` up to 16 there is a single matrix; ratios such as 44.1 to 16 kHz have one for each group until
they repeat. Every output is sent as soon as its last input is there; a group that is not complete yet is
computed again with the next chunk, and only its new outputs are used.

The delay is half the filter: 20 samples of the lower rate, 2.5 ms when that is 8 kHz. The stop band
(everything from the lower Nyquist frequency on) is at least 50 dB down; the pass band is flat to
0.41 of the lower rate (3.3 kHz at 8 kHz).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, gcd
from typing import Final

import numpy as np

from getpatter.audio.pcm import Float32, Float64, PcmCarry, saturated, whole_samples

_SPAN: Final = 40
"""Length of the filter in samples of the lower rate; twice the delay."""
_STOP_DB: Final = 55.0
"""Design value of the window; measured attenuation is the test's business."""
_GROUP: Final = 16
"""Outputs of one matrix, about. More waste zeros, fewer waste calls."""
_MOST_WORK: Final = 200_000
"""Multiplications in one matrix product. From 262 144 on OpenBLAS wakes its threads, which then spin."""
_SLOWEST, _FASTEST = 4_000, 384_000
_NOTHING: Final[Float32] = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The matrices of one pair of rates; shared by all streams of the process."""

    up: int
    down: int
    taps: int
    """Inputs that one output is made of."""
    group: int
    """Outputs of one matrix."""
    starts: tuple[int, ...]
    """First input of each group's window, counted from the first group's."""
    width: int
    """Inputs of each window."""
    matrices: Float32
    """Shape `(groups, width, group)`."""

    @property
    def block_in(self) -> int:
        """Inputs after which the matrices repeat."""
        return self.block_out * self.down // self.up

    @property
    def block_out(self) -> int:
        """Outputs after which the matrices repeat."""
        return len(self.starts) * self.group


def _prototype(up: int, taps: int, down: int) -> Float32:
    """A low-pass at `up` times the source rate, cut so that it has stopped at the lower Nyquist."""
    n = up * taps
    # Kaiser's formulas; frequencies in cycles per sample of the raised rate.
    transition = (_STOP_DB - 7.95) / (14.36 * n)
    cut = 0.5 / max(up, down) - transition / 2
    beta = 0.1102 * (_STOP_DB - 8.7)
    at = np.arange(n) - (n - 1) / 2
    by_phase: Float64 = (np.sinc(2 * cut * at) * np.kaiser(n, beta)).reshape(taps, up)
    # Each phase passes silence and constants exactly: no hum from the image of zero frequency.
    exact: Float64 = by_phase / by_phase.sum(axis=0)
    return exact.astype(np.float32)


def _group_size(up: int) -> tuple[int, int]:
    """Outputs of one group, and the number of groups until the weights repeat."""
    if up <= _GROUP:
        return up * max(1, _GROUP // up), 1
    size = min((d for d in range(1, up + 1) if up % d == 0), key=lambda d: abs(d - _GROUP))
    return size, up // size


@lru_cache(maxsize=64)
def _kernel(src_rate: int, dst_rate: int) -> _Kernel:
    common = gcd(src_rate, dst_rate)
    up, down = dst_rate // common, src_rate // common
    taps = ceil(_SPAN * max(1.0, src_rate / dst_rate))
    by_phase = _prototype(up, taps, down)
    group, groups = _group_size(up)
    starts = tuple(floor(g * group * down / up) for g in range(groups))
    width = taps + max(
        (g * group + group - 1) * down // up - start for g, start in enumerate(starts)
    )
    matrices = np.zeros((groups, width, group), np.float32)
    for g, start in enumerate(starts):
        for column in range(group):
            position, phase = divmod((g * group + column) * down, up)
            first = position - start
            matrices[g, first : first + taps, column] = by_phase[::-1, phase]
    matrices.setflags(write=False)
    return _Kernel(up, down, taps, group, starts, width, matrices)


class FloatResampler:
    """The resampler itself, on `float32` samples; `StatefulResampler` is the same for bytes."""

    __slots__ = ("_kernel", "_sent", "_tail")

    def __init__(self, src_rate: int, dst_rate: int) -> None:
        """Prepare for two different rates in hertz."""
        self._kernel = _kernel(src_rate, dst_rate)
        self._tail: Float32 = np.zeros(self._kernel.taps - 1, np.float32)
        self._sent = 0

    @property
    def delay(self) -> float:
        """By how many input samples the output is behind."""
        return (self._kernel.up * self._kernel.taps - 1) / (2 * self._kernel.up)

    def feed(self, samples: Float32) -> Float32:
        """All outputs that `samples` complete. The array is the caller's to change."""
        kernel = self._kernel
        kept = self._tail.size
        end = kept + samples.size
        ready = -(-(end - kernel.taps + 1) * kernel.up // kernel.down)
        groups = -(-ready // kernel.group)
        last_block, last = divmod(max(groups - 1, 0), len(kernel.starts))
        needed = last_block * kernel.block_in + kernel.starts[last] + kernel.width
        line = np.empty(max(end, needed), np.float32)
        line[:kept] = self._tail
        line[kept:end] = samples
        line[end:] = 0
        whole_blocks = ready // kernel.block_out
        self._tail = line[whole_blocks * kernel.block_in : end].copy()
        fresh = slice(self._sent, ready)
        self._sent = ready - whole_blocks * kernel.block_out
        if len(kernel.starts) == 1:
            return _one_product(kernel, line, groups)[fresh]
        return _product_per_block(kernel, line, fresh)

    def flush(self) -> Float32:
        """What the delay still holds back; afterwards it is as new."""
        rest = self.feed(np.zeros(ceil(self.delay), np.float32))
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget all that was heard."""
        self._tail = np.zeros(self._kernel.taps - 1, np.float32)
        self._sent = 0


def _one_product(kernel: _Kernel, line: Float32, groups: int) -> Float32:
    # The overlapping windows without a copy; `as_strided` does the same in ten times the time.
    windows: Float32 = np.ndarray(
        (groups, kernel.width), np.float32, line.data, 0, (4 * kernel.block_in, 4)
    )
    matrix = kernel.matrices[0]
    most = max(1, _MOST_WORK // matrix.size)
    if groups <= most:
        product: Float32 = np.dot(windows, matrix)
        return product.ravel()
    product = np.empty((groups, kernel.group), np.float32)
    for at in range(0, groups, most):
        np.dot(windows[at : at + most], matrix, out=product[at : at + most])
    return product.ravel()


def _product_per_block(kernel: _Kernel, line: Float32, fresh: slice[int, int, None]) -> Float32:
    """As `_one_product` for several matrices, skipping groups that hold nothing new."""
    group, per_block = kernel.group, len(kernel.starts)
    first = fresh.start // group
    end = -(-fresh.stop // group)
    windows: Float32 = np.ndarray(
        (line.size - kernel.width + 1, kernel.width), np.float32, line.data, 0, (4, 4)
    )
    pieces: list[Float32] = []
    while first < end:
        block, begin = divmod(first, per_block)
        stop = min(per_block, begin + end - first)
        rows = np.add(kernel.starts[begin:stop], block * kernel.block_in)
        product = np.matmul(windows[rows][:, None, :], kernel.matrices[begin:stop])
        pieces.append(product.ravel())
        first += stop - begin
    if not pieces:
        return _NOTHING
    skip = fresh.start - fresh.start // group * group
    return np.concatenate(pieces)[skip : skip + fresh.stop - fresh.start]


def check_rate(rate: int) -> None:
    """Refuse what cannot be a sample rate.

    Raises:
        ValueError: outside 4 kHz to 384 kHz.
    """
    if not _SLOWEST <= rate <= _FASTEST:
        raise ValueError(f"a sample rate is {_SLOWEST} to {_FASTEST} Hz, not {rate}")


class StatefulResampler:
    """Resamples one PCM16 stream; give it every chunk in order, of any size, odd ones too.

    ```python
    up = StatefulResampler(8000, 16000)
    louder = [up.process(chunk) for chunk in chunks] + [up.flush()]
    ```

    The output follows the input by 20 samples of the lower rate (2.5 ms at 8 kHz). Each call returns all
    that can be computed, so 20 ms in are 20 ms out.
    """

    __slots__ = ("_carry", "_floats", "dst_rate", "src_rate")

    def __init__(self, src_rate: int, dst_rate: int) -> None:
        """Resample from `src_rate` to `dst_rate`, in hertz.

        Raises:
            ValueError: a rate outside 4 kHz to 384 kHz.
        """
        check_rate(src_rate)
        check_rate(dst_rate)
        self.src_rate = src_rate
        self.dst_rate = dst_rate
        self._carry = PcmCarry()
        self._floats = FloatResampler(src_rate, dst_rate) if src_rate != dst_rate else None

    @property
    def delay_ms(self) -> float:
        """By how much the output is behind the input."""
        return 1000 * self._floats.delay / self.src_rate if self._floats else 0.0

    def process(self, pcm: bytes) -> bytes:
        """The next chunk at the new rate; half a sample at its end waits for the next call."""
        pcm = self._carry.push(pcm)
        if self._floats is None:
            return pcm
        return saturated(self._floats.feed(whole_samples(pcm).astype(np.float32))).tobytes()

    def flush(self) -> bytes:
        """The rest, at the end of a stream. Afterwards it is as new."""
        self._carry.reset()
        return saturated(self._floats.flush()).tobytes() if self._floats else b""

    def reset(self) -> None:
        """Forget all that was heard, as after a `clear`."""
        self._carry.reset()
        if self._floats:
            self._floats.reset()


def resampled(pcm: bytes, src_rate: int, dst_rate: int) -> bytes:
    """A whole recording at a new rate: as long as before, and nothing delayed.

    For a stream that arrives in pieces use `StatefulResampler`: this treats both ends of `pcm` as silence.

    Raises:
        ValueError: a rate outside 4 kHz to 384 kHz.
    """
    check_rate(src_rate)
    check_rate(dst_rate)
    samples = whole_samples(pcm)
    if src_rate == dst_rate:
        return samples.tobytes()
    resampler = FloatResampler(src_rate, dst_rate)
    delay = round(resampler.delay * dst_rate / src_rate)
    sound = np.concatenate((resampler.feed(samples.astype(np.float32)), resampler.flush()))
    length = -(-samples.size * dst_rate // src_rate)
    return saturated(sound[delay : delay + length]).tobytes()


def resample_8k_to_16k(pcm: bytes) -> bytes:
    """A whole PCM16 recording from 8 kHz to 16 kHz (streams: `StatefulResampler`)."""
    return resampled(pcm, 8000, 16000)


def resample_16k_to_8k(pcm: bytes) -> bytes:
    """A whole PCM16 recording from 16 kHz to 8 kHz (streams: `StatefulResampler`)."""
    return resampled(pcm, 16000, 8000)


def resample_24k_to_16k(pcm: bytes) -> bytes:
    """A whole PCM16 recording from 24 kHz to 16 kHz (streams: `StatefulResampler`)."""
    return resampled(pcm, 24000, 16000)
