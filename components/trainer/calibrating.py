"""Calibrates the finished network by the eval split, and by what it makes of training images."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components.calibration import fitting, known
from slimworks.components.calibration.calibration import Calibration
from slimworks.components.export.served_model import Network
from slimworks.components.trainer import dataset
from slimworks.components.trainer.config import ExportConfig
from slimworks.components.trainer.training import EVAL_BATCH_SIZE, Training

# Its mean direction moves by about a tenth of the class's spread; more images tell no more.
MAX_IMAGES_PER_CLASS = 64

_log = logging.getLogger(__name__)


def calibrate(
    training: Training, network: Network, class_names: tuple[str, ...], export: ExportConfig
) -> tuple[Calibration, dict[str, Any]]:
    """Fits what `export` asks for; see `calibration.fitting.fit`.

    Images are those that training stored, prepared as for evaluation: the exported graph makes
    the same of their bytes.

    Args:
        training: With the weights that are exported, averages applied.
        network: `export.served_model.inference_network` of its module.
        class_names: By class index.
        export: What the exported model answers.
    """
    start = time.monotonic()
    examples, size = training.examples, training.progress.micro_batch_size or EVAL_BATCH_SIZE
    batch_size = min(size, EVAL_BATCH_SIZE)
    observed = observe(dataset.eval_batches(examples, "eval", batch_size), network)
    means = None
    if export.known_by == "distance":
        chosen = _some_of_each_class(examples.class_indices("train"))
        seen = observe(_train_batches(examples, chosen, batch_size), network).finite()
        means = known.class_means(seen.embeddings, seen.class_index) if len(seen.logits) else None
    wanted = fitting.Wanted(
        temperature=export.temperature_scaling,
        min_precision=export.min_precision,
        known_by=export.known_by,
        known_rate=export.known_rate,
    )
    calibration, facts = fitting.fit(observed, class_names, wanted, means)
    _log.info(
        "calibrated on %d eval images in %.1f s: temperature %.3g, log loss %s -> %s",
        facts["num_images"], time.monotonic() - start, calibration.temperature,
        _shown(facts["log_loss_before"]), _shown(facts["log_loss_after"]),
    )  # fmt: skip
    return calibration, facts


def observe(batches: Iterable[dataset.Batch], network: Network) -> fitting.Observed:
    """What the network makes of the images of some batches."""
    found = []
    for batch in batches:
        outputs = network(batch.inputs)
        of_truth = np.argmax(batch.targets.numpy(), axis=1)
        found.append((outputs["logits"].numpy(), outputs["embedding"].numpy(), of_truth))
    return fitting.Observed(*(np.concatenate(values) for values in zip(*found, strict=True)))


def _some_of_each_class(class_indices: np.ndarray) -> np.ndarray:
    """Numbers of at most MAX_IMAGES_PER_CLASS examples of each class, spread evenly, int64 [M]."""
    chosen = []
    for index in np.unique(class_indices):
        numbers = np.flatnonzero(class_indices == index)
        count = min(len(numbers), MAX_IMAGES_PER_CLASS)
        chosen.append(numbers[np.arange(count) * len(numbers) // count])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _train_batches(
    examples: dataset.StoredExamples, numbers: np.ndarray, batch_size: int
) -> tf.data.Dataset:
    """The training images of these numbers, not augmented."""

    def load(pixels: tf.Tensor, targets: tf.Tensor, ids: tf.Tensor) -> dataset.Batch:
        return dataset.Batch(
            examples.preprocessing.for_eval(pixels, examples.image_size), targets, ids
        )

    return (
        tf.data.Dataset.from_tensor_slices(numbers)
        .map(examples.index("train").read, tf.data.AUTOTUNE)
        .map(examples.parse, tf.data.AUTOTUNE)
        .batch(batch_size)
        .map(load)
        .prefetch(2)
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
