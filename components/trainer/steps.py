"""One optimiser update and one evaluation pass, as traced functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets.freezing import frozen_batch_norm, frozen_scopes
from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.optimizers import Optimizer

AUXILIARY_LOSS_WEIGHT = 0.4  # TF-Slim's, for inception v3's auxiliary head


class BatchMetrics(NamedTuple):
    """Scalars of one training batch, float32.

    Attributes:
        loss: Cross entropy of the main head: what the eval split's loss compares with.
        total_loss: What is minimised: with the auxiliary head and weight decay.
        accuracy: In training mode.
    """

    loss: tf.Tensor
    total_loss: tf.Tensor
    accuracy: tf.Tensor


@dataclasses.dataclass(frozen=True)
class SplitMetrics:
    """Loss (without weight decay) and accuracy over a split."""

    loss: float
    accuracy: float
    num_images: int


def trainable_variables(module: SlimModule, scopes: Sequence[str] | None) -> dict[str, tf.Variable]:
    """Trainable variables in the scopes (regular expressions from the start), each once.

    Raises:
        ConfigError: A scope matches nothing.
    """
    if scopes is None:
        return dict(module.trainable_by_name)
    for scope in scopes:
        if not any(re.match(scope, name) for name in module.trainable_by_name):
            known = sorted({"/".join(name.split("/")[:2]) for name in module.trainable_by_name})
            raise ConfigError(
                f"train.trainable_scopes: {scope!r} matches no variable.",
                f"Scopes of this net: {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}.",
            )
    return {
        name: variable
        for name, variable in module.trainable_by_name.items()
        if any(re.match(scope, name) for scope in scopes)
    }


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Softmax cross entropy, [N, K] and [N] -> [N].

    Smoothing as in TF-Slim: onehot * (1 - smoothing) + smoothing / K.
    """
    if label_smoothing == 0.0:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    num_classes = logits.shape[-1]
    targets = tf.one_hot(labels, num_classes) * (1.0 - label_smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(
        labels=targets + label_smoothing / num_classes, logits=logits
    )


def make_train_step(
    module: SlimModule, optimizer: Optimizer, trained: Sequence[Any], config: TrainConfig
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], BatchMetrics]:
    """Returns images float32 [N, H, W, C], labels int64 [N], step int64 [] -> the batch's metrics.

    The step updates the trained variables and the moving statistics of their layers; frozen
    layers normalise by the statistics that they have.
    """
    names = [n for n, v in module.variables_by_name.items() if any(v is t for t in trained)]
    frozen = frozen_scopes(module.variables_by_name, names)

    @tf.function(autograph=False)
    def train_step(images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> BatchMetrics:
        # Dropout draws from the graph's seed; TensorFlow's global one stays untouched.
        tf.compat.v1.get_default_graph().seed = config.seed
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            with frozen_batch_norm(frozen):
                outputs = module.forward(images, is_training=True, step=step)
            smoothing = config.label_smoothing
            loss = tf.reduce_mean(cross_entropy(outputs.logits, labels, smoothing))
            total_loss = loss + outputs.regularization_loss
            auxiliary = outputs.end_points.get("AuxLogits")
            if auxiliary is not None:
                extra = tf.reduce_mean(cross_entropy(auxiliary, labels, smoothing))
                total_loss += AUXILIARY_LOSS_WEIGHT * extra
        optimizer.apply(tape.gradient(total_loss, trained))
        correct = tf.equal(tf.argmax(outputs.logits, axis=-1), labels)
        return BatchMetrics(loss, total_loss, tf.reduce_mean(tf.cast(correct, tf.float32)))

    return train_step


def make_eval_step(
    module: SlimModule,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns (images, labels) -> (sum of losses, number correct), in inference mode."""

    @tf.function(autograph=False, reduce_retracing=True)
    def eval_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = module.forward(images, is_training=False).logits
        correct = tf.equal(tf.argmax(logits, axis=-1), labels)
        loss = tf.reduce_sum(cross_entropy(logits, labels, 0.0))
        return loss, tf.reduce_sum(tf.cast(correct, tf.int64))

    return eval_step


def evaluate_split(
    eval_step: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    batches: tf.data.Dataset,
) -> SplitMetrics:
    """Runs the evaluation step over every batch."""
    loss, num_correct, num_images = 0.0, 0, 0
    for images, labels in batches:
        batch_loss, batch_correct = eval_step(images, labels)
        loss += float(batch_loss)
        num_correct += int(batch_correct)
        num_images += int(labels.shape[0])
    return SplitMetrics(loss / num_images, num_correct / num_images, num_images)
