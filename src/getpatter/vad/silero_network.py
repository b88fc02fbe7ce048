"""The 8 kHz network of Silero VAD 6.2, in numpy: 32 ms of sound in, the probability of speech out.

Model: <https://github.com/snakers4/silero-vad> (MIT; the notice stands beside the weights). numpy instead
of an inference engine saves 68 MB and runs many calls in one pass, which is where the speed is: one row
of every matrix below is one call.

```
32 samples before | 256 samples | 32 mirrored
    -> 4 windows of 128, Fourier basis -> magnitudes (4 x 65)
    -> convolutions 65 -> 128 -> 64 -> 64 -> 128, steps 1, 2, 2, 1, each with rectifier
    -> LSTM cell of 128 -> rectifier -> weighted sum -> sigmoid
```

Every convolution is written as one matrix product over the taps laid side by side. The gates of the
LSTM that need a sigmoid are computed as `tanh(x / 2) / 2 + 1 / 2`: one `tanh` for all four.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np

from getpatter.audio.pcm import Float32, whole_samples
from getpatter.vad.blas import one_thread

SAMPLE_RATE: Final = 8000
FRAME: Final = 256
"""Samples of one step, 32 ms."""
FRAME_MS: Final = 32
CONTEXT: Final = 32
"""Samples of the step before that the network sees again."""
UNITS: Final = 128
"""Size of each of the two state vectors of the LSTM."""

_WINDOW: Final = 128
_HOP: Final = 64
_BINS: Final = 65
_LINE: Final = CONTEXT + FRAME + CONTEXT
_ROWS: Final = 64
"""Calls in one pass: more of them no longer fit the cache (benchmarks/vad.py)."""
_WEIGHTS: Final = "silero_vad_6.2_8k_f16.npz"


@dataclass(frozen=True, slots=True)
class _Weights:
    fourier: Float32
    convolutions: tuple[tuple[Float32, Float32], ...]
    """Matrix and bias of each of the four."""
    gates: Float32
    gates_bias: Float32
    out: Float32
    out_bias: float


@cache
def _weights() -> _Weights:
    """The weights, read once per process (0.9 MB in memory)."""
    path = files("getpatter.vad").joinpath("data", _WEIGHTS)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays: dict[str, Float32] = {name: stored[name].astype(np.float32) for name in stored}
    # Of three taps only those that can meet something else than padding are kept.
    taps = ((0, 1, 2), (0, 1, 2), (1, 2), (1,))
    halved = np.full(4 * UNITS, 0.5, np.float32)
    halved[2 * UNITS : 3 * UNITS] = 1
    gates = np.concatenate((arrays["decoder.rnn.weight_ih"], arrays["decoder.rnn.weight_hh"]), 1)
    bias = arrays["decoder.rnn.bias_ih"] + arrays["decoder.rnn.bias_hh"]
    return _Weights(
        fourier=np.ascontiguousarray(arrays["stft.forward_basis_buffer"][:, 0, :].T),
        convolutions=tuple(
            (
                np.concatenate(
                    [arrays[f"encoder.{i}.reparam_conv.weight"][:, :, tap].T for tap in kept]
                ),
                arrays[f"encoder.{i}.reparam_conv.bias"],
            )
            for i, kept in enumerate(taps)
        ),
        gates=np.ascontiguousarray(gates.T) * halved,
        gates_bias=bias * halved,
        out=arrays["decoder.decoder.2.weight"].reshape(-1),
        out_bias=float(arrays["decoder.decoder.2.bias"][0]),
    )


class States:
    """What the network remembers of each call, one row a call."""

    __slots__ = ("cell", "context", "hidden")

    def __init__(self, rows: int) -> None:
        """Rows that have heard nothing."""
        self.context: Float32 = np.zeros((rows, CONTEXT), np.float32)
        self.hidden: Float32 = np.zeros((rows, UNITS), np.float32)
        self.cell: Float32 = np.zeros((rows, UNITS), np.float32)

    def clear(self, row: int) -> None:
        """Make `row` new."""
        self.context[row] = 0
        self.hidden[row] = 0
        self.cell[row] = 0

    def grow(self, rows: int) -> None:
        """Add empty rows until there are `rows`."""
        more = States(rows - len(self.cell))
        self.context = np.concatenate((self.context, more.context))
        self.hidden = np.concatenate((self.hidden, more.hidden))
        self.cell = np.concatenate((self.cell, more.cell))


class _Network:
    """The network with scratch space for `_ROWS` calls; used by one thread at a time."""

    __slots__ = ("_first", "_joined", "_line", "_magnitudes", "_weights")

    def __init__(self) -> None:
        """Make the scratch space; the padding in it stays zero for ever."""
        self._weights = _weights()
        self._line: Float32 = np.zeros((_ROWS, _LINE), np.float32)
        self._magnitudes: Float32 = np.zeros((_ROWS, 6, _BINS), np.float32)
        self._first: Float32 = np.zeros((_ROWS, 5, UNITS), np.float32)
        self._joined: Float32 = np.zeros((_ROWS, 2 * UNITS), np.float32)

    def run(self, frames: Float32, states: States, which: list[int]) -> list[float]:
        """As `probabilities`, for at most `_ROWS` calls."""
        n = len(which)
        self._encode(frames, states.context[which], n)
        joined = self._joined[:n]
        joined[:, UNITS:] = states.hidden[which]
        cell = states.cell[which]
        hidden = self._remember(joined, cell)
        states.context[which] = frames[:, FRAME - CONTEXT :]
        states.hidden[which] = hidden
        states.cell[which] = cell
        score = np.dot(np.maximum(hidden, 0), self._weights.out) + self._weights.out_bias
        found: list[float] = (0.5 * np.tanh(0.5 * score) + 0.5).tolist()
        return found

    def _encode(self, frames: Float32, context: Float32, n: int) -> None:
        """Sound to 128 features, into the left half of the LSTM's input."""
        line = self._line[:n]
        line[:, :CONTEXT] = context
        line[:, CONTEXT : CONTEXT + FRAME] = frames
        line[:, -CONTEXT:] = line[:, -CONTEXT - 2 : -2 * CONTEXT - 2 : -1]
        (matrix0, bias0), (matrix1, bias1), (matrix2, bias2), (matrix3, bias3) = (
            self._weights.convolutions
        )
        spectrum = np.dot(
            _windows(self._line, (n, 4, _WINDOW), (_LINE, _HOP, 1)), self._weights.fourier
        )
        np.multiply(spectrum, spectrum, out=spectrum)
        power = spectrum[..., :_BINS] + spectrum[..., _BINS:]
        np.sqrt(power.reshape(n, 4, _BINS), out=self._magnitudes[:n, 1:5])
        hidden = np.dot(
            _windows(self._magnitudes, (n, 4, 3 * _BINS), (6 * _BINS, _BINS, 1)), matrix0
        )
        hidden += bias0
        np.maximum(hidden.reshape(n, 4, UNITS), 0, out=self._first[:n, 1:5])
        hidden = np.dot(
            _windows(self._first, (n, 2, 3 * UNITS), (5 * UNITS, 2 * UNITS, 1)), matrix1
        )
        hidden += bias1
        np.maximum(hidden, 0, out=hidden)
        hidden = np.dot(hidden.reshape(n, -1), matrix2)
        hidden += bias2
        np.maximum(hidden, 0, out=hidden)
        hidden = np.dot(hidden, matrix3)
        hidden += bias3
        np.maximum(hidden, 0, out=self._joined[:n, :UNITS])

    def _remember(self, joined: Float32, cell: Float32) -> Float32:
        """One step of the LSTM: changes `cell`, returns the new hidden state."""
        gates = np.dot(joined, self._weights.gates)
        gates += self._weights.gates_bias
        np.tanh(gates, out=gates)
        taken, kept, new, shown = (gates[:, i * UNITS : (i + 1) * UNITS] for i in range(4))
        cell *= kept * 0.5 + 0.5
        cell += (taken * 0.5 + 0.5) * new
        hidden: Float32 = (shown * 0.5 + 0.5) * np.tanh(cell)
        return hidden


