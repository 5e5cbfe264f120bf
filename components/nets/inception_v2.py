"""Inception v2 (https://arxiv.org/abs/1502.03167) under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from slimworks.components.nets import inception_heads as heads
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
from slimworks.components.nets.widths import scaled_depth

inception_v2_arg_scope = inception_arg_scope

_ROOT = (
    Layer("MaxPool_2a_3x3", stride=2),
    Layer("Conv2d_2b_1x1", 64, stddev=0.1),
    Layer("Conv2d_2c_3x3", 192),
    Layer("MaxPool_3a_3x3", stride=2),
)


def _mixed(
    single: int, double: tuple[int, int], triple: tuple[int, int], pool: str, projected: int
) -> tuple[Branch, ...]:
    """A module that keeps the resolution, by depths: 1x1; 1x1, 3x3; 1x1, twice 3x3; pool, 1x1."""
    return (
        [Layer("Conv2d_0a_1x1", single)],
        [Layer("Conv2d_0a_1x1", double[0], stddev=0.09), Layer("Conv2d_0b_3x3", double[1])],
        [
            Layer("Conv2d_0a_1x1", triple[0], stddev=0.09),
            Layer("Conv2d_0b_3x3", triple[1]),
            Layer("Conv2d_0c_3x3", triple[1]),
        ],
        [Layer(pool), Layer("Conv2d_0b_1x1", projected, stddev=0.1)],
    )


def _reduction(double: tuple[int, int], triple: tuple[int, int]) -> tuple[Branch, ...]:
    """A module that halves the resolution."""
    return (
        [
            Layer("Conv2d_0a_1x1", double[0], stddev=0.09),
            Layer("Conv2d_1a_3x3", double[1], stride=2),
        ],
        [
            Layer("Conv2d_0a_1x1", triple[0], stddev=0.09),
            Layer("Conv2d_0b_3x3", triple[1]),
            Layer("Conv2d_1a_3x3", triple[1], stride=2),
        ],
        [Layer("MaxPool_1a_3x3", stride=2)],
    )


_MODULES = {
    "Mixed_3b": _mixed(64, (64, 64), (64, 96), "AvgPool_0a_3x3", 32),
    "Mixed_3c": _mixed(64, (64, 96), (64, 96), "AvgPool_0a_3x3", 64),
    "Mixed_4a": _reduction((128, 160), (64, 96)),
    "Mixed_4b": _mixed(224, (64, 96), (96, 128), "AvgPool_0a_3x3", 128),
    "Mixed_4c": _mixed(192, (96, 128), (96, 128), "AvgPool_0a_3x3", 128),
    "Mixed_4d": _mixed(160, (128, 160), (128, 160), "AvgPool_0a_3x3", 96),
    "Mixed_4e": _mixed(96, (128, 192), (160, 192), "AvgPool_0a_3x3", 96),
    "Mixed_5a": _reduction((128, 192), (192, 256)),
    "Mixed_5b": _mixed(352, (192, 320), (160, 224), "AvgPool_0a_3x3", 128),
    "Mixed_5c": _mixed(352, (192, 320), (192, 224), "MaxPool_0a_3x3", 128),
}


def _first_convolution(net: tf.Tensor, depth: int, use_separable_conv: bool) -> tf.Tensor:
    name = "Conv2d_1a_7x7"
    if not use_separable_conv:
        return build_layer(net, Layer(name, depth, stride=2, stddev=1.0))
    return slim.separable_conv2d(
        net,
        depth,
        [7, 7],
        # At most so many filters a colour that three colours do not exceed the output's depth.
        depth_multiplier=min(int(depth / 3), 8),
        stride=2,
        padding="SAME",
        weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=1.0),
        scope=name,
    )


def _steps(
    depth_of: Callable[[int], int], use_separable_conv: bool, include_root_block: bool, axis: int
) -> list[Step]:
    first = functools.partial(
        _first_convolution, depth=depth_of(64), use_separable_conv=use_separable_conv
    )
    root: list[Step] = [("Conv2d_1a_7x7", first)]
    for layer in _ROOT:
        build = functools.partial(build_layer, layer=layer, depth_of=depth_of)
        root.append((layer.scope, build))
    body: list[Step] = [
        (
            name,
            functools.partial(
                build_module, scope=name, branches=branches, depth_of=depth_of, axis=axis
            ),
        )
        for name, branches in _MODULES.items()
    ]
    return [*root, *body] if include_root_block else body


def inception_v2_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Mixed_5c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    use_separable_conv: bool = True,
    data_format: str = "NHWC",
    include_root_block: bool = True,
    scope: str | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the convolutions up to and including `final_endpoint`.

    Args:
        inputs: [N, H, W, C] float32, or [N, C, H, W] with data_format "NCHW".
        final_endpoint: Conv2d_1a_7x7, MaxPool_2a_3x3, Conv2d_2b_1x1, Conv2d_2c_3x3,
            MaxPool_3a_3x3, Mixed_3b, Mixed_3c, Mixed_4a to Mixed_4e or Mixed_5a to Mixed_5c.
        min_depth: Least number of channels of a layer when depth_multiplier < 1.
        depth_multiplier: Factor on the channels of every layer, > 0.
        use_separable_conv: The first layer is separable, as in the published checkpoint.
        data_format: "NHWC" or "NCHW"; TensorFlow has no CPU kernels for the latter's pools.
        include_root_block: Starts with the layers before Mixed_3b.
        scope: Prefix of the variable names.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: Unknown final_endpoint or data_format, depth_multiplier not above 0, or a
            separable first layer with "NCHW".
    """
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError(f"data_format is {data_format!r}, expected 'NHWC' or 'NCHW'.")
    if data_format == "NCHW" and use_separable_conv:
        raise ValueError("data_format 'NCHW' needs use_separable_conv=False.")
    depth_of = scaled_depth(depth_multiplier, min_depth)
    steps = _steps(depth_of, use_separable_conv, include_root_block, data_format.index("C"))
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV2", [inputs]),
        slim.arg_scope([slim.conv2d, slim.max_pool2d, slim.avg_pool2d], data_format=data_format),
    ):
        return build_up_to(final_endpoint, inputs, steps)


def inception_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: heads.PredictionFn = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV2",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v2 for classification.

    Arguments and result as for `inception_v1`, and: min_depth is the least number of channels of
    a layer when depth_multiplier, the factor on the channels of every layer, is below 1.

    Raises:
        ValueError: depth_multiplier is not above 0.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV2", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v2_base(
            inputs, scope=outer, min_depth=min_depth, depth_multiplier=depth_multiplier
        )
        return heads.windowed_head(
            net,
            end_points,
            num_classes,
            dropout_keep_prob,
            prediction_fn,
            spatial_squeeze,
            global_pool,
            window=(7, 7),
        )


inception_v2.default_image_size = 224  # type: ignore[attr-defined]
