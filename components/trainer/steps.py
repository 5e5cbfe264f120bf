"""One optimiser update and one evaluation pass, as traced functions."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets.freezing import frozen_batch_norm, frozen_scopes
from slimworks.components.nets.module import Outputs, SlimModule
from slimworks.components.nets.randomness import images_from
from slimworks.components.trainer.accumulation import accumulate
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.losses import Loss, cross_entropy
from slimworks.components.trainer.optimizers import Optimizer

AUXILIARY_LOSS_WEIGHT = 0.4  # TF-Slim's, for inception v3's auxiliary head

# A batch's inputs, the number of updates so far -> what the network makes of them.
Forward = Callable[[tf.Tensor, tf.Tensor], Outputs]


class BatchMetrics(NamedTuple):
    """Scalars of one training batch, float32; one replica's are terms of the batch's.

    Attributes:
        loss: Cross entropy of the main head: what the eval split's loss compares with.
        total_loss: What is minimised: with the auxiliary head and weight decay. NaN where a
            gradient is not finite.
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


def training_forward(module: SlimModule, trained: Collection[str], seed: int) -> Forward:
    """Returns the network in training mode, layers of which nothing is trained in inference mode.

    Args:
        module: The network.
        trained: Names of the variables that gradients change.
        seed: Of dropout.
    """
    frozen = frozen_scopes(module.variables_by_name, trained)

    def forward(inputs: tf.Tensor, step: tf.Tensor) -> Outputs:
        with frozen_batch_norm(frozen):
            return module.forward(inputs, is_training=True, step=step, seed=seed)

    return forward


# tf.function needs a hash: of the identity.
@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """One optimiser update, of one replica; call it inside a tf.function.

    Attributes:
        forward: The network in training mode.
        loss: Loss of each example.
        trained: What gradients change.
        optimizer: Applies the gradients.
        batch_size: Images in the batches of all replicas together.
        micro_batch_size: Images at a time, see `accumulation`; None: all.
        after_update: Called with `step` when the variables have their new values.
    """

    forward: Forward
    loss: Loss
    trained: Sequence[tf.Variable]
    optimizer: Optimizer
    batch_size: int
    micro_batch_size: int | None = None
    after_update: Callable[[tf.Tensor], None] | None = None

    def __call__(self, batch: Batch, step: tf.Tensor) -> BatchMetrics:
        """Updates the trained variables and the moving statistics of their layers.

        Args:
            batch: This replica's part of the batch.
            step: int64 [], updates so far.
        """
        gradients, metrics = self.gradients(batch, step)
        self.optimizer.apply(gradients)
        if self.after_update is not None:
            self.after_update(step)
        return metrics._replace(total_loss=_nan_unless_finite(metrics.total_loss, gradients))

    def gradients(
        self, batch: Batch, step: tf.Tensor
    ) -> tuple[list[tf.Tensor | None], BatchMetrics]:
        """Returns this replica's terms of the gradients and of the metrics."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first_image = tf.cast(replica, tf.int64) * _num_images(batch)
        if self.micro_batch_size is None:
            with images_from(first_image):
                return self._gradients(batch, step)
        gradients, metrics = accumulate(
            lambda part: self._gradients(part, step),
            batch,
            micro_batch_size=self.micro_batch_size,
            variables=self.trained,
            num_metrics=len(BatchMetrics._fields),
            first_image=first_image,
        )
        return gradients, BatchMetrics(*metrics)

    def _gradients(
        self, batch: Batch, step: tf.Tensor
    ) -> tuple[list[tf.Tensor | None], BatchMetrics]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.trained)
            outputs = self.forward(batch.inputs, step)
            loss = self._mean(self.loss(outputs.logits, batch.targets))
            # Each part of the batch has its share of the L2 term.
            share = tf.cast(_num_images(batch), tf.float32) / self.batch_size
            total_loss = loss + outputs.regularization_loss * share
            auxiliary = outputs.end_points.get("AuxLogits")
            if auxiliary is not None:
                auxiliary_loss = self._mean(self.loss(auxiliary, batch.targets))
                total_loss += AUXILIARY_LOSS_WEIGHT * auxiliary_loss
        metrics = BatchMetrics(
            loss, total_loss, self._mean(is_correct(outputs.logits, batch.targets))
        )
        return tape.gradient(total_loss, self.trained), metrics

    def _mean(self, values: tf.Tensor) -> tf.Tensor:
        """This replica's term of the mean over the batch of all."""
        return tf.reduce_sum(values) / self.batch_size


def _num_images(batch: Batch) -> int | tf.Tensor:
    known: int | None = batch.inputs.shape[0]
    return tf.shape(batch.inputs, tf.int64)[0] if known is None else known


def _nan_unless_finite(loss: tf.Tensor, gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Returns the loss, or NaN where a gradient has an element that is NaN or infinite."""
    sums = [tf.reduce_sum(gradient) for gradient in gradients if gradient is not None]
    return tf.where(tf.math.is_finite(tf.add_n(sums)), loss, math.nan)


def is_correct(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """1 where the largest logit is the largest target's, else 0; [N, K], [N, K] -> float32 [N]."""
    correct = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(targets, axis=-1))
    return tf.cast(correct, tf.float32)


EvalStep = Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]


def make_eval_step(module: SlimModule) -> EvalStep:
    """Returns batch -> (sum of losses, number correct), in inference mode."""
    return eval_step_of(lambda images: module.forward(images, is_training=False).logits)


def eval_step_of(logits_of: Callable[[tf.Tensor], tf.Tensor]) -> EvalStep:
    """As `make_eval_step`, of any way from a batch's inputs to logits [N, K]."""

    @tf.function(autograph=False, reduce_retracing=True)
    def eval_step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        logits = logits_of(batch.inputs)
        loss = tf.reduce_sum(cross_entropy(logits, batch.targets))
        return loss, tf.reduce_sum(is_correct(logits, batch.targets))

    return eval_step


def evaluate_split(eval_step: EvalStep, batches: tf.data.Dataset) -> SplitMetrics:
    """Runs the evaluation step over every batch."""
    loss, num_correct, num_images = 0.0, 0, 0
    for batch in batches:
        batch_loss, batch_correct = eval_step(batch)
        loss += float(batch_loss)
        num_correct += int(batch_correct)
        num_images += int(batch.targets.shape[0])
    return SplitMetrics(loss / num_images, num_correct / num_images, num_images)
