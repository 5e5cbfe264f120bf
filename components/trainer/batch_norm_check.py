"""Does the network see in evaluation what it saw in training? Repairs moving statistics.

In training, batch norm normalises by the batch; in evaluation by moving statistics, which lag
behind the weights: by thousands of steps where their decay is close to one. The sign is a network
that is right about its training images in training mode and wrong about the same images in
evaluation mode. The cure is to compute the statistics anew, with the weights as they are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components.nets.freezing import batch_statistics, frozen_batch_norm
from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer import steps
from slimworks.components.trainer.dataset import Batch

MAX_IMAGES = 512  # seconds on one core; the statistics hardly change with more
# Modes differ by a few points in any training; it takes more to be worth a repair.
TOLERANCE = 0.05

Statistics = dict[str, np.ndarray]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BatchNormCheck:
    """What was found, and done.

    Attributes:
        train_mode_accuracy: Of training images, normalised by their batches.
        eval_mode_accuracy: Of the same images, normalised by the moving statistics.
        num_images: How many.
        before: The eval split with the moving statistics as training left them.
        after: The same with those that the network has now; equal where nothing was changed.
        is_repaired: Whether the network has new moving statistics.
    """

    train_mode_accuracy: float
    eval_mode_accuracy: float
    num_images: int
    before: steps.SplitMetrics
    after: steps.SplitMetrics
    is_repaired: bool

    @property
    def agrees(self) -> bool:
        """Whether the modes agreed before anything was changed."""
        return self.train_mode_accuracy - self.eval_mode_accuracy <= TOLERANCE

    @property
    def facts(self) -> dict[str, Any]:
        """What model.json says of it."""
        return {
            "train_mode_accuracy": round(self.train_mode_accuracy, 6),
            "eval_mode_accuracy": round(self.eval_mode_accuracy, 6),
            "num_images": self.num_images,
            "agrees": self.agrees,
            "reestimated": self.is_repaired,
            "eval_accuracy_before": round(self.before.accuracy, 6),
            "eval_accuracy": round(self.after.accuracy, 6),
        }


def check_batch_norm(
    module: SlimModule,
    frozen: Collection[str],
    train_batches: tf.data.Dataset,
    evaluate: Callable[[], steps.SplitMetrics],
    before: steps.SplitMetrics,
) -> BatchNormCheck:
    """Compares the modes; where they disagree, gives the module better moving statistics.

    Args:
        module: With the weights to check.
        frozen: Scopes of the batch norms that training left alone; they stay as they are.
        train_batches: Training images without augmentation, in whole batches.
        evaluate: Evaluates the eval split with the module as it is.
        before: Its result with the statistics as they are.
    """
    own = {name: variable.numpy() for name, variable in module.moving_by_name.items()}
    in_eval_mode = steps.evaluate_split(steps.make_eval_step(module), train_batches)
    num_correct, statistics = _in_train_mode(module, frozenset(frozen), train_batches)
    found = BatchNormCheck(
        num_correct / in_eval_mode.num_images,
        in_eval_mode.accuracy,
        in_eval_mode.num_images,
        before,
        before,
        is_repaired=False,
    )
    if not found.agrees:
        _assign(module, statistics)
        after = evaluate()
        if (after.accuracy, -after.loss) > (before.accuracy, -before.loss):
            found = dataclasses.replace(found, after=after, is_repaired=True)
    if not found.is_repaired:
        _assign(module, own)
    _say(found)
    return found


def _in_train_mode(
    module: SlimModule, frozen: frozenset[str], batches: tf.data.Dataset
) -> tuple[float, Statistics]:
    """Number of images that are recognised, and the mean statistics of the batches."""

    # Dropout stays off: it would hide what batch norm does.
    def forward(batch: Batch) -> tf.Tensor:
        with batch_statistics(), frozen_batch_norm(frozen):
            logits = module.forward(batch.inputs, is_training=False).logits
        return tf.reduce_sum(steps.is_correct(logits, batch.targets))

    step = tf.function(forward, autograph=False)
    sums = {name: np.zeros(v.shape, np.float64) for name, v in module.moving_by_name.items()}
    num_correct, num_batches = 0.0, 0
    for batch in batches:
        num_correct += float(step(batch))
        num_batches += 1
        for name, variable in module.moving_by_name.items():
            sums[name] += variable.numpy()
    return num_correct, {name: total / num_batches for name, total in sums.items()}


def _assign(module: SlimModule, statistics: Statistics) -> None:
    for name, value in statistics.items():
        module.moving_by_name[name].assign(value.astype(np.float32))


def _say(found: BatchNormCheck) -> None:
    compared = (
        f"batch norm: {found.train_mode_accuracy:.3f} of {found.num_images} training images are "
        f"recognised by batch statistics, {found.eval_mode_accuracy:.3f} by the moving ones"
    )
    if found.agrees:
        _log.info("%s", compared)
    elif found.is_repaired:
        _log.warning(
            "%s, which were estimated anew: eval accuracy %.4f -> %.4f",
            compared,
            found.before.accuracy,
            found.after.accuracy,
        )
    else:
        _log.warning("%s; new ones were no better on the eval split", compared)
