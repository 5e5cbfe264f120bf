"""Inception v1 (https://arxiv.org/abs/1409.4842) with batch norm, under TF-Slim's names."""

from __future__ import annotations

import functools

import tensorflow as tf

from slimworks.components.nets import inception_heads as heads
from slimworks.components.nets import pooling
from slimworks.components.nets.inception_modules import (
    Branch,
    EndPoints,
    Layer,
    Step,
    build_layer,
    build_module,
    build_up_to,
    inception_arg_scope,
)
from slimworks.components.nets.slim import slim

inception_v1_arg_scope = inception_arg_scope

_ROOT = (
    Layer("Conv2d_1a_7x7", 64, stride=2),
    Layer("MaxPool_2a_3x3", stride=2),
    Layer("Conv2d_2b_1x1", 64),
    Layer("Conv2d_2c_3x3", 192),
    Layer("MaxPool_3a_3x3", stride=2),
)
# Table 1 of the paper: depths of 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection.
_BODY: tuple[Layer | tuple[str, tuple[int, ...]], ...] = (
    ("Mixed_3b", (64, 96, 128, 16, 32, 32)),
    ("Mixed_3c", (128, 128, 192, 32, 96, 64)),
    Layer("MaxPool_4a_3x3", stride=2),
    ("Mixed_4b", (192, 96, 208, 16, 48, 64)),
    ("Mixed_4c", (160, 112, 224, 24, 64, 64)),
    ("Mixed_4d", (128, 128, 256, 24, 64, 64)),
    ("Mixed_4e", (112, 144, 288, 32, 64, 64)),
    ("Mixed_4f", (256, 160, 320, 32, 128, 128)),
    Layer("MaxPool_5a_2x2", stride=2),
    ("Mixed_5b", (256, 160, 320, 32, 128, 128)),
    ("Mixed_5c", (384, 192, 384, 48, 128, 128)),
)


def _branches(name: str, depths: tuple[int, ...]) -> tuple[Branch, ...]:
    # TF-Slim has 3x3 for the paper's 5x5, and its checkpoint this one odd name.
    second = "Conv2d_0a_3x3" if name == "Mixed_5b" else "Conv2d_0b_3x3"
    return (
        [Layer("Conv2d_0a_1x1", depths[0])],
        [Layer("Conv2d_0a_1x1", depths[1]), Layer("Conv2d_0b_3x3", depths[2])],
        [Layer("Conv2d_0a_1x1", depths[3]), Layer(second, depths[4])],
        [Layer("MaxPool_0a_3x3"), Layer("Conv2d_0b_1x1", depths[5])],
    )


def _steps(include_root_block: bool) -> list[Step]:
    steps: list[Step] = []
    for item in (*_ROOT, *_BODY) if include_root_block else _BODY:
        if isinstance(item, Layer):
            steps.append((item.scope, functools.partial(build_layer, layer=item)))
        else:
            name, depths = item
            branches = _branches(name, depths)
            steps.append((name, functools.partial(build_module, scope=name, branches=branches)))
    return steps


def inception_v1_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Mixed_5c",
    include_root_block: bool = True,
    scope: str = "InceptionV1",
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the convolutions up to and including `final_endpoint`.

    Args:
        inputs: [N, H, W, C] float32.
        final_endpoint: Conv2d_1a_7x7, MaxPool_2a_3x3, Conv2d_2b_1x1, Conv2d_2c_3x3,
            MaxPool_3a_3x3, Mixed_3b, Mixed_3c, MaxPool_4a_3x3, Mixed_4b to Mixed_4f,
            MaxPool_5a_2x2, Mixed_5b or Mixed_5c.
        include_root_block: Starts with the layers before Mixed_3b.
        scope: Prefix of the variable names.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: Unknown final_endpoint.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV1", [inputs]),
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=0.01),
        ),
    ):
        return build_up_to(final_endpoint, inputs, _steps(include_root_block))


def inception_v1(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    prediction_fn: heads.PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV1",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v1 for classification.

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
            net = pooling.pool(
                net,
                end_points,
                "AvgPool_0a_7x7",
                (7, 7),
                global_pool,
                stride=1,
                is_squeezed=bool(num_classes) and spatial_squeeze,
            )
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, dropout_keep_prob, scope="Dropout_0b")
            logits = heads.convolutional_logits(net, num_classes, "Conv2d_0c_1x1", spatial_squeeze)
        return heads.predict(logits, end_points, prediction_fn)


inception_v1.default_image_size = 224  # type: ignore[attr-defined]
