"""MobileNet v1 (https://arxiv.org/abs/1704.04861) under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from slimworks.components.nets import pooling
from slimworks.components.nets.atrous import strides_and_rates
from slimworks.components.nets.mobilenet.conv_blocks import pad_like_same
from slimworks.components.nets.slim import slim
from slimworks.components.nets.widths import scaled_depth

DEFAULT_IMAGE_SIZE = 224

EndPoints = dict[str, tf.Tensor]


class Conv(NamedTuple):
    """One full convolution."""

    kernel: tuple[int, int]
    stride: int
    depth: int


class DepthSepConv(NamedTuple):
    """One depthwise convolution followed by a pointwise (1x1) one."""

    kernel: tuple[int, int]
    stride: int
    depth: int


# Table 1 of the paper.
MOBILENETV1_CONV_DEFS: tuple[Conv | DepthSepConv, ...] = (
    Conv((3, 3), 2, 32),
    DepthSepConv((3, 3), 1, 64),
    DepthSepConv((3, 3), 2, 128),
    DepthSepConv((3, 3), 1, 128),
    DepthSepConv((3, 3), 2, 256),
    DepthSepConv((3, 3), 1, 256),
    DepthSepConv((3, 3), 2, 512),
    *(DepthSepConv((3, 3), 1, 512),) * 5,
    DepthSepConv((3, 3), 2, 1024),
    DepthSepConv((3, 3), 1, 1024),
)


def mobilenet_v1_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Conv2d_13_pointwise",
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the convolutions up to and including `final_endpoint`.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        final_endpoint: `Conv2d_0`, or `Conv2d_I_depthwise` or `Conv2d_I_pointwise`, I in 1..13.
        min_depth: Least number of channels of a layer when depth_multiplier < 1.
        depth_multiplier: Factor on the channels of every layer, > 0.
        conv_defs: The layers; None for the paper's.
        output_stride: Input over output resolution: None for the paper's 32, or 8, 16, 32. Layers
            beyond it become atrous. (1, 2 and 4 work too, with the same arithmetic.)
        use_explicit_padding: Pads before VALID convolutions, so that the padding does not depend
            on the image size.
        scope: Prefix of the variable names.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: Unknown final_endpoint, or a depth_multiplier or output_stride out of range.
    """
    depth_of = scaled_depth(depth_multiplier, min_depth)
    if output_stride is not None and output_stride not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"output_stride is {output_stride}, expected 1, 2, 4, 8, 16, 32 or None.")
    layers = MOBILENETV1_CONV_DEFS if conv_defs is None else conv_defs
    padding = "VALID" if use_explicit_padding else "SAME"
    end_points: EndPoints = {}
    net = inputs
    with (
        tf.compat.v1.variable_scope(scope, "MobilenetV1", [inputs]),
        slim.arg_scope([slim.conv2d, slim.separable_conv2d], padding=padding),
    ):
        plan = strides_and_rates([layer.stride for layer in layers], output_stride)
        for index, (layer, (stride, rate)) in enumerate(zip(layers, plan, strict=True)):
            if use_explicit_padding:
                net = pad_like_same(net, layer.kernel, rate)
            built = _layer(net, layer, f"Conv2d_{index}", depth_of(layer.depth), stride, rate)
            for name, activation in built:
                end_points[name] = net = activation
                if name == final_endpoint:
                    return net, end_points
    raise ValueError(f"Unknown final_endpoint {final_endpoint!r}, known: {', '.join(end_points)}.")


