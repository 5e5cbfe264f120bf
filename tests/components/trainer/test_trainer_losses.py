"""Losses of one example: TF-Slim's cross entropy, class weights, focal."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.trainer import losses
from slimworks.components.trainer.config import TrainConfig

RANDOM = np.random.default_rng(2)
LOGITS = tf.constant(3 * RANDOM.standard_normal((6, 4)), tf.float32)
CLASSES = [0, 1, 2, 3, 1, 0]
TARGETS = tf.one_hot(CLASSES, 4)
MIXED = 0.7 * TARGETS + 0.3 * tf.roll(TARGETS, 1, axis=0)


def _never() -> list[int]:
    raise AssertionError("counting reads the whole split")


def _loss(**settings: object) -> losses.Loss:
    return losses.training_loss(TrainConfig.model_validate(settings), _never)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_is_tf_slims_softmax_cross_entropy(smoothing: float) -> None:
    logits, targets = LOGITS.numpy(), TARGETS.numpy()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = session.run(
            tf.compat.v1.losses.softmax_cross_entropy(
                tf.constant(targets), tf.constant(logits), label_smoothing=smoothing
            )
        )
    loss = _loss(label_smoothing=smoothing)(LOGITS, TARGETS)
    assert loss.shape == (6,)
    np.testing.assert_allclose(tf.reduce_mean(loss), expected, rtol=1e-6)


def test_a_mixed_target_costs_the_mixture_of_both() -> None:
    loss = _loss(label_smoothing=0.1)
    other = loss(LOGITS, tf.roll(TARGETS, 1, axis=0))
    np.testing.assert_allclose(
        loss(LOGITS, MIXED), 0.7 * loss(LOGITS, TARGETS) + 0.3 * other, rtol=1e-5
    )


def test_weights_are_inverse_frequencies_with_mean_1_over_the_examples() -> None:
    counts = [10, 0, 30, 60]
    weights = losses.class_weights(counts)
    np.testing.assert_allclose(np.dot(counts, weights) / 100, 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights * counts, [100 / 3, 0, 100 / 3, 100 / 3], rtol=1e-6)
    assert (losses.class_weights([7, 7]) == 1).all()


def test_weighted_loss_weighs_each_example_by_its_classes() -> None:
    counts = [1, 2, 3, 4]
    config = TrainConfig(balance="weights", label_smoothing=0.1)
    loss = losses.training_loss(config, lambda: counts)
    plain = _loss(label_smoothing=0.1)
    weights = losses.class_weights(counts)
    np.testing.assert_allclose(
        loss(LOGITS, TARGETS), weights[CLASSES] * plain(LOGITS, TARGETS), rtol=1e-6
    )
    np.testing.assert_allclose(
        loss(LOGITS, MIXED), (MIXED.numpy() @ weights) * plain(LOGITS, MIXED), rtol=1e-5
    )


def test_focal_loss_is_cross_entropy_scaled_by_doubt() -> None:
    probability = tf.reduce_sum(tf.nn.softmax(LOGITS) * TARGETS, axis=1)
    expected = -((1 - probability) ** 2) * tf.math.log(probability)
    np.testing.assert_allclose(_loss(balance="focal")(LOGITS, TARGETS), expected, rtol=1e-4)
    plain = _loss()(LOGITS, MIXED)
    np.testing.assert_allclose(_loss(balance="focal", focal_gamma=0)(LOGITS, MIXED), plain, 1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_has_finite_gradients_at_certainty(gamma: float) -> None:
    logits = tf.Variable([[60.0, -60.0], [-60.0, 60.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.focal_loss(logits, tf.one_hot([0, 0, 1], 2), gamma)
    assert np.isfinite(loss).all()
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[1, 0] < -0.5, "a sure mistake is corrected"


def test_no_loss_but_weights_counts_the_classes() -> None:
    for balance in ("none", "sample", "focal"):
        assert _loss(balance=balance)(LOGITS, TARGETS).shape == (6,)
    with pytest.raises(AssertionError, match="reads the whole split"):
        _loss(balance="weights")
