"""TensorFlow Lite and ONNX files, run by their own runtimes."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.export import onnx_model
from slimworks.components.export.export import export_onnx, export_tflite
from slimworks.components.export.frozen_graph import freeze
from slimworks.components.export.images import ComparisonImages
from slimworks.components.export.source import ExportSource
from slimworks.components.export.tflite_model import to_tflite

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None, reason="the extra onnx is not installed"
)


def test_tflite_runs_in_its_interpreter(
    mobilenet_source: ExportSource,
    mobilenet_pixels: np.ndarray,
    mobilenet_probabilities: np.ndarray,
    images: ComparisonImages,
    tmp_path: Path,
) -> None:
    facts = export_tflite(mobilenet_source, tmp_path / "net.tflite", images)
    assert facts["parity"][0]["num_agreeing"] == len(images.names)
    interpreter = tf.lite.Interpreter(str(tmp_path / "net.tflite"))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["input"], "outputs": ["logits", "probabilities"]}
    }
    answer = interpreter.get_signature_runner()(input=mobilenet_pixels[:1])
    np.testing.assert_allclose(answer["probabilities"], mobilenet_probabilities[:1], atol=1e-4)


def test_tflite_of_several_images_at_a_time(
    lenet_source: ExportSource, images: ComparisonImages, tmp_path: Path
) -> None:
    export_tflite(lenet_source, tmp_path / "net.tflite", images, batch_size=3)
    interpreter = tf.lite.Interpreter(str(tmp_path / "net.tflite"))
    assert interpreter.get_input_details()[0]["shape"].tolist() == [3, 28, 28, 1]


def test_tflite_needs_a_batch_size(lenet_source: ExportSource) -> None:
    with pytest.raises(ValueError, match="The batch size is None, expected a number"):
        to_tflite(freeze(lenet_source))


@needs_onnx
def test_onnx_runs_in_onnxruntime(
    mobilenet_source: ExportSource,
    mobilenet_pixels: np.ndarray,
    mobilenet_probabilities: np.ndarray,
    images: ComparisonImages,
    tmp_path: Path,
) -> None:
    import onnxruntime

    level = logging.getLogger("tf2onnx").level
    export_onnx(mobilenet_source, tmp_path / "net.onnx", images)
    logging.getLogger("tf2onnx").setLevel(level)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    (fed,) = session.get_inputs()
    assert fed.name == "input"
    assert fed.shape[1:] == [32, 32, 3]
    assert [output.name for output in session.get_outputs()] == ["logits", "probabilities"]
    (probabilities,) = session.run(["probabilities"], {"input": mobilenet_pixels})
    np.testing.assert_allclose(probabilities, mobilenet_probabilities, atol=1e-4)


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_onnx(name: str, *rest: Any) -> Any:
        return None if name in ("onnxruntime", "tf2onnx") else find_spec(name, *rest)

    monkeypatch.setattr(onnx_model.importlib.util, "find_spec", without_onnx)
    with pytest.raises(ConfigError) as caught:
        onnx_model.check_installed()
    assert caught.value.cause == "--format onnx needs onnxruntime, tf2onnx: not installed."
    assert caught.value.fix == 'Type `pip install "slimworks[onnx]"`.'


def test_existing_file_is_kept(
    lenet_source: ExportSource, images: ComparisonImages, tmp_path: Path
) -> None:
    (tmp_path / "net.tflite").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        export_tflite(lenet_source, tmp_path / "net.tflite", images)
    assert caught.value.cause == f"{tmp_path / 'net.tflite'} exists."
    assert (tmp_path / "net.tflite").read_text(encoding="utf-8") == "mine"
