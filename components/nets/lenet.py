"""LeNet for small grey images, under TF-Slim's names (LeCun et al. 1998, as modified there)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from slimworks.components.nets.slim import slim

DEFAULT_IMAGE_SIZE = 28


def lenet(
    images: tf.Tensor,
    num_classes: int | None = 10,
    is_training: bool = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., tf.Tensor] = slim.softmax,
    scope: str = "LeNet",
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds LeNet.

    Args:
        images: [N, H, W, C] float32; the published layout is for [N, 28, 28, 1].
        num_classes: K. None or 0 returns the features before the head.
        is_training: Dropout is active.
        dropout_keep_prob: Fraction of the activations of fc3 that training keeps, in (0, 1].
        prediction_fn: Maps logits to `end_points["Predictions"]`.
        scope: Prefix of the variable names.

    Returns:
        Logits [N, K] (features [N, 1024] without a head) and activations by name.
    """
    end_points: dict[str, tf.Tensor] = {}
    with tf.compat.v1.variable_scope(scope, "LeNet", [images]):
        net = end_points["conv1"] = slim.conv2d(images, 32, [5, 5], scope="conv1")
        net = end_points["pool1"] = slim.max_pool2d(net, [2, 2], 2, scope="pool1")
        net = end_points["conv2"] = slim.conv2d(net, 64, [5, 5], scope="conv2")
        net = end_points["pool2"] = slim.max_pool2d(net, [2, 2], 2, scope="pool2")
        net = end_points["Flatten"] = slim.flatten(net)
        net = end_points["fc3"] = slim.fully_connected(net, 1024, scope="fc3")
        if not num_classes:
            return net, end_points
        net = end_points["dropout3"] = slim.dropout(
            net, dropout_keep_prob, is_training=is_training, scope="dropout3"
        )
        logits = slim.fully_connected(net, num_classes, activation_fn=None, scope="fc4")
    end_points["Logits"] = logits
    end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


lenet.default_image_size = DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]


def lenet_arg_scope(weight_decay: float = 0.0) -> dict[str, Any]:
    """Returns the arg scope of LeNet: L2 on every weight, ReLU, truncated normal 0.1."""
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        weights_regularizer=slim.l2_regularizer(weight_decay),
        weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=0.1),
        activation_fn=tf.nn.relu,
    ) as scope:
        return scope