@cache
def _network() -> _Network:
    return _Network()


def probabilities(frames: Float32, states: States, which: list[int]) -> list[float]:
    """How likely each row of `frames` is speech; its call is the row `which` of `states`, which move on.

    `frames` has shape `(len(which), 256)` and samples between -1 and 1; no call may occur twice. Safe from
    any thread; threads take turns.
    """
    with one_thread:
        network = _network()
        found: list[float] = []
        for at in range(0, len(which), _ROWS):
            end = at + _ROWS
            found += network.run(frames[at:end], states, which[at:end])
        return found


def _windows(array: Float32, shape: tuple[int, int, int], steps: tuple[int, int, int]) -> Float32:
    """Overlapping windows of a scratch array as rows of a matrix; one copy, made by numpy."""
    rows, per_row, width = shape
    strides = (4 * steps[0], 4 * steps[1], 4 * steps[2])
    view: Float32 = np.ndarray(shape, np.float32, array.data, 0, strides)
    return view.reshape(rows * per_row, width)


class OneCall:
    """The network with the state of a single call (1.2 kB)."""

    __slots__ = ("_states", "frame", "sample_rate")

    def __init__(self) -> None:
        """A call that has heard nothing."""
        self.sample_rate = SAMPLE_RATE
        self.frame = FRAME
        self._states = States(1)

    def hear(self, pcm: bytes) -> float:
        """The probability of speech in the next 256 samples of PCM16."""
        samples = whole_samples(pcm) * np.float32(1 / 32768)
        return probabilities(samples[None], self._states, [0])[0]

    def reset(self) -> None:
        """Forget what was heard."""
        self._states.clear(0)
