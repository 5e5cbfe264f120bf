"""Inception v4 (https://arxiv.org/abs/1602.07261) under TF-Slim's names."""

from __future__ import annotations

import functools

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

inception_v4_arg_scope = inception_arg_scope

_halving = functools.partial(Layer, stride=2, padding="VALID")
_cropping = functools.partial(Layer, padding="VALID")

# Figure 3 of the paper: the stem.
_STEM_LAYERS = (
    _halving("Conv2d_1a_3x3", 32),
    _cropping("Conv2d_2a_3x3", 32),
    Layer("Conv2d_2b_3x3", 64),
)
_STEM_MODULES: dict[str, tuple[Branch, ...]] = {
    "Mixed_3a": ([_halving("MaxPool_0a_3x3")], [_halving("Conv2d_0a_3x3", 96)]),
    "Mixed_4a": (
        [Layer("Conv2d_0a_1x1", 64), _cropping("Conv2d_1a_3x3", 96)],
        [
            Layer("Conv2d_0a_1x1", 64),
            Layer("Conv2d_0b_1x7", 64),
            Layer("Conv2d_0c_7x1", 64),
            _cropping("Conv2d_1a_3x3", 96),
        ],
    ),
    "Mixed_5a": ([_halving("Conv2d_1a_3x3", 192)], [_halving("MaxPool_1a_3x3")]),
}
# Figures 4, 7, 5, 8 and 6.
_INCEPTION_A: tuple[Branch, ...] = (
    [Layer("Conv2d_0a_1x1", 96)],
    [Layer("Conv2d_0a_1x1", 64), Layer("Conv2d_0b_3x3", 96)],
    [Layer("Conv2d_0a_1x1", 64), Layer("Conv2d_0b_3x3", 96), Layer("Conv2d_0c_3x3", 96)],
    [Layer("AvgPool_0a_3x3"), Layer("Conv2d_0b_1x1", 96)],
)
_REDUCTION_A: tuple[Branch, ...] = (
    [_halving("Conv2d_1a_3x3", 384)],
    [Layer("Conv2d_0a_1x1", 192), Layer("Conv2d_0b_3x3", 224), _halving("Conv2d_1a_3x3", 256)],
    [_halving("MaxPool_1a_3x3")],
)
_INCEPTION_B: tuple[Branch, ...] = (
    [Layer("Conv2d_0a_1x1", 384)],
    [Layer("Conv2d_0a_1x1", 192), Layer("Conv2d_0b_1x7", 224), Layer("Conv2d_0c_7x1", 256)],
    [
        Layer("Conv2d_0a_1x1", 192),
        Layer("Conv2d_0b_7x1", 192),
        Layer("Conv2d_0c_1x7", 224),
        Layer("Conv2d_0d_7x1", 224),
        Layer("Conv2d_0e_1x7", 256),
    ],
    [Layer("AvgPool_0a_3x3"), Layer("Conv2d_0b_1x1", 128)],
)
_REDUCTION_B: tuple[Branch, ...] = (
    [Layer("Conv2d_0a_1x1", 192), _halving("Conv2d_1a_3x3", 192)],
    [
        Layer("Conv2d_0a_1x1", 256),
        Layer("Conv2d_0b_1x7", 256),
        Layer("Conv2d_0c_7x1", 320),
        _halving("Conv2d_1a_3x3", 320),
    ],
    [_halving("MaxPool_1a_3x3")],
)
_INCEPTION_C: tuple[Branch, ...] = (
    [Layer("Conv2d_0a_1x1", 256)],
    [Layer("Conv2d_0a_1x1", 384), [Layer("Conv2d_0b_1x3", 256), Layer("Conv2d_0c_3x1", 256)]],
    [
        Layer("Conv2d_0a_1x1", 384),
        Layer("Conv2d_0b_3x1", 448),
        Layer("Conv2d_0c_1x3", 512),
        [Layer("Conv2d_0d_1x3", 256), Layer("Conv2d_0e_3x1", 256)],
    ],
    [Layer("AvgPool_0a_3x3"), Layer("Conv2d_0b_1x1", 256)],
)


def block_inception_a(
    inputs: tf.Tensor, scope: str | None = None, reuse: bool | None = None
) -> tf.Tensor:
    """Builds an Inception-A block (figure 4): [N, H, W, C] -> [N, H, W, 384]."""
    return build_module(inputs, scope, _INCEPTION_A, "BlockInceptionA", reuse)


