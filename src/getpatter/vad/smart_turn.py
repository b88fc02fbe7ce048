"""`SmartTurnDetector`: whether a caller has finished, by the melody of the voice, from a model file of the user's own.

Made for the models published as "Smart Turn" (<https://github.com/pipecat-ai/smart-turn>), which hear 8 s of 16 kHz
sound. A model with one input of rank 3 gets log-mel features as Whisper's encoder takes them (80 bands, 10 ms); one of
rank 2 gets the samples themselves. Its first output is the probability that the turn is over. No model comes with the
package. Needs the extra `turn-detector`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from getpatter.config import smart_turn_model
from getpatter.errors import PatterConfigError

logger = logging.getLogger(__name__)

MODEL_VARIABLE: Final = "PATTER_SMART_TURN_MODEL"
SAMPLE_RATE: Final = 16_000
WINDOW: Final = 8 * SAMPLE_RATE
_FFT: Final = 400
_HOP: Final = 160
_BANDS: Final = 80
_RANK_OF_FEATURES: Final = 3
_LOG_STEP: Final = math.log(6.4) / 27
_MELS_AT_1_KHZ: Final = 15.0
_MELS_AT_8_KHZ: Final = _MELS_AT_1_KHZ + math.log(8) / _LOG_STEP

Float32 = npt.NDArray[np.float32]


class _Input(Protocol):
    name: str
    shape: Sequence[object]


class _Session(Protocol):
    def run(self, output_names: None, input_feed: Mapping[str, Any]) -> Sequence[Any]: ...

    def get_inputs(self) -> Sequence[_Input]: ...


class SmartTurnDetector:
    """A turn detector for `agent(turn_detector=...)`. One object serves all calls: it keeps nothing of them."""

    def __init__(self, session: _Session, *, threshold: float = 0.5) -> None:
        """Use `load`."""
        self.threshold = threshold
        self._session = session
        (self._input, *_) = session.get_inputs()

    @classmethod
    def load(cls, model_path: str | Path | None = None, *, threshold: float = 0.5) -> Self:
        """Load a model, once per process and file.

        Args:
            model_path: An ONNX file; `None` reads `PATTER_SMART_TURN_MODEL`.
            threshold: Probability from which on a turn is taken for finished.

        Raises:
            PatterConfigError: There is no model, it cannot be read, or onnxruntime is not installed.
            ValueError: `threshold` is not within 0 and 1.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"SmartTurnDetector: threshold is {threshold}; it must be 0 to 1")
        path = str(model_path or smart_turn_model())
        if not path:
            raise PatterConfigError(
                f"SmartTurnDetector needs a model: pass model_path= or set {MODEL_VARIABLE} to an ONNX file"
            )
        if not Path(path).is_file():
            raise PatterConfigError(
                f"SmartTurnDetector: there is no model file {Path(path).name!r}"
            )
        return cls(_loaded(path), threshold=threshold)

    @classmethod
    def maybe_load(
        cls, model_path: str | Path | None = None, *, threshold: float = 0.5
    ) -> Self | None:
        """As `load`, and `None` where that fails, with one line in the log."""
        try:
            return cls.load(model_path, threshold=threshold)
        except PatterConfigError as error:
            logger.info("turn_detector.not_loaded reason=%s", error)
            return None

    async def predict(self, window: bytes) -> float:
        """Probability that the turn is over; `window` as in `TurnDetector`. Runs in a thread."""
        return await asyncio.to_thread(self._predict, window)

    def _predict(self, window: bytes) -> float:
        samples = np.frombuffer(window[: len(window) // 2 * 2], dtype="<i2")[-WINDOW:]
        sound = np.zeros(WINDOW, np.float32)
        if len(samples):
            sound[-len(samples) :] = samples / np.float32(32768)
        has_features = len(self._input.shape) == _RANK_OF_FEATURES
        given = log_mel(sound)[None] if has_features else sound[None]
        (first, *_) = self._session.run(None, {self._input.name: given})
        return float(np.asarray(first).reshape(-1)[0])


@cache
def _loaded(path: str) -> _Session:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as exc:
        raise PatterConfigError(
            "SmartTurnDetector needs onnxruntime: pip install 'getpatter[turn-detector]'"
        ) from exc
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    try:
        session: _Session = onnxruntime.InferenceSession(
            path, settings, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:
        raise PatterConfigError(
            f"SmartTurnDetector: {Path(path).name!r} is no model that onnxruntime can read"
        ) from exc
    return session


def log_mel(sound: Float32) -> Float32:
    """Log-mel features of 8 s, `(80, 800)`, after zero mean and unit variance."""
    normal = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    padded = np.pad(normal, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][: WINDOW // _HOP]
    power = np.abs(np.fft.rfft(frames * _hann(), axis=1)) ** 2
    bands = np.log10(np.maximum(power @ _filters().T, 1e-10))
    bands = np.maximum(bands, bands.max() - 8.0)
    features: Float32 = ((bands + 4.0) / 4.0).T.astype(np.float32)
    return features


@cache
def _hann() -> npt.NDArray[np.float64]:
    return np.hanning(_FFT + 1)[:-1]


@cache
def _filters() -> npt.NDArray[np.float64]:
    """Triangles on Slaney's mel scale, each of the same area."""
    edges = _hertz(np.linspace(0.0, _MELS_AT_8_KHZ, _BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    triangles: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles * (2.0 / (high - low))


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear below 1 kHz, logarithmic above."""
    above = 1000 * np.exp(_LOG_STEP * (mels - _MELS_AT_1_KHZ))
    return np.where(mels < _MELS_AT_1_KHZ, mels * 200 / 3, above)
