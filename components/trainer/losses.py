"""What training minimises for each example: softmax cross entropy, weighted or focal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from slimworks.components.trainer.config import TrainConfig

# Logits float32 [N, K], targets float32 [N, K] -> losses float32 [N].
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def training_loss(config: TrainConfig, class_counts: Callable[[], Sequence[int]]) -> Loss:
    """Returns the loss that `train.balance` and `train.label_smoothing` ask for.

    Args:
        config: Training settings.
        class_counts: Finds the number of training examples of each class, [K]; called only where
            they matter.
    """
    smoothing, gamma = config.label_smoothing, config.focal_gamma
    if config.balance == "focal":
        return lambda logits, targets: focal_loss(logits, targets, gamma, smoothing)
    if config.balance == "weights":
        weights = class_weights(class_counts())
        return lambda logits, targets: (
            tf.linalg.matvec(targets, weights) * cross_entropy(logits, targets, smoothing)
        )
    return lambda logits, targets: cross_entropy(logits, targets, smoothing)


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross entropy, smoothed as in TF-Slim.

    Args:
        logits: float32 [N, K].
        targets: float32 [N, K].
        label_smoothing: Targets become `targets * (1 - label_smoothing) + label_smoothing / K`.

    Returns:
        float32 [N].
    """
    return tf.nn.softmax_cross_entropy_with_logits(
        labels=_smoothed(targets, label_smoothing), logits=logits
    )


def focal_loss(
    logits: tf.Tensor, targets: tf.Tensor, gamma: float, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross entropy whose every term is scaled by (1 - probability) ** gamma (Lin et al. 2017).

    What the network is sure of counts less, so that the many easy images of large classes do not
    outweigh the rest. No class weights: `balance: weights` has them.

    Args:
        logits: float32 [N, K].
        targets: float32 [N, K].
        gamma: 0 is cross entropy.
        label_smoothing: As in `cross_entropy`.

    Returns:
        float32 [N].
    """
    log_probabilities = tf.nn.log_softmax(logits)
    # Not 1 - exp(.): its power has an infinite slope at 0 where gamma is below 1.
    unsure = tf.maximum(-tf.math.expm1(log_probabilities), 1e-7)
    terms = _smoothed(targets, label_smoothing) * unsure**gamma * log_probabilities
    return -tf.reduce_sum(terms, axis=-1)


def class_weights(class_counts: Sequence[int]) -> np.ndarray:
    """Inverse class frequencies, scaled to mean 1 over the examples.

    Every class that has examples weighs the same in an epoch, and the learning rate that suits
    unweighted training still suits.

    Args:
        class_counts: Number of examples of each class, [K].

    Returns:
        float32 [K]; 0 where a class has no examples.
    """
    counts = np.asarray(class_counts, np.float64)
    present = counts > 0
    weights = np.zeros_like(counts)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


def _smoothed(targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    if label_smoothing == 0.0:
        return targets
    return targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1]
