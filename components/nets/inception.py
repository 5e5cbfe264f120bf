"""Inception v1, v2 and v3: tf_slim's bodies under TF-Slim's heads.

The heads of tf_slim 1.1.0 lack TF-Slim's later options (features without a head, images of any
size) and end points (`AvgPool_1a`, `PreLogits`), so they are built here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from slimworks.components.nets import pooling
from slimworks.components.nets.slim import published_nets, slim

_published = published_nets.inception

inception_v1_base = _published.inception_v1_base
inception_v2_base = _published.inception_v2_base
inception_v3_base = _published.inception_v3_base
inception_v1_arg_scope = _published.inception_v1_arg_scope
inception_v2_arg_scope = _published.inception_v2_arg_scope
inception_v3_arg_scope = _published.inception_v3_arg_scope

EndPoints = dict[str, tf.Tensor]
PredictionFn = Callable[..., tf.Tensor]


def _logits(net: tf.Tensor, num_classes: int, scope: str, squeeze: bool, **options: Any) -> Any:
    logits = slim.conv2d(
        net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope=scope, **options
    )
    return tf.squeeze(logits, [1, 2], name="SpatialSqueeze") if squeeze else logits


def _predict(
    logits: tf.Tensor, end_points: EndPoints, prediction_fn: PredictionFn
) -> tuple[tf.Tensor, EndPoints]:
    end_points["Logits"] = logits
    end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def inception_v1(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    prediction_fn: PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV1",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v1 (https://arxiv.org/abs/1409.4842) with batch norm.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoint.
        num_classes: K. None or 0 returns the pooled features before the head.
        is_training: Batch norm uses the batch's statistics, and dropout is active.
        dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        prediction_fn: Maps logits to `end_points["Predictions"]`.
        spatial_squeeze: Logits are [N, K] instead of [N, 1, 1, K].
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        global_pool: Averages over all of H and W, at any image size, instead of over 7x7.

    Returns:
        Logits (features [N, 1, 1, 1024] without a head) and activations by name.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV1", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v1_base(inputs, scope=outer)
        with tf.compat.v1.variable_scope("Logits"):
            # The published graph slides the window, hence the stride of 1.
            net = pooling.pool(net, end_points, "AvgPool_0a_7x7", (7, 7), global_pool, stride=1)
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, dropout_keep_prob, scope="Dropout_0b")
            logits = _logits(net, num_classes, "Conv2d_0c_1x1", spatial_squeeze)
        return _predict(logits, end_points, prediction_fn)


def inception_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV2",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v2 (https://arxiv.org/abs/1502.03167).

    Arguments and result as for `inception_v1`, and: min_depth is the least number of channels of
    a layer when depth_multiplier, the factor on the channels of every layer, is below 1.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV2", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v2_base(
            inputs, scope=outer, min_depth=min_depth, depth_multiplier=depth_multiplier
        )
        with tf.compat.v1.variable_scope("Logits"):
            net = pooling.pool(net, end_points, "AvgPool_1a", (7, 7), global_pool)
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, keep_prob=dropout_keep_prob, scope="Dropout_1b")
            end_points["PreLogits"] = net
            logits = _logits(net, num_classes, "Conv2d_1c_1x1", spatial_squeeze)
        return _predict(logits, end_points, prediction_fn)


def inception_v3(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    create_aux_logits: bool = True,
    scope: str = "InceptionV3",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v3 (https://arxiv.org/abs/1512.00567).

    Arguments and result as for `inception_v2`, and: create_aux_logits adds the auxiliary head,
    whose logits are `end_points["AuxLogits"]`. Its variables are named after its window, which
    follows the image size: 5x5 at 299.

    Raises:
        ValueError: depth_multiplier is not above 0.
    """
    if depth_multiplier <= 0:
        raise ValueError(f"depth_multiplier is {depth_multiplier}, expected a number above 0.")
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV3", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v3_base(
            inputs, scope=outer, min_depth=min_depth, depth_multiplier=depth_multiplier
        )
        if create_aux_logits and num_classes:
            depths = [max(int(depth * depth_multiplier), min_depth) for depth in (128, 768)]
            end_points["AuxLogits"] = _aux_logits(
                end_points["Mixed_6e"], num_classes, depths, spatial_squeeze, global_pool
            )
        with tf.compat.v1.variable_scope("Logits"):
            net = pooling.pool(net, end_points, "AvgPool_1a", (8, 8), global_pool)
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, keep_prob=dropout_keep_prob, scope="Dropout_1b")
            end_points["PreLogits"] = net
            logits = _logits(net, num_classes, "Conv2d_1c_1x1", spatial_squeeze)
        return _predict(logits, end_points, prediction_fn)


def _aux_logits(
    net: tf.Tensor,
    num_classes: int,
    depths: list[int],
    spatial_squeeze: bool,
    global_pool: bool,
) -> tf.Tensor:
    normal = tf.compat.v1.truncated_normal_initializer
    with (
        slim.arg_scope([slim.conv2d, slim.avg_pool2d], stride=1, padding="SAME"),
        tf.compat.v1.variable_scope("AuxLogits"),
    ):
        net = slim.avg_pool2d(net, [5, 5], stride=3, padding="VALID", scope="AvgPool_1a_5x5")
        net = slim.conv2d(net, depths[0], [1, 1], scope="Conv2d_1b_1x1")
        kernel = pooling.reduced_kernel(net, (5, 5))
        net = slim.conv2d(
            net,
            depths[1],
            kernel,
            weights_initializer=normal(stddev=0.01),
            padding="VALID",
            scope=f"Conv2d_2a_{kernel[0]}x{kernel[1]}",
        )
        if global_pool:  # from 340 px on, the window leaves more than 1x1
            net = tf.reduce_mean(net, [1, 2], keepdims=True)
        initializer = normal(stddev=0.001)
        return _logits(
            net, num_classes, "Conv2d_2b_1x1", spatial_squeeze, weights_initializer=initializer
        )


inception_v1.default_image_size = 224  # type: ignore[attr-defined]
inception_v2.default_image_size = 224  # type: ignore[attr-defined]
inception_v3.default_image_size = 299  # type: ignore[attr-defined]
