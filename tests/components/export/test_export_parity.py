"""Comparing probabilities, and refusing what differs."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import EXIT_SERVING, ServingError
from slimworks.components.export import export, parity, tflite_model
from slimworks.components.export.images import ComparisonImages, generated_images
from slimworks.components.export.source import ExportSource

REFERENCE = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], np.float32)
NAMES = ("a.jpg", "b.jpg")


def test_largest_difference_and_agreement() -> None:
    other = REFERENCE + np.array([[0, 0, 0.01], [0, -0.2, 0.2]], np.float32)
    row = parity.compare("it", other, REFERENCE, NAMES)
    assert row.max_difference == pytest.approx(0.2)
    assert (row.num_agreeing, row.num_images, row.worst_image) == (1, 2, "b.jpg")
    assert not row.is_within_bound


def test_most_probable_classes_are_compared_by_index() -> None:
    index = np.array([[0, 1], [1, 2]])
    top = np.take_along_axis(REFERENCE, index, axis=-1)
    row = parity.compare("it", top, REFERENCE, NAMES, class_index=index)
    assert (row.max_difference, row.num_agreeing) == (0, 2)


def test_nan_is_outside_every_bound() -> None:
    other = REFERENCE.copy()
    other[1, 2] = np.nan
    row = parity.compare("it", other, REFERENCE, NAMES, bound=1e9)
    assert row.worst_image == "b.jpg"
    assert not row.is_within_bound


def test_difference_is_an_error_that_names_the_image() -> None:
    row = parity.compare("ONNX", REFERENCE + 0.25, REFERENCE, NAMES)
    with pytest.raises(ServingError) as caught:
        parity.check([row])
    assert caught.value.exit_code == EXIT_SERVING
    assert caught.value.cause == (
        "ONNX is not the checkpoint: on a.jpg a probability differs by 0.25, the bound is 0.0001. "
        "Nothing was written."
    )
    assert caught.value.fix.startswith("Check the checkpoint with `slimworks nets --checkpoint")


def test_table_for_people() -> None:
    rows = [
        parity.compare("frozen graph", REFERENCE, REFERENCE, NAMES),
        parity.compare("TensorFlow Lite", REFERENCE + 1e-5, REFERENCE, NAMES),
    ]
    assert parity.table(rows) == (
        "against the checkpoint  max |dp|  top-1 agreement\n"
        "frozen graph             0.0e+00  2 of 2 images\n"
        "TensorFlow Lite          1.0e-05  2 of 2 images"
    )


def test_signatures_are_run_on_eight_images_at_a_time(
    mobilenet_source: ExportSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = generated_images(11)
    reference = np.tile(np.linspace(0.2, 0, 7, dtype=np.float32), (11, 1))
    batches: dict[str, list[int]] = {"images": [], "pixels": [], "inputs": []}

    def signature(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        ((argument, values),) = inputs.items()
        batches[argument].append(len(values))
        answer = tf.constant(reference[: len(values)])
        index = tf.tile(tf.range(7, dtype=tf.int64)[tf.newaxis], [len(values), 1])
        return {"probabilities": answer, "scores": answer, "class_index": index}

    names = ("serving_default", "predict_pixels", "classify", "evaluate")
    loaded = types.SimpleNamespace(signatures=dict.fromkeys(names, signature))
    monkeypatch.setattr(tf.saved_model, "load", lambda _: loaded)
    rows = export.saved_model_parity("model", mobilenet_source, images, reference)
    assert batches == {"images": [8, 8] * 2, "pixels": [8, 8], "inputs": [8, 8]}
    assert [(row.num_images, row.max_difference) for row in rows] == [(11, 0)] * 4


def test_saved_model_that_differs_is_not_left_behind(
    tmp_path: Path,
    exported: Path,
    mobilenet_source: ExportSource,
    images: ComparisonImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uniform = np.full((len(images.names), mobilenet_source.num_classes), 1 / 7, np.float32)
    monkeypatch.setattr(export, "checkpoint_probabilities", lambda *_: uniform)
    with pytest.raises(ServingError, match="SavedModel serving_default is not the checkpoint"):
        export.copy_saved_model(exported.parent, mobilenet_source, tmp_path / "model", images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["export_frozen_graph", "export_tflite"])
def test_file_that_differs_is_not_written(
    name: str,
    tmp_path: Path,
    lenet_source: ExportSource,
    images: ComparisonImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(*arguments: object) -> np.ndarray:
        return np.full((len(images.names), lenet_source.num_classes), 0.5, np.float32)

    monkeypatch.setattr(export, "frozen_probabilities", wrong)
    monkeypatch.setattr(tflite_model, "tflite_probabilities", wrong)
    with pytest.raises(ServingError, match="is not the checkpoint"):
        getattr(export, name)(lenet_source, tmp_path / "model", images)
    assert list(tmp_path.iterdir()) == []
