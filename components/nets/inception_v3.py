"""Inception v3 (https://arxiv.org/abs/1512.00567): tf_slim's body under TF-Slim's heads.

The heads of tf_slim 1.1.0 lack TF-Slim's later options (features without a head, images of any
size) and end points (`AvgPool_1a`, `PreLogits`), so they are built here.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets import inception_heads as heads
from slimworks.components.nets import pooling
from slimworks.components.nets.inception_modules import (
    EndPoints,
    inception_arg_scope,
)
from slimworks.components.nets.slim import published_nets, slim
from slimworks.components.nets.widths import scaled_depth

inception_v3_base = published_nets.inception.inception_v3_base
inception_v3_arg_scope = inception_arg_scope


def inception_v3(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: heads.PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    create_aux_logits: bool = True,
    scope: str = "InceptionV3",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v3 for classification.

    Arguments and result as for `inception_v2`, and: create_aux_logits adds the auxiliary head,
    whose logits are `end_points["AuxLogits"]`. Its variables are named after its window, which
    follows the image size: 5x5 at 299.

    Raises:
        ValueError: depth_multiplier is not above 0.
    """
    depth_of = scaled_depth(depth_multiplier, min_depth)
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV3", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v3_base(
            inputs, scope=outer, min_depth=min_depth, depth_multiplier=depth_multiplier
        )
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = _aux_logits(
                end_points["Mixed_6e"],
                num_classes,
                (depth_of(128), depth_of(768)),
                spatial_squeeze,
                global_pool,
            )
        return heads.windowed_head(
            net,
            end_points,
            num_classes,
            dropout_keep_prob,
            prediction_fn,
            spatial_squeeze,
            global_pool,
            window=(8, 8),
        )


def _aux_logits(
    net: tf.Tensor,
    num_classes: int,
    depths: tuple[int, int],
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
        # From 340 px on, the window leaves more than 1x1 (TF-Slim fails there).
        if global_pool or (spatial_squeeze and pooling.has_more_than_one_pixel(net)):
            net = tf.reduce_mean(net, [1, 2], keepdims=True)
        return heads.convolutional_logits(
            net,
            num_classes,
            "Conv2d_2b_1x1",
            spatial_squeeze,
            weights_initializer=normal(stddev=0.001),
        )


inception_v3.default_image_size = 299  # type: ignore[attr-defined]
