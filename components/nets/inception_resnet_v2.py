"""Inception-ResNet v2 (https://arxiv.org/abs/1602.07261) under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets import inception_heads as heads
from slimworks.components.nets.inception_modules import (
    Branch,
    EndPoints,
    Layer,
    Step,
    build_branches,
    build_layer,
    build_module,
    build_up_to,
)
from slimworks.components.nets.slim import slim

ActivationFn = Callable[[tf.Tensor], tf.Tensor]

_BLOCK35: tuple[Branch, ...] = (
    [Layer("Conv2d_1x1", 32)],
    [Layer("Conv2d_0a_1x1", 32), Layer("Conv2d_0b_3x3", 32)],
    [Layer("Conv2d_0a_1x1", 32), Layer("Conv2d_0b_3x3", 48), Layer("Conv2d_0c_3x3", 64)],
)
_BLOCK17: tuple[Branch, ...] = (
    [Layer("Conv2d_1x1", 192)],
    [Layer("Conv2d_0a_1x1", 128), Layer("Conv2d_0b_1x7", 160), Layer("Conv2d_0c_7x1", 192)],
)
_BLOCK8: tuple[Branch, ...] = (
    [Layer("Conv2d_1x1", 192)],
    [Layer("Conv2d_0a_1x1", 192), Layer("Conv2d_0b_1x3", 224), Layer("Conv2d_0c_3x1", 256)],
)
_MIXED_5B: tuple[Branch, ...] = (
    [Layer("Conv2d_1x1", 96)],
    [Layer("Conv2d_0a_1x1", 48), Layer("Conv2d_0b_5x5", 64)],
    [Layer("Conv2d_0a_1x1", 64), Layer("Conv2d_0b_3x3", 96), Layer("Conv2d_0c_3x3", 96)],
    [Layer("AvgPool_0a_3x3"), Layer("Conv2d_0b_1x1", 64)],
)


def block35(
    net: tf.Tensor,
    scale: float = 1.0,
    activation_fn: ActivationFn | None = tf.nn.relu,
    scope: str | None = None,
    reuse: bool | None = None,
) -> tf.Tensor:
    """Builds the residual block for 35x35 maps (figure 16); [N, H, W, C] keeps its shape."""
    with tf.compat.v1.variable_scope(scope, "Block35", [net], reuse=reuse):
        return _add_residual(net, _BLOCK35, scale, activation_fn)


def block17(
    net: tf.Tensor,
    scale: float = 1.0,
    activation_fn: ActivationFn | None = tf.nn.relu,
    scope: str | None = None,
    reuse: bool | None = None,
) -> tf.Tensor:
    """Builds the residual block for 17x17 maps (figure 17); [N, H, W, C] keeps its shape."""
    with tf.compat.v1.variable_scope(scope, "Block17", [net], reuse=reuse):
        return _add_residual(net, _BLOCK17, scale, activation_fn)


def block8(
    net: tf.Tensor,
    scale: float = 1.0,
    activation_fn: ActivationFn | None = tf.nn.relu,
    scope: str | None = None,
    reuse: bool | None = None,
) -> tf.Tensor:
    """Builds the residual block for 8x8 maps (figure 19); [N, H, W, C] keeps its shape."""
    with tf.compat.v1.variable_scope(scope, "Block8", [net], reuse=reuse):
        return _add_residual(net, _BLOCK8, scale, activation_fn)


def _add_residual(
    net: tf.Tensor, branches: Sequence[Branch], scale: float, activation_fn: ActivationFn | None
) -> tf.Tensor:
    mixed = build_branches(net, branches)
    # Linear, with biases instead of batch norm: the sum is what gets activated.
    residual = slim.conv2d(
        mixed,
        net.shape.as_list()[3],
        [1, 1],
        normalizer_fn=None,
        activation_fn=None,
        scope="Conv2d_1x1",
    )
    residual *= scale
    if activation_fn is tf.nn.relu6:  # both terms of the sum stay within 8-bit range
        residual = tf.clip_by_value(residual, -6.0, 6.0)
    net += residual
    return activation_fn(net) if activation_fn else net


def _repeat(
    net: tf.Tensor, block: Callable[..., tf.Tensor], times: int, scope: str, **options: Any
) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        for index in range(times):
            net = block(net, scope=f"{block.__name__}_{index + 1}", **options)
    return net


def _stem(padding: str) -> list[Step]:
    layers = (
        Layer("Conv2d_1a_3x3", 32, 2, padding),
        Layer("Conv2d_2a_3x3", 32, 1, padding),
        Layer("Conv2d_2b_3x3", 64),
        Layer("MaxPool_3a_3x3", 0, 2, padding),
        Layer("Conv2d_3b_1x1", 80, 1, padding),
        Layer("Conv2d_4a_3x3", 192, 1, padding),
        Layer("MaxPool_5a_3x3", 0, 2, padding),
    )
    return [(layer.scope, functools.partial(build_layer, layer=layer)) for layer in layers]


def _reduction_a(stride: int, padding: str) -> tuple[Branch, ...]:
    return (
        [Layer("Conv2d_1a_3x3", 384, stride, padding)],
        [
            Layer("Conv2d_0a_1x1", 256),
            Layer("Conv2d_0b_3x3", 256),
            Layer("Conv2d_1a_3x3", 384, stride, padding),
        ],
        [Layer("MaxPool_1a_3x3", 0, stride, padding)],
    )


def _reduction_b(padding: str) -> tuple[Branch, ...]:
    return (
        [Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_1a_3x3", 384, 2, padding)],
        [Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_1a_3x3", 288, 2, padding)],
        [
            Layer("Conv2d_0a_1x1", 256),
            Layer("Conv2d_0b_3x3", 288),
            Layer("Conv2d_1a_3x3", 320, 2, padding),
        ],
        [Layer("MaxPool_1a_3x3", 0, 2, padding)],
    )


def _steps(output_stride: int, padding: str, activation_fn: ActivationFn | None) -> list[Step]:
    # Beyond the output stride, stride becomes the atrous rate of the blocks that follow.
    stride, rate = (1, 2) if output_stride == 8 else (2, 1)

    def mixed_6a(net: tf.Tensor) -> tf.Tensor:
        net = _repeat(net, block35, 10, "Repeat", scale=0.17, activation_fn=activation_fn)
        return build_module(net, "Mixed_6a", _reduction_a(stride, padding))

    def pre_aux_logits(net: tf.Tensor) -> tf.Tensor:
        with slim.arg_scope([slim.conv2d], rate=rate):
            return _repeat(net, block17, 20, "Repeat_1", scale=0.10, activation_fn=activation_fn)

    def conv2d_7b(net: tf.Tensor) -> tf.Tensor:
        net = _repeat(net, block8, 9, "Repeat_2", scale=0.20, activation_fn=activation_fn)
        net = block8(net, activation_fn=None, scope="Block8")
        return build_layer(net, Layer("Conv2d_7b_1x1", 1536))

    return [
        *_stem(padding),
        ("Mixed_5b", functools.partial(build_module, scope="Mixed_5b", branches=_MIXED_5B)),
        ("Mixed_6a", mixed_6a),
        ("PreAuxLogits", pre_aux_logits),
        (
            "Mixed_7a",
            functools.partial(build_module, scope="Mixed_7a", branches=_reduction_b(padding)),
        ),
        ("Conv2d_7b_1x1", conv2d_7b),
    ]


def inception_resnet_v2_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Conv2d_7b_1x1",
    output_stride: int = 16,
    align_feature_maps: bool = False,
    scope: str | None = None,
    activation_fn: ActivationFn | None = tf.nn.relu,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the convolutions up to and including `final_endpoint`.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoint.
        final_endpoint: Conv2d_1a_3x3, Conv2d_2a_3x3, Conv2d_2b_3x3, MaxPool_3a_3x3,
            Conv2d_3b_1x1, Conv2d_4a_3x3, MaxPool_5a_3x3, Mixed_5b, Mixed_6a, PreAuxLogits,
            Mixed_7a or Conv2d_7b_1x1.
        output_stride: Input over output resolution at PreAuxLogits: 16, or 8 with atrous
            convolutions, which ends there.
        align_feature_maps: Pads every layer ("SAME"), so that feature maps of different depth lie
            on one grid.
        scope: Prefix of the variable names.
        activation_fn: Of the residual blocks.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: Unknown final_endpoint, or an output_stride that it cannot have.
    """
    if output_stride not in (8, 16):
        raise ValueError(f"output_stride is {output_stride}, expected 8 or 16.")
    if output_stride == 8 and final_endpoint in ("Mixed_7a", "Conv2d_7b_1x1"):
        raise ValueError(
            f"output_stride is 8, expected 16 for final_endpoint {final_endpoint!r}: 8 is possible "
            "up to PreAuxLogits."
        )
    padding = "SAME" if align_feature_maps else "VALID"
    steps = _steps(output_stride, padding, activation_fn)
    with tf.compat.v1.variable_scope(scope, "InceptionResnetV2", [inputs]):
        return build_up_to(final_endpoint, inputs, steps)