def block_reduction_a(
    inputs: tf.Tensor, scope: str | None = None, reuse: bool | None = None
) -> tf.Tensor:
    """Builds a Reduction-A block (figure 7), which halves H and W and adds 640 channels."""
    return build_module(inputs, scope, _REDUCTION_A, "BlockReductionA", reuse)


def block_inception_b(
    inputs: tf.Tensor, scope: str | None = None, reuse: bool | None = None
) -> tf.Tensor:
    """Builds an Inception-B block (figure 5): [N, H, W, C] -> [N, H, W, 1024]."""
    return build_module(inputs, scope, _INCEPTION_B, "BlockInceptionB", reuse)


def block_reduction_b(
    inputs: tf.Tensor, scope: str | None = None, reuse: bool | None = None
) -> tf.Tensor:
    """Builds a Reduction-B block (figure 8), which halves H and W and adds 512 channels."""
    return build_module(inputs, scope, _REDUCTION_B, "BlockReductionB", reuse)


def block_inception_c(
    inputs: tf.Tensor, scope: str | None = None, reuse: bool | None = None
) -> tf.Tensor:
    """Builds an Inception-C block (figure 6): [N, H, W, C] -> [N, H, W, 1536]."""
    return build_module(inputs, scope, _INCEPTION_C, "BlockInceptionC", reuse)


def _steps() -> list[Step]:
    steps: list[Step] = [
        (layer.scope, functools.partial(build_layer, layer=layer)) for layer in _STEM_LAYERS
    ]
    for name, branches in _STEM_MODULES.items():
        steps.append((name, functools.partial(build_module, scope=name, branches=branches)))
    for names, block in (
        ("5b 5c 5d 5e", block_inception_a),
        ("6a", block_reduction_a),
        ("6b 6c 6d 6e 6f 6g 6h", block_inception_b),
        ("7a", block_reduction_b),
        ("7b 7c 7d", block_inception_c),
    ):
        for name in names.split():
            steps.append((f"Mixed_{name}", functools.partial(block, scope=f"Mixed_{name}")))
    return steps


def inception_v4_base(
    inputs: tf.Tensor, final_endpoint: str = "Mixed_7d", scope: str | None = None
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the convolutions up to and including `final_endpoint`.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoint.
        final_endpoint: Conv2d_1a_3x3, Conv2d_2a_3x3, Conv2d_2b_3x3, Mixed_3a, Mixed_4a, Mixed_5a
            to Mixed_5e, Mixed_6a to Mixed_6h or Mixed_7a to Mixed_7d.
        scope: Prefix of the variable names.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: Unknown final_endpoint.
    """
    with tf.compat.v1.variable_scope(scope, "InceptionV4", [inputs]):
        return build_up_to(final_endpoint, inputs, _steps())


def inception_v4(
    inputs: tf.Tensor,
    num_classes: int | None = 1001,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    reuse: bool | None = None,
    scope: str = "InceptionV4",
    create_aux_logits: bool = True,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds Inception v4 for classification.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoint. H and W may be
            unknown without the auxiliary head.
        num_classes: K. None or 0 returns the pooled features before the heads.
        is_training: Batch norm uses the batch's statistics, and dropout is active.
        dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        create_aux_logits: Adds the auxiliary head, whose logits are `end_points["AuxLogits"]`. Its
            weights follow the image size.

    Returns:
        Logits [N, K] (features [N, 1, 1, 1536] without a head) and activations by name.

    Raises:
        ValueError: The auxiliary head was asked for, and H or W is unknown.
    """
    with (
        tf.compat.v1.variable_scope(scope, "InceptionV4", [inputs], reuse=reuse) as outer,
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net, end_points = inception_v4_base(inputs, scope=outer)
        if create_aux_logits and num_classes:
            end_points["AuxLogits"] = heads.dense_auxiliary_logits(
                end_points["Mixed_6h"], num_classes, "AvgPool_1a_5x5", "Conv2d_2a", "Aux_logits"
            )
        with tf.compat.v1.variable_scope("Logits"):
            net = heads.pool_whole_map(net, end_points)
            if not num_classes:
                return net, end_points
            net = slim.dropout(net, dropout_keep_prob, scope="Dropout_1b")
            net = slim.flatten(net, scope="PreLogitsFlatten")
            return heads.dense_logits(net, end_points, num_classes)


inception_v4.default_image_size = 299  # type: ignore[attr-defined]
