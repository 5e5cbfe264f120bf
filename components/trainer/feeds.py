"""What a phase reads: images through the whole network, or features through its head."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection

import tensorflow as tf

from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer import dataset, steps
from slimworks.components.trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Feed:
    """Batches, and the part of the network that takes their inputs.

    Attributes:
        forward: That part in training mode.
        logits: That part in inference mode: inputs [N, ...] -> float32 [N, K].
        train_batches: dataset.train_batches without its first two arguments.
        eval_batches: dataset.eval_batches of the split eval, without its first two arguments.
    """

    forward: steps.Forward
    logits: Callable[[tf.Tensor], tf.Tensor]
    train_batches: Callable[..., tf.data.Dataset]
    eval_batches: Callable[..., tf.data.Dataset]


def image_feed(
    examples: dataset.StoredExamples,
    config: TrainConfig,
    module: SlimModule,
    trained: Collection[str],
) -> Feed:
    """Images, augmented in training. `trained`: names of the variables that gradients change."""
    return Feed(
        forward=steps.training_forward(module, trained, config.seed),
        logits=lambda images: module.forward(images, is_training=False).logits,
        train_batches=functools.partial(dataset.train_batches, examples, config),
        eval_batches=functools.partial(dataset.eval_batches, examples, "eval"),
    )
