"""The body and head shared by ResNet v1 and v2, around tf_slim's residual units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets.slim import published_nets, slim

DEFAULT_IMAGE_SIZE = 224

Network = Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]

_utils = published_nets.resnet_utils


def build(
    inputs: tf.Tensor,
    blocks: Sequence[Any],
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: Any = None,
    *,
    unit: Callable[..., tf.Tensor],
    preactivation: bool,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds a ResNet from blocks.

    Args:
        inputs: [N, H, W, C] float32.
        blocks: tf_slim `Block`s.
        num_classes: K. None or 0 returns the features before the head.
        is_training: Batch norm uses the batch's statistics.
        global_pool: Averages over H and W; False for dense prediction.
        output_stride: Input over output resolution, a multiple of 4; None for the nominal 32.
        include_root_block: Starts with conv1 and pool1.
        spatial_squeeze: Logits are [N, K] instead of [N, 1, 1, K]; only with global_pool.
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        unit: The residual unit of the blocks, whose outputs become end points.
        preactivation: ResNet v2: conv1 is linear, and `postnorm` follows the last block.

    Returns:
        Logits (features [N, h, w, D] without a head) and activations by name.

    Raises:
        ValueError: output_stride cannot be reached.
    """
    with tf.compat.v1.variable_scope(scope, values=[inputs], reuse=reuse) as outer:
        collection = outer.original_name_scope + "_end_points"
        with (
            slim.arg_scope(
                [slim.conv2d, unit, _utils.stack_blocks_dense], outputs_collections=collection
            ),
            slim.arg_scope([slim.batch_norm], is_training=is_training),
        ):
            net = inputs
            if include_root_block:
                output_stride = _after_root_block(output_stride)
                net = _root_block(net, linear=preactivation)
            net = _utils.stack_blocks_dense(net, blocks, output_stride)
            if preactivation:
                net = slim.batch_norm(net, activation_fn=tf.nn.relu, scope="postnorm")
            end_points = slim.utils.convert_collection_to_dict(collection, clear_collection=True)
            if global_pool:
                net = tf.reduce_mean(net, [1, 2], name="pool5", keepdims=True)
                end_points["global_pool"] = net
            if not num_classes:
                return net, end_points
            return _head(net, end_points, outer.name, num_classes, spatial_squeeze)


def _after_root_block(output_stride: int | None) -> int | None:
    if output_stride is None:
        return None
    if output_stride % 4:
        raise ValueError(f"output_stride is {output_stride}, expected a multiple of 4.")
    return output_stride // 4


def _root_block(net: tf.Tensor, linear: bool) -> tf.Tensor:
    # The first unit of v2 normalises and activates its input itself.
    overrides = {"activation_fn": None, "normalizer_fn": None} if linear else {}
    with slim.arg_scope([slim.conv2d], **overrides):
        net = _utils.conv2d_same(net, 64, 7, stride=2, scope="conv1")
    return slim.max_pool2d(net, [3, 3], stride=2, scope="pool1")


def _head(
    net: tf.Tensor,
    end_points: dict[str, tf.Tensor],
    scope_name: str,
    num_classes: int,
    spatial_squeeze: bool,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    net = slim.conv2d(
        net,
        num_classes,
        [1, 1],
        activation_fn=None,
        normalizer_fn=None,
        outputs_collections=None,
        scope="logits",
    )
    end_points[f"{scope_name}/logits"] = net
    if spatial_squeeze:
        net = tf.squeeze(net, [1, 2], name="SpatialSqueeze")
        end_points[f"{scope_name}/spatial_squeeze"] = net
    end_points["predictions"] = slim.softmax(net, scope="predictions")
    return net, end_points


def of_depth(
    build_network: Network,
    make_block: Callable[..., Any],
    name: str,
    num_units: tuple[int, int, int, int],
) -> Network:
    """Returns the published network of one depth; its variables are below `name`."""

    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str = name,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Builds the network. See `build` for the arguments and the result."""
        # The last unit of a block has its stride; the last block keeps the resolution.
        blocks = [
            make_block(
                f"block{index + 1}", base_depth=64 * 2**index, num_units=units, stride=stride
            )
            for index, (units, stride) in enumerate(zip(num_units, (2, 2, 2, 1), strict=True))
        ]
        return build_network(
            inputs,
            blocks,
            num_classes=num_classes,
            is_training=is_training,
            global_pool=global_pool,
            output_stride=output_stride,
            spatial_squeeze=spatial_squeeze,
            reuse=reuse,
            scope=scope,
        )

    network.__name__ = network.__qualname__ = name
    network.default_image_size = DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]
    return network
