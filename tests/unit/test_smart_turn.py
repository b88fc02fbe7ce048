"""`SmartTurnDetector`: clear errors without a model, and both forms of model with one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from getpatter import SmartTurnDetector, TurnDetector
from getpatter.errors import PatterConfigError
from getpatter.vad.smart_turn import WINDOW, log_mel

LOUD = (np.sin(np.arange(WINDOW) / 5) * 16_000).astype("<i2").tobytes()


def model(path: Path, shape: list[int]) -> Path:
    """A model that says how loud the sound is, 0 to 1."""
    onnx: Any = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [
            make.make_node("Abs", ["sound"], ["loud"]),
            make.make_node("ReduceMax", ["loud"], ["probability"], keepdims=0),
        ],
        "loudness",
        [make.make_tensor_value_info("sound", kind, shape)],
        [make.make_tensor_value_info("probability", kind, [])],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, str(path))
    return path


def test_without_a_model_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delenv("PATTER_SMART_TURN_MODEL", raising=False)
    with pytest.raises(PatterConfigError, match="PATTER_SMART_TURN_MODEL"):
        SmartTurnDetector.load()
    with pytest.raises(PatterConfigError, match=r"no model file 'gone\.onnx'"):
        SmartTurnDetector.load(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match="0 to 1"):
        SmartTurnDetector.load(tmp_path / "gone.onnx", threshold=2)
    with caplog.at_level(logging.INFO):
        assert SmartTurnDetector.maybe_load() is None
    assert "turn_detector.not_loaded" in caplog.text


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"not a model")
    with pytest.raises(PatterConfigError, match=r"rubbish\.onnx"):
        SmartTurnDetector.load(rubbish)


def test_a_model_that_hears_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATTER_SMART_TURN_MODEL", str(model(tmp_path / "m.onnx", [1, WINDOW])))
    detector = SmartTurnDetector.load(threshold=0.4)
    assert isinstance(detector, TurnDetector)
    assert detector.threshold == 0.4
    assert asyncio.run(detector.predict(LOUD)) == pytest.approx(16_000 / 32_768, abs=0.001)
    assert asyncio.run(detector.predict(b"")) == 0.0
    assert asyncio.run(detector.predict(LOUD[-3201:])) > 0.4, "short and odd is no trouble"


def test_a_model_that_hears_features(tmp_path: Path) -> None:
    detector = SmartTurnDetector.load(model(tmp_path / "f.onnx", [1, 80, 800]))
    assert np.isfinite(asyncio.run(detector.predict(LOUD)))


def test_features_find_the_band_of_a_tone() -> None:
    def band(hertz: float) -> int:
        tone = np.sin(2 * np.pi * hertz * np.arange(WINDOW) / 16_000).astype(np.float32)
        features = log_mel(tone)
        assert features.shape == (80, 800)
        assert features.max() - features.min() <= 2.0 + 1e-5, (
            "eight decades of power at most, over four"
        )
        return int(features.mean(axis=1).argmax())

    bands = [band(hertz) for hertz in (200.0, 500.0, 1000.0, 3000.0)]
    assert bands == sorted(set(bands))
    # 80 bands up to 45.25 mel on Slaney's scale: 1000 Hz is 15 mel.
    assert bands[2] in {25, 26}
