"""CifarNet for 32 px colour images, under TF-Slim's names (Krizhevsky's cuda-convnet)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from slimworks.components.nets.slim import slim

DEFAULT_IMAGE_SIZE = 32

_truncated_normal = tf.compat.v1.truncated_normal_initializer
# Local response normalisation with cuda-convnet's constants: window 9, alpha per element.
_normalize = functools.partial(
    tf.nn.local_response_normalization, depth_radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75
)


def cifarnet(
    images: tf.Tensor,
    num_classes: int | None = 10,
    is_training: bool = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., tf.Tensor] = slim.softmax,
    scope: str = "CifarNet",
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds CifarNet.

    Args:
        images: [N, H, W, C] float32; the published layout is for [N, 32, 32, 3].
        num_classes: K. None or 0 returns the features before the head.
        is_training: Dropout is active.
        dropout_keep_prob: Fraction of the activations of fc3 that training keeps, in (0, 1].
        prediction_fn: Maps logits to `end_points["Predictions"]`.
        scope: Prefix of the variable names.

    Returns:
        Logits [N, K] (features [N, 192] without a head) and activations by name.
    """
    end_points: dict[str, tf.Tensor] = {}
    with tf.compat.v1.variable_scope(scope, "CifarNet", [images]):
        net = end_points["conv1"] = slim.conv2d(images, 64, [5, 5], scope="conv1")
        net = end_points["pool1"] = slim.max_pool2d(net, [2, 2], 2, scope="pool1")
        net = _normalize(net, name="norm1")
        net = end_points["conv2"] = slim.conv2d(net, 64, [5, 5], scope="conv2")
        net = _normalize(net, name="norm2")
        net = end_points["pool2"] = slim.max_pool2d(net, [2, 2], 2, scope="pool2")
        net = end_points["Flatten"] = slim.flatten(net)
        net = end_points["fc3"] = slim.fully_connected(net, 384, scope="fc3")
        net = slim.dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout3")
        net = end_points["fc4"] = slim.fully_connected(net, 192, scope="fc4")
        if not num_classes:
            return net, end_points
        logits = slim.fully_connected(
            net,
            num_classes,
            biases_initializer=tf.compat.v1.zeros_initializer(),
            weights_initializer=_truncated_normal(stddev=1 / 192.0),
            weights_regularizer=None,
            activation_fn=None,
            scope="logits",
        )
    end_points["Logits"] = logits
    end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


cifarnet.default_image_size = DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]


def cifarnet_arg_scope(weight_decay: float = 0.004) -> dict[str, Any]:
    """Returns the arg scope of CifarNet: ReLU, and L2 on fc3 and fc4 only."""
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=_truncated_normal(stddev=5e-2),
            activation_fn=tf.nn.relu,
        ),
        slim.arg_scope(
            [slim.fully_connected],
            biases_initializer=tf.compat.v1.constant_initializer(0.1),
            weights_initializer=_truncated_normal(stddev=0.04),
            weights_regularizer=slim.l2_regularizer(weight_decay),
            activation_fn=tf.nn.relu,
        ) as scope,
    ):
        return scope
