"""The calibration inside exported graphs: every signature, every format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from export_samples import NUM_CLASSES

from slimworks.components import contracts, files
from slimworks.components.calibration import known
from slimworks.components.calibration.calibration import Calibration, KnownRule
from slimworks.components.calibration.temperature import softmax
from slimworks.components.export import export
from slimworks.components.export.frozen_graph import freeze, frozen_probabilities
from slimworks.components.export.images import ComparisonImages
from slimworks.components.export.inference_graph import checkpoint_probabilities
from slimworks.components.export.served_model import ServedModel
from slimworks.components.export.source import ExportSource, from_model
from slimworks.components.nets.module import SlimModule

TEMPERATURE = 2.5
Serve = Callable[..., dict[str, tf.Tensor]]


@pytest.fixture(scope="module")
def module(lenet_source: ExportSource) -> SlimModule:
    return export._restored(lenet_source)


@pytest.fixture(scope="module")
def pixels(lenet_source: ExportSource, images: ComparisonImages) -> np.ndarray:
    return images.pixels(lenet_source)


@pytest.fixture(scope="module")
def outputs(module: SlimModule, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Logits and embeddings of the images."""
    from slimworks.components.export.served_model import inference_network

    return {name: value.numpy() for name, value in inference_network(module)(pixels).items()}


def served(
    module: SlimModule, source: ExportSource, calibration: Calibration, least: float = 0.0
) -> ServedModel:
    return ServedModel(
        module, source.images_to_pixels, tf.identity, source.class_names, top_k=None,
        min_probability=least, image_size=28, num_channels=1, calibration=calibration,
    )  # fmt: skip


def is_known(
    module: SlimModule, source: ExportSource, pixels: np.ndarray, *arguments: Any
) -> list[bool]:
    model = served(module, source, *arguments)
    answer = model.signatures()[contracts.SIGNATURE_PIXELS](tf.constant(pixels))
    return [bool(value) for value in answer["is_known"].numpy()]