def inception_resnet_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1001,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    reuse: bool | None = None,
    scope: str = "InceptionResnetV2",
    create_aux_logits: bool = True,
    activation_fn: ActivationFn | None = tf.nn.relu,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception-ResNet v2 for classification.

    Arguments, result and errors as for `inception_v4`, and: activation_fn is that of the residual
    blocks; that of the other convolutions comes from the arg scope.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionResnetV2", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_resnet_v2_base(inputs, scope=outer, activation_fn=activation_fn)
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = heads.dense_auxiliary_logits(
                end_points["PreAuxLogits"],
                num_classes,
                "Conv2d_1a_3x3",  # so in TF-Slim, though it is a 5x5 pool
                "Conv2d_2a_5x5",
                "Logits",
            )
        with tf.compat.v1.variable_scope("Logits"):
            net = heads.pool_whole_map(net, end_points)
            if not num_classes:
                return net, end_points
            net = slim.dropout(slim.flatten(net), dropout_keep_prob, scope="Dropout")
            return heads.dense_logits(net, end_points, num_classes)


inception_resnet_v2.default_image_size = 299  # type: ignore[attr-defined]


def inception_resnet_v2_arg_scope(
    weight_decay: float = 0.00004,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: ActivationFn | None = tf.nn.relu,
    batch_norm_updates_collections: str | None = tf.compat.v1.GraphKeys.UPDATE_OPS,
    batch_norm_scale: bool = False,
) -> dict[str, Any]:
    """Returns the arg scope of Inception-ResNet v2: L2 on weights and biases, batch norm.

    Arguments as for `inception_arg_scope`; the initial weights are tf_slim's default (Xavier).
    """
    regularizer = slim.l2_regularizer(weight_decay)
    with (
        slim.arg_scope(
            [slim.conv2d, slim.fully_connected],
            weights_regularizer=regularizer,
            biases_regularizer=regularizer,
        ),
        slim.arg_scope(
            [slim.conv2d],
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm,
            normalizer_params={
                "decay": batch_norm_decay,
                "epsilon": batch_norm_epsilon,
                "updates_collections": batch_norm_updates_collections,
                "scale": batch_norm_scale,
            },
        ) as scope,
    ):
        return scope
