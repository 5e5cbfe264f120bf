"""The heads of Inception networks: convolutional up to v3, dense from v4 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from slimworks.components.nets import pooling
from slimworks.components.nets.slim import slim

EndPoints = dict[str, tf.Tensor]
PredictionFn = Callable[..., tf.Tensor]


def convolutional_logits(
    net: tf.Tensor, num_classes: int, scope: str, spatial_squeeze: bool, **options: Any
) -> tf.Tensor:
    """Classifies each pixel of [N, H, W, C]: [N, H, W, K], or [N, K] when squeezed (H = W = 1)."""
    logits = slim.conv2d(
        net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope=scope, **options
    )
    return tf.squeeze(logits, [1, 2], name="SpatialSqueeze") if spatial_squeeze else logits


def predict(
    logits: tf.Tensor, end_points: EndPoints, prediction_fn: PredictionFn
) -> tuple[tf.Tensor, EndPoints]:
    """Records the logits and what `prediction_fn` makes of them, and returns both."""
    end_points["Logits"] = logits
    end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def windowed_head(
    net: tf.Tensor,
    end_points: EndPoints,
    num_classes: int | None,
    dropout_keep_prob: float,
    prediction_fn: PredictionFn,
    spatial_squeeze: bool,
    global_pool: bool,
    window: tuple[int, int],
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the head of v2 and v3 on the last feature map.

    Args:
        net: [N, H, W, C].
        end_points: Receives `AvgPool_1a` or `global_pool`, `PreLogits`, `Logits`, `Predictions`.
        num_classes: K. None or 0 stops after the pool.
        dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        prediction_fn: Maps logits to `end_points["Predictions"]`.
        spatial_squeeze: Logits are [N, K] instead of [N, 1, 1, K].
        global_pool: Averages over all of H and W instead of over `window`.
        window: Feature map of the published image size.

    Returns:
        Logits, or the pooled features without a head, and `end_points`.
    """
    with tf.compat.v1.variable_scope("Logits"):
        net = pooling.pool(
            net,
            end_points,
            "AvgPool_1a",
            window,
            global_pool,
            scope_has_size=True,
            is_squeezed=bool(num_classes) and spatial_squeeze,
        )
        if not num_classes:
            return net, end_points
        net = slim.dropout(net, keep_prob=dropout_keep_prob, scope="Dropout_1b")
        end_points["PreLogits"] = net
        logits = convolutional_logits(net, num_classes, "Conv2d_1c_1x1", spatial_squeeze)
    return predict(logits, end_points, prediction_fn)


def dense_auxiliary_logits(
    net: tf.Tensor, num_classes: int, pool_scope: str, conv_scope: str, logits_scope: str
) -> tf.Tensor:
    """Builds the auxiliary head of v4 and Inception-ResNet v2: [N, H, W, C] -> [N, K].

    Its second convolution covers the whole map, so its weights follow the image size (5x5 at
    299 px).

    Raises:
        ValueError: H and W are unknown.
    """
    if None in net.shape[1:3].as_list():
        raise ValueError(
            f"The auxiliary head needs a known height and width, got features {net.shape}; "
            "pass create_aux_logits=False."
        )
    with (
        slim.arg_scope([slim.conv2d, slim.avg_pool2d], padding="VALID"),
        tf.compat.v1.variable_scope("AuxLogits"),
    ):
        net = slim.avg_pool2d(net, [5, 5], stride=3, scope=pool_scope)
        net = slim.conv2d(net, 128, [1, 1], scope="Conv2d_1b_1x1")
        net = slim.conv2d(net, 768, net.shape[1:3].as_list(), scope=conv_scope)
        return slim.fully_connected(
            slim.flatten(net), num_classes, activation_fn=None, scope=logits_scope
        )


def pool_whole_map(net: tf.Tensor, end_points: EndPoints) -> tf.Tensor:
    """Averages [N, H, W, C] over H and W, known or not: [N, 1, 1, C], end point `global_pool`."""
    side = net.shape[1:3]
    if side.is_fully_defined():
        net = slim.avg_pool2d(net, side.as_list(), padding="VALID", scope="AvgPool_1a_8x8")
    else:
        net = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
    end_points["global_pool"] = net
    return net


def dense_logits(
    net: tf.Tensor, end_points: EndPoints, num_classes: int
) -> tuple[tf.Tensor, EndPoints]:
    """Ends v4 and Inception-ResNet v2 with [N, K] logits of [N, C], within their Logits scope."""
    end_points["PreLogitsFlatten"] = net
    logits = slim.fully_connected(net, num_classes, activation_fn=None, scope="Logits")
    end_points["Logits"] = logits
    end_points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    return logits, end_points
