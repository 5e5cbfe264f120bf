"""SavedModels of plain TF-Slim checkpoints: all signatures, TF-Slim's own probabilities."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from export_samples import NUM_CLASSES
from PIL import Image

from slimworks.components import contracts, files
from slimworks.components.export.export import copy_saved_model, export_saved_model
from slimworks.components.export.images import ComparisonImages, read_images
from slimworks.components.export.inference_graph import checkpoint_probabilities
from slimworks.components.export.source import ExportSource, from_checkpoint

SIGNATURES = {"serving_default", "predict_pixels", "classify", "embed", "evaluate"}


@pytest.fixture(scope="module")
def signatures(exported: Path) -> Any:
    return tf.saved_model.load(str(exported)).signatures


def test_all_signatures_are_there(
    signatures: Any, mobilenet_pixels: np.ndarray, images: ComparisonImages
) -> None:
    assert set(signatures) == SIGNATURES
    encoded = tf.constant(images.encoded)
    answer = signatures["serving_default"](images=encoded)
    assert answer["probabilities"].shape == (len(images.names), 3)
    assert answer["is_known"].numpy().all()
    assert signatures["embed"](images=encoded)["embedding"].shape == (len(images.names), 256)
    np.testing.assert_allclose(
        signatures["predict_pixels"](pixels=mobilenet_pixels)["probabilities"],
        answer["probabilities"],
        atol=1e-5,
    )


def test_classes_are_numbers_without_labels(signatures: Any, images: ComparisonImages) -> None:
    answer = signatures["serving_default"](images=tf.constant(images.encoded))
    names = [[name.decode() for name in row] for row in answer["classes"].numpy()]
    assert names == [[str(index) for index in row] for row in answer["class_index"].numpy()]


def test_facts_and_labels_go_with_the_model(exported: Path, mobilenet: Path) -> None:
    facts = files.read_json(exported / contracts.EXTRA_ASSETS_FOLDER / contracts.MODEL_FACTS_FILE)
    assert (facts["net"], facts["image_size"], facts["num_channels"]) == ("mobilenet_v1_025", 32, 3)
    assert facts["checkpoint_path"] == str(mobilenet)
    assert [row["artifact"] for row in facts["parity"]] == [
        f"SavedModel {name}"
        for name in ("serving_default", "predict_pixels", "classify", "evaluate")
    ]
    assert all(row["max_difference"] < 1e-5 for row in facts["parity"])
    labels = contracts.LabelMap.read(exported / contracts.EXTRA_ASSETS_FOLDER)
    assert labels.num_classes == NUM_CLASSES


@pytest.mark.slow
def test_copied_model_is_compared_and_equal(
    exported: Path, mobilenet_source: ExportSource, images: ComparisonImages, tmp_path: Path
) -> None:
    facts = copy_saved_model(exported.parent, mobilenet_source, tmp_path / "copy", images)
    assert facts["parity"][0]["num_agreeing"] == len(images.names)
    assert files.sha256_of_tree(tmp_path / "copy") == files.sha256_of_tree(exported)


@pytest.mark.slow
@pytest.mark.shared
def test_published_checkpoint_through_a_server(shared: Path, tmp_path: Path) -> None:
    from slimworks.components.serving.client import Client
    from slimworks.components.serving.process import ServerProcess

    checkpoints = shared / "data" / "checkpoints"
    source = from_checkpoint(
        checkpoints / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt",
        image_size=128,
        labels=checkpoints / "imagenet_labels_1001.txt",
    )
    photos = read_images(shared / "data" / "photos")
    export_saved_model(source, tmp_path / "base" / "1", photos)
    square = io.BytesIO()
    with Image.open(shared / "data" / "photos" / "chelsea.png") as chelsea:
        left, side = (chelsea.width - chelsea.height) // 2, chelsea.height
        chelsea.crop((left, 0, left + side, side)).save(square, "PNG")
    with (
        ServerProcess(tmp_path / "base", "imagenet") as server,
        Client(server.address, "imagenet") as client,
    ):
        *answers, cat = client.predict_bytes([*photos.encoded, square.getvalue()])
    # Recorded on the central square; TF-Slim squeezes a photo of another shape.
    assert cat.class_names[0] == "Egyptian cat"
    assert cat.probabilities[0] == pytest.approx(0.54, abs=0.05)
    best = {Path(n).stem: a.class_names[0] for n, a in zip(photos.names, answers, strict=True)}
    assert (best["chelsea"], best["coffee"]) == ("Egyptian cat", "espresso")
    reference = checkpoint_probabilities(source, photos.pixels(source))
    np.testing.assert_allclose(
        [answer.probabilities[0] for answer in answers], reference.max(axis=-1), atol=1e-5
    )
