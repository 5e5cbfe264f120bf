"""The layers, branches and modules that Inception networks are lists of, and what builds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from slimworks.components.nets.slim import slim

EndPoints = dict[str, tf.Tensor]


class Layer(NamedTuple):
    """One convolution or pool.

    Attributes:
        scope: TF-Slim's name, which ends in the kernel: "Conv2d_0b_1x7", "MaxPool_1a_3x3".
        depth: Number of channels; 0 for a pool.
        stride: In pixels.
        padding: "SAME" or "VALID".
        stddev: Of the initial weights, truncated normal; None for the arg scope's initializer.
    """

    scope: str
    depth: int = 0
    stride: int = 1
    padding: str = "SAME"
    stddev: float | None = None


# Layers one after the other; a list of layers works side by side on the same input.
Branch = Sequence[Layer | list[Layer]]
# An end point's name and the function that builds it on the end point before.
Step = tuple[str, Callable[[tf.Tensor], tf.Tensor]]


def build_layer(net: tf.Tensor, layer: Layer, depth_of: Callable[[int], int] = int) -> tf.Tensor:
    """Builds a layer on [N, H, W, C]; `depth_of` maps the listed depth to the one built."""
    kernel = [int(side) for side in layer.scope.rpartition("_")[2].split("x")]
    options: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "scope": layer.scope,
    }
    if layer.scope.startswith("MaxPool"):
        return slim.max_pool2d(net, kernel, **options)
    if layer.scope.startswith("AvgPool"):
        return slim.avg_pool2d(net, kernel, **options)
    if layer.stddev is not None:
        options["weights_initializer"] = tf.compat.v1.truncated_normal_initializer(
            stddev=layer.stddev
        )
    return slim.conv2d(net, depth_of(layer.depth), kernel, **options)


def build_branches(
    net: tf.Tensor,
    branches: Sequence[Branch],
    depth_of: Callable[[int], int] = int,
    axis: int = 3,
) -> tf.Tensor:
    """Builds branches on the same input, in scopes Branch_0, Branch_1 ..., and joins them.

    Args:
        net: [N, H, W, C], or [N, C, H, W] with axis 1.
        branches: What to build.
        depth_of: Maps a listed depth to the one built.
        axis: Of the channels.
    """
    outputs = []
    for index, branch in enumerate(branches):
        with tf.compat.v1.variable_scope(f"Branch_{index}"):
            output = net
            for step in branch:
                if isinstance(step, Layer):
                    output = build_layer(output, step, depth_of)
                else:
                    sides = [build_layer(output, layer, depth_of) for layer in step]
                    output = tf.concat(sides, axis)
            outputs.append(output)
    return tf.concat(outputs, axis)


def build_module(
    net: tf.Tensor,
    scope: str | None,
    branches: Sequence[Branch],
    default_scope: str | None = None,
    reuse: bool | None = None,
    **options: Any,
) -> tf.Tensor:
    """Builds `branches` (with the options of `build_branches`) below a scope of their own."""
    with tf.compat.v1.variable_scope(scope, default_scope, [net], reuse=reuse):
        return build_branches(net, branches, **options)


def build_up_to(
    final_endpoint: str, inputs: tf.Tensor, steps: Sequence[Step]
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the steps one after the other up to and including `final_endpoint`.

    Returns:
        The activation named `final_endpoint`, and all activations by name.

    Raises:
        ValueError: No step has that name.
    """
    names = [name for name, _ in steps]
    if final_endpoint not in names:
        raise ValueError(f"Unknown final_endpoint {final_endpoint!r}, known: {', '.join(names)}.")
    net, end_points = inputs, {}
    for name, build in steps[: names.index(final_endpoint) + 1]:
        net = end_points[name] = build(net)
    return net, end_points


def inception_arg_scope(
    weight_decay: float = 0.00004,
    use_batch_norm: bool = True,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: Callable[..., tf.Tensor] | None = tf.nn.relu,
    batch_norm_updates_collections: str | None = tf.compat.v1.GraphKeys.UPDATE_OPS,
    batch_norm_scale: bool = False,
) -> dict[str, Any]:
    """Returns the arg scope of Inception v1 to v4.

    Args:
        weight_decay: L2 factor of the weights of convolutions and dense layers.
        use_batch_norm: Normalises after each convolution; False for biases instead.
        batch_norm_decay: Decay of the moving averages, in [0, 1].
        batch_norm_epsilon: Added to the variance.
        activation_fn: Of the convolutions.
        batch_norm_updates_collections: Receives the updates of the moving averages; None for
            updates in place.
        batch_norm_scale: Batch norm learns a factor (gamma) too.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "scale": batch_norm_scale,
    }
    with (
        slim.arg_scope(
            [slim.conv2d, slim.fully_connected],
            weights_regularizer=slim.l2_regularizer(weight_decay),
        ),
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm if use_batch_norm else {},
        ) as scope,
    ):
        return scope
