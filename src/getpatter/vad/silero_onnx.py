"""A Silero model from a file of the user's own, run by onnxruntime, which is no dependency of the SDK.

Interface of the model (versions 5 and 6): <https://github.com/snakers4/silero-vad>. Inputs `input` (a
little of the step before, then the step), `state` and `sr`; outputs the probability and the new state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np

from getpatter.audio.pcm import Float32, whole_samples
from getpatter.errors import PatterConfigError

_STATE_SHAPE: Final = (2, 1, 128)


class _Session(Protocol):
    def run(self, output_names: None, input_feed: Mapping[str, Any]) -> Sequence[Any]: ...


@cache
def _session(path: str, force_cpu: bool) -> _Session:  # noqa: FBT001 - a key of the cache
    """The model, loaded once per process."""
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as exc:
        raise PatterConfigError(
            "onnx_file_path needs onnxruntime: pip install onnxruntime, or leave it out for the "
            "built-in network"
        ) from exc
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"] if force_cpu else onnxruntime.get_available_providers()
    session: _Session = onnxruntime.InferenceSession(path, settings, providers=providers)
    return session


class OnnxCall:
    """The state of one call on such a model."""

    __slots__ = ("_context", "_session", "_state", "frame", "sample_rate")

    def __init__(self, path: str, sample_rate: int, *, force_cpu: bool = True) -> None:
        """Load the model at `path`, unless it is, for sound of 8000 or 16000 Hz.

        Raises:
            PatterConfigError: onnxruntime is not installed.
        """
        self._session = _session(path, force_cpu)
        self.sample_rate = sample_rate
        self.frame = sample_rate * 32 // 1000
        self._state: Float32 = np.zeros(_STATE_SHAPE, np.float32)
        self._context: Float32 = np.zeros(sample_rate * 4 // 1000, np.float32)

    def hear(self, pcm: bytes) -> float:
        """The probability of speech in the next 32 ms of PCM16."""
        samples = whole_samples(pcm) * np.float32(1 / 32768)
        line = np.concatenate((self._context, samples))[None]
        rate = np.array(self.sample_rate, np.int64)
        found, self._state = self._session.run(
            None, {"input": line, "state": self._state, "sr": rate}
        )
        self._context = samples[-self._context.size :]
        return float(found[0][0])

    def reset(self) -> None:
        """Forget what was heard."""
        self._state = np.zeros_like(self._state)
        self._context = np.zeros_like(self._context)