def _layer(
    net: tf.Tensor, layer: Conv | DepthSepConv, name: str, depth: int, stride: int, rate: int
) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields (end point, activation) of one layer, built as far as the caller asks."""
    if isinstance(layer, Conv):
        yield name, slim.conv2d(net, depth, layer.kernel, stride=stride, scope=name)
        return
    net = slim.separable_conv2d(
        net,
        None,  # depthwise only
        layer.kernel,
        depth_multiplier=1,
        stride=stride,
        rate=rate,
        scope=f"{name}_depthwise",
    )
    yield f"{name}_depthwise", net
    yield (
        f"{name}_pointwise",
        slim.conv2d(net, depth, [1, 1], stride=1, scope=f"{name}_pointwise"),
    )


def mobilenet_v1(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    dropout_keep_prob: float = 0.999,
    is_training: bool = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "MobilenetV1",
    global_pool: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds MobileNet v1 for classification.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        num_classes: K. None or 0 returns the pooled features before the head.
        dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        is_training: Batch norm uses the batch's statistics, and dropout is active.
        min_depth: Least number of channels of a layer when depth_multiplier < 1.
        depth_multiplier: Factor on the channels of every layer, > 0.
        conv_defs: The layers; None for the paper's.
        prediction_fn: Maps logits to `end_points["Predictions"]`; None for no such end point.
        spatial_squeeze: Logits are [N, K] instead of [N, 1, 1, K].
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        global_pool: Averages over all of H and W, at any image size, instead of over at most 7x7.

    Returns:
        Logits (features [N, 1, 1, D] without a head) and activations by name.

    Raises:
        ValueError: inputs is not of rank 4, or an option is out of range.
    """
    if inputs.shape.rank != 4:
        raise ValueError(f"inputs has shape {inputs.shape}, expected [N, H, W, C].")
    with (
        tf.compat.v1.variable_scope(scope, "MobilenetV1", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = mobilenet_v1_base(
            inputs,
            scope=outer,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            conv_defs=conv_defs,
        )
        with tf.compat.v1.variable_scope("Logits"):
            is_squeezed = bool(num_classes) and spatial_squeeze
            net = pooling.pool(
                net, end_points, "AvgPool_1a", (7, 7), global_pool, is_squeezed=is_squeezed
            )
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, keep_prob=dropout_keep_prob, scope="Dropout_1b")
            logits = slim.conv2d(
                net,
                num_classes,
                [1, 1],
                activation_fn=None,
                normalizer_fn=None,
                scope="Conv2d_1c_1x1",
            )
            if spatial_squeeze:
                logits = tf.squeeze(logits, [1, 2], name="SpatialSqueeze")
        end_points["Logits"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


mobilenet_v1.default_image_size = DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]


def _of_width(depth_multiplier: float) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    network = functools.partial(mobilenet_v1, depth_multiplier=depth_multiplier)
    functools.update_wrapper(network, mobilenet_v1)
    return network


mobilenet_v1_075 = _of_width(0.75)
mobilenet_v1_050 = _of_width(0.50)
mobilenet_v1_025 = _of_width(0.25)


def mobilenet_v1_arg_scope(
    is_training: bool | None = True,
    weight_decay: float = 0.00004,
    stddev: float = 0.09,
    regularize_depthwise: bool = False,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    batch_norm_updates_collections: str | None = tf.compat.v1.GraphKeys.UPDATE_OPS,
    normalizer_fn: Callable[..., tf.Tensor] = slim.batch_norm,
) -> dict[str, Any]:
    """Returns the arg scope of MobileNet v1: ReLU6, batch norm, L2 without depthwise weights."""
    batch_norm = {
        "center": True,
        "scale": True,
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
    }
    if is_training is not None:
        batch_norm["is_training"] = is_training
    regularizer = slim.l2_regularizer(weight_decay)
    with (
        slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=stddev),
            activation_fn=tf.nn.relu6,
            normalizer_fn=normalizer_fn,
        ),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        slim.arg_scope([slim.conv2d], weights_regularizer=regularizer),
        # "Little or no weight decay on the depthwise filters" (section 3.2 of the paper).
        slim.arg_scope(
            [slim.separable_conv2d],
            weights_regularizer=regularizer if regularize_depthwise else None,
        ) as scope,
    ):
        return scope