def test_every_signature_answers_calibrated_probabilities(
    module: SlimModule,
    lenet_source: ExportSource,
    images: ComparisonImages,
    pixels: np.ndarray,
    outputs: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    model = served(module, lenet_source, Calibration(TEMPERATURE))
    tf.saved_model.save(model, str(tmp_path / "m"), signatures=model.signatures())
    signatures = tf.saved_model.load(str(tmp_path / "m")).signatures
    expected = softmax(outputs["logits"], TEMPERATURE)
    best = np.sort(expected, axis=1)[:, ::-1][:, :5]
    encoded = tf.constant(images.encoded)
    records = tf.constant([export._example(image) for image in images.encoded])
    answers = [
        signatures["serving_default"](images=encoded)["probabilities"],
        signatures["predict_pixels"](pixels=tf.constant(pixels))["probabilities"],
        signatures["classify"](inputs=records)["scores"],
    ]
    for answer in answers:
        np.testing.assert_allclose(answer, best, atol=1e-5)
    evaluated = signatures["evaluate"](images=encoded)
    np.testing.assert_allclose(evaluated["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(evaluated["logits"], outputs["logits"], rtol=1e-4, atol=1e-5)
    assert np.abs(best - np.sort(softmax(outputs["logits"]), axis=1)[:, ::-1][:, :5]).max() > 1e-3


@pytest.mark.parametrize("method", known.METHODS)
def test_graph_tells_unknown_images_as_the_fit_does(
    method: known.Method,
    module: SlimModule,
    lenet_source: ExportSource,
    pixels: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> None:
    means = known.class_means(outputs["embedding"][:2], np.arange(2))
    scores = {
        "probability": softmax(outputs["logits"], TEMPERATURE).max(axis=1),
        "energy": known.energy(outputs["logits"]),
        "distance": -known.distance(outputs["embedding"], means),
    }[method]
    ranked = np.sort(scores)
    middle = float(ranked[1] + ranked[2]) / 2  # two images of five are unknown
    threshold = -middle if method == "distance" else middle
    rule = KnownRule(method, threshold, means if method == "distance" else None)
    found = is_known(module, lenet_source, pixels, Calibration(TEMPERATURE, None, rule))
    assert found == [bool(score > middle) for score in scores]
    assert sum(found) == 3


def test_answers_below_the_threshold_of_their_class_are_not_known(
    module: SlimModule,
    lenet_source: ExportSource,
    pixels: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> None:
    probabilities = softmax(outputs["logits"], TEMPERATURE)
    answers, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    thresholds: list[float | None] = [0.0] * NUM_CLASSES
    thresholds[int(answers[0])] = float(best[0]) + 1e-4
    found = is_known(module, lenet_source, pixels, Calibration(TEMPERATURE, tuple(thresholds)))
    assert not found[0]
    expected = [
        bool(a != answers[0] or p > best[0] + 1e-4) for a, p in zip(answers, best, strict=True)
    ]
    assert found == expected


def test_class_without_a_threshold_is_never_known(
    module: SlimModule,
    lenet_source: ExportSource,
    pixels: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> None:
    never = Calibration(1.0, (None,) * NUM_CLASSES)
    assert is_known(module, lenet_source, pixels, never) == [False] * len(pixels)


def test_smallest_probability_counts_for_every_class(
    module: SlimModule,
    lenet_source: ExportSource,
    pixels: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> None:
    best = softmax(outputs["logits"], TEMPERATURE).max(axis=1)
    middle = float(np.median(best)) - 1e-4
    found = is_known(module, lenet_source, pixels, Calibration(TEMPERATURE), middle)
    assert found == [bool(p > middle) for p in best]


def calibrated(source: ExportSource) -> ExportSource:
    return dataclasses.replace(source, temperature=TEMPERATURE)


@pytest.mark.parametrize("name", ["lenet_source", "mobilenet_source"])
def test_frozen_graph_is_calibrated_and_keeps_its_names(
    name: str, request: pytest.FixtureRequest, images: ComparisonImages
) -> None:
    source: ExportSource = request.getfixturevalue(name)
    of_source = images.pixels(source)
    plain, frozen = freeze(source), freeze(calibrated(source))
    assert frozen.outputs == plain.outputs
    assert {n.name for n in plain.graph_def.node} <= {n.name for n in frozen.graph_def.node}
    reference = checkpoint_probabilities(calibrated(source), of_source)
    np.testing.assert_allclose(frozen_probabilities(frozen, of_source), reference, atol=1e-5)
    assert np.abs(frozen_probabilities(plain, of_source) - reference).max() > 1e-3


def test_graph_without_a_softmax_keeps_the_temperature_beside_it(
    lenet_source: ExportSource, pixels: np.ndarray
) -> None:
    frozen = dataclasses.replace(freeze(calibrated(lenet_source)), predictions=None)
    reference = checkpoint_probabilities(calibrated(lenet_source), pixels)
    np.testing.assert_allclose(frozen_probabilities(frozen, pixels), reference, atol=1e-5)


def test_tflite_is_calibrated(
    lenet_source: ExportSource, images: ComparisonImages, tmp_path: Path
) -> None:
    facts = export.export_tflite(calibrated(lenet_source), tmp_path / "m.tflite", images)
    assert facts["temperature"] == TEMPERATURE
    assert facts["parity"][0]["max_difference"] < 1e-4


def test_temperature_of_a_model_is_read_from_its_facts(tmp_path: Path, lenet: Path) -> None:
    from slimworks.components.checkpoints.save import update_state

    folder = tmp_path / contracts.CHECKPOINTS_FOLDER
    folder.mkdir()
    for path in lenet.parent.glob(f"{lenet.name}.*"):
        (folder / path.name).symlink_to(path)
    update_state(str(folder), str(folder / lenet.name))
    facts = {
        "net": "lenet", "image_size": 28, "num_channels": 1, "preprocessing": "lenet",
        "class_names": ["a"] * NUM_CLASSES,
    }  # fmt: skip
    files.write_json(tmp_path / contracts.MODEL_FACTS_FILE, facts)
    assert from_model(tmp_path).temperature == 1.0
    with_calibration = {**facts, "calibration": {"temperature": TEMPERATURE}}
    files.write_json(tmp_path / contracts.MODEL_FACTS_FILE, with_calibration)
    assert from_model(tmp_path).temperature == TEMPERATURE
