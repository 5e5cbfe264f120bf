"""Stems and heads that NASNet and PNASNet share, and the building up to an end point."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from slimworks.components.nets.nasnet import operations
from slimworks.components.nets.nasnet.hparams import HParams
from slimworks.components.nets.slim import slim

EndPoints = dict[str, tf.Tensor]
Activations = Iterator[tuple[str, tf.Tensor]]

_WITH_DATA_FORMAT = (
    slim.avg_pool2d,
    slim.max_pool2d,
    slim.conv2d,
    slim.batch_norm,
    slim.separable_conv2d,
    operations.factorized_reduction,
    operations.get_channel_dim,
    operations.get_channel_index,
    operations.global_avg_pool,
)


def arg_scope(
    weight_decay: float, batch_norm_decay: float, batch_norm_epsilon: float
) -> dict[str, Any]:
    """Returns the arg scope of the family: layers without activation, batch norm apart."""
    with (
        slim.arg_scope(
            [slim.fully_connected, slim.conv2d, slim.separable_conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=slim.variance_scaling_initializer(mode="FAN_OUT"),
            activation_fn=None,
        ),
        slim.arg_scope([slim.conv2d, slim.separable_conv2d], biases_initializer=None),
        slim.arg_scope([slim.fully_connected], scope="FC"),
        slim.arg_scope(
            [slim.batch_norm],
            decay=batch_norm_decay,
            epsilon=batch_norm_epsilon,
            scale=True,
            fused=True,
        ) as scope,
    ):
        return scope


@contextlib.contextmanager
def layer_defaults(hparams: HParams, is_training: bool) -> Iterator[None]:
    """Within it, layers know the data format and whether this is training."""
    with (
        slim.arg_scope(
            [slim.dropout, slim.batch_norm, operations.drop_path], is_training=is_training
        ),
        slim.arg_scope(_WITH_DATA_FORMAT, data_format=hparams.data_format),
    ):
        yield


def formatted(images: tf.Tensor, hparams: HParams) -> tf.Tensor:
    """Brings images [N, H, W, C] to the data format of the layers.

    Raises:
        ValueError: The images are not of rank 4, or their height and width are not static.
    """
    if images.shape.rank != 4 or None in images.shape.as_list()[1:]:
        raise ValueError(
            f"images has shape {images.shape}, expected [N, H, W, C] with static H, W and C."
        )
    return tf.transpose(images, [0, 3, 1, 2]) if hparams.data_format == "NCHW" else images


def build_until(
    activations: Activations, final_endpoint: str | None
) -> tuple[tf.Tensor, EndPoints]:
    """Builds activations up to `final_endpoint`; None for all.

    Returns:
        The activation named `final_endpoint`; else the logits, or the features without a head. And
        all activations by name.

    Raises:
        ValueError: No activation is named `final_endpoint`.
    """
    end_points: EndPoints = {}
    for name, activation in activations:
        end_points[name] = activation
        if name == final_endpoint:
            return activation, end_points
    if final_endpoint is not None:
        known = ", ".join(end_points)
        raise ValueError(f"Unknown final_endpoint {final_endpoint!r}, known: {known}.")
    return end_points["Logits" if "Logits" in end_points else "global_pool"], end_points


def activate(net: tf.Tensor, hparams: HParams) -> tf.Tensor:
    """Applies ReLU, or ReLU6 where activations are bounded."""
    return tf.nn.relu6(net) if hparams.use_bounded_activation else tf.nn.relu(net)


def imagenet_stem(
    images: tf.Tensor,
    hparams: HParams,
    cell: Callable[..., tf.Tensor],
    current_step: tf.Tensor | None,
) -> list[tf.Tensor | None]:
    """Reduces the resolution eightfold: a convolution and two cells.

    Returns:
        The outputs of the layers, oldest first; the first stands for the missing one before.
    """
    filters = int(32 * hparams.stem_multiplier)
    net = slim.conv2d(images, filters, [3, 3], stride=2, padding="VALID", scope="conv0")
    net = slim.batch_norm(net, scope="conv0_bn")
    outputs = [None, net]
    for number in range(2):
        net = cell(
            net,
            scope=f"cell_stem_{number}",
            filter_scaling=hparams.filter_scaling_rate ** (number - 2),
            stride=2,
            prev_layer=outputs[-2],
            cell_num=number,
            current_step=current_step,
        )
        outputs.append(net)
    return outputs


def cifar_stem(images: tf.Tensor, hparams: HParams) -> list[tf.Tensor | None]:
    """Keeps the resolution: one convolution. Returns as `imagenet_stem` does."""
    filters = int(hparams.num_conv_filters * hparams.stem_multiplier)
    net = slim.conv2d(images, filters, 3, scope="l1_stem_3x3")
    return [None, slim.batch_norm(net, scope="l1_stem_bn")]


def auxiliary_logits(net: tf.Tensor, num_classes: int, hparams: HParams, scope: str) -> tf.Tensor:
    """Builds the auxiliary head on a cell's output: logits [N, K]."""
    with tf.compat.v1.variable_scope(scope), tf.compat.v1.variable_scope("aux_logits"):
        net = slim.avg_pool2d(activate(net, hparams), [5, 5], stride=3, padding="VALID")
        net = slim.conv2d(net, 128, [1, 1], scope="proj")
        net = activate(slim.batch_norm(net, scope="aux_bn0"), hparams)
        net = slim.conv2d(net, 768, operations.spatial_size(net), padding="VALID")
        net = activate(slim.batch_norm(net, scope="aux_bn1"), hparams)
        return slim.fully_connected(slim.flatten(net), num_classes, scope="FC")


def final_layer(
    net: tf.Tensor, num_classes: int | None, hparams: HParams, final_endpoint: str | None
) -> EndPoints:
    """Builds the pool and, if there are classes, the head: `global_pool`, `Logits`, ..."""
    with tf.compat.v1.variable_scope("final_layer"):
        net = operations.global_avg_pool(activate(net, hparams))
        end_points = {"global_pool": net}
        if not num_classes or final_endpoint == "global_pool":
            return end_points
        net = slim.dropout(net, hparams.dense_dropout_keep_prob, scope="dropout")
        logits = end_points["Logits"] = slim.fully_connected(net, num_classes, scope="FC")
        end_points["Predictions"] = tf.nn.softmax(logits, name="predictions")
    return end_points


def with_heads(
    body: Activations,
    num_classes: int | None,
    is_training: bool,
    hparams: HParams,
    final_endpoint: str | None,
) -> Activations:
    """Yields the body's activations, and those of the heads in their places.

    The auxiliary head sits on the cell before the second reduction, in training only.
    """
    reductions = operations.calc_reduction_layers(hparams.num_cells, hparams.num_reduction_layers)
    has_auxiliary = hparams.use_aux_head and is_training
    auxiliary = f"Cell_{reductions[1] - 1}" if has_auxiliary and len(reductions) > 1 else None
    for name, net in body:
        yield name, net
        if name == auxiliary and num_classes:
            scope = name.replace("Cell_", "aux_")
            yield "AuxLogits", auxiliary_logits(net, num_classes, hparams, scope)
    yield from final_layer(net, num_classes, hparams, final_endpoint).items()
