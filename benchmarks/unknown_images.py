"""How well each `serving.known_by` tells photos of other things, by a linear head on flowers.

A published checkpoint's features of flower photos train the head (70 %), set the thresholds
(15 %, known rate 0.99) and are told from blood cells and noise (15 %). Prints one JSON line: the
area under the ROC curve of each method and the share of the others that it tells.

The photos are those of the tests (SLIMWORKS_SHARED); without them it prints a line that says so.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy import optimize, special, stats

from slimworks.components.calibration import known
from slimworks.components.calibration.fitting import Observed, Wanted, fit
from slimworks.components.calibration.temperature import softmax
from slimworks.components.export.export import export_saved_model
from slimworks.components.export.images import generated_images
from slimworks.components.export.source import from_checkpoint

BATCH_SIZE, KNOWN_RATE, L2, SEED = 32, 0.99, 0.01, 7
NUM_NOISE = 40


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", default=os.environ.get("SLIMWORKS_SHARED", "../shared"))
    parser.add_argument("--checkpoint", default="mobilenet_v1_0.25_128")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images-per-class", type=int, default=100)
    given = parser.parse_args()
    data = Path(given.shared) / "data"
    if not data.is_dir():
        print(json.dumps({"benchmark": "unknown_images", "skipped": f"{data} does not exist"}))
        return
    embed = _embedding(data / "checkpoints" / given.checkpoint, given.image_size)
    found = _measure(embed, data / "datasets", given.images_per_class)
    settings = {"checkpoint": given.checkpoint, "image_size": given.image_size}
    print(json.dumps({"benchmark": "unknown_images", **settings, **found}))


def _embedding(checkpoint: Path, image_size: int) -> Any:
    """A function from encoded images to embeddings [N, D]."""
    source = from_checkpoint(checkpoint, image_size=image_size)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(source, Path(folder) / "model", generated_images(1))
        loaded = tf.saved_model.load(str(Path(folder) / "model"))

    def embed(images: list[bytes]) -> np.ndarray:
        parts = [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
        signature = loaded.signatures["embed"]
        found = [signature(images=tf.constant(part))["embedding"].numpy() for part in parts]
        return np.concatenate(found)

    return embed


def _measure(embed: Any, datasets: Path, images_per_class: int) -> dict[str, Any]:
    folders = sorted(path for path in (datasets / "flowers_800").iterdir() if path.is_dir())
    images = [_photos(folder, images_per_class) for folder in folders]
    features = embed([image for of_class in images for image in of_class])
    class_index = np.repeat(np.arange(len(folders)), [len(of_class) for of_class in images])
    order = np.random.default_rng(SEED).permutation(len(features))
    train, fitted, test = np.split(order, [len(order) * 70 // 100, len(order) * 85 // 100])
    spread = features[train].std()
    weights, biases = _linear_head(features[train] / spread, class_index[train], len(folders))
    cells = [
        image
        for folder in sorted((datasets / "bccd_cells").iterdir())
        if folder.is_dir()
        for image in _photos(folder, images_per_class // 2)
    ]
    others = {"cells": embed(cells), "noise": embed(_noise())}

    def logits(embeddings: np.ndarray) -> np.ndarray:
        return np.asarray(embeddings / spread @ weights + biases)

    right = logits(features[test]).argmax(axis=1) == class_index[test]
    found: dict[str, Any] = {"test_accuracy": round(float(right.mean()), 3)}
    observed = Observed(logits(features[fitted]), features[fitted], class_index[fitted])
    means = known.class_means(features[train], class_index[train])
    names = [folder.name for folder in folders]
    for method in known.METHODS:
        wanted = Wanted(known_by=method, known_rate=KNOWN_RATE)
        calibration, _ = fit(observed, names, wanted, means)
        rule, sign = calibration.known, -1 if method == "distance" else 1
        if rule is None:
            raise SystemExit(
                f"{len(fitted)} images are too few to fit on: more --images-per-class."
            )

        def scores(embeddings: np.ndarray) -> np.ndarray:
            if method == "distance":  # noqa: B023 - called within the round
                return -known.distance(embeddings, means)
            if method == "energy":  # noqa: B023
                return known.energy(logits(embeddings))
            return softmax(logits(embeddings), calibration.temperature).max(axis=1)  # noqa: B023

        of_known = scores(features[test])
        found[method] = {
            "known_rate": round(float(np.mean(of_known >= sign * rule.threshold)), 3),
            **{
                name: {
                    "auroc": round(_auroc(of_known, scores(embeddings)), 3),
                    "told": round(float(np.mean(scores(embeddings) < sign * rule.threshold)), 3),
                }
                for name, embeddings in others.items()
            },
        }
    return found


def _photos(folder: Path, count: int) -> list[bytes]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    return [path.read_bytes() for path in found[:count]]


def _noise() -> list[bytes]:
    generator, found = np.random.default_rng(SEED), []
    for _ in range(NUM_NOISE):
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (128, 128, 3), np.uint8)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def _linear_head(
    features: np.ndarray, class_index: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression: weights [D, K] and biases [K]."""
    shape = (features.shape[1] + 1, num_classes)
    inputs = np.hstack([features, np.ones((len(features), 1))])
    targets = np.eye(num_classes)[class_index]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        scores = inputs @ weights
        gradient = inputs.T @ (special.softmax(scores, axis=1) - targets) / len(inputs)
        value = np.mean(special.logsumexp(scores, axis=1) - (scores * targets).sum(axis=1))
        return value + L2 / 2 * np.sum(weights**2), (gradient + L2 * weights).ravel()

    found = optimize.minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B")
    weights = found.x.reshape(shape)
    return weights[:-1], weights[-1]


def _auroc(of_known: np.ndarray, of_unknown: np.ndarray) -> float:
    """Share of the pairs in which the known image has the higher score."""
    statistic = stats.mannwhitneyu(of_known, of_unknown).statistic
    return float(statistic / (len(of_known) * len(of_unknown)))


if __name__ == "__main__":
    main()
