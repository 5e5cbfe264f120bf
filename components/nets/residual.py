"""What ResNet v1 and v2 share: stacked blocks of tf_slim's kind, body, head and arg scope."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets.atrous import strides_and_rates
from slimworks.components.nets.slim import published_nets, slim

DEFAULT_IMAGE_SIZE = 224

EndPoints = dict[str, tf.Tensor]
Network = Callable[..., tuple[tf.Tensor, EndPoints]]

Block = published_nets.resnet_utils.Block
subsample = published_nets.resnet_utils.subsample
conv2d_same = published_nets.resnet_utils.conv2d_same


def block_of(
    unit: Callable[..., tf.Tensor], scope: str, base_depth: int, num_units: int, stride: int
) -> Any:
    """Returns a `Block` of bottlenecks with 4 * base_depth channels; its last unit strides."""
    depths = {"depth": base_depth * 4, "depth_bottleneck": base_depth}
    strides = [1] * (num_units - 1) + [stride]
    return Block(scope, unit, [{**depths, "stride": stride} for stride in strides])


@slim.add_arg_scope
def stack_blocks_dense(
    net: tf.Tensor,
    blocks: Sequence[Any],
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    outputs_collections: str | None = None,
) -> tf.Tensor:
    """Builds blocks one after the other, with atrous convolutions beyond the output stride.

    Args:
        net: [N, H, W, C].
        blocks: `Block`s.
        output_stride: Input over output resolution; None for the product of the units' strides.
        store_non_strided_activations: Blocks end at the resolution they started with, and are
            subsampled afterwards: what is collected has four times the pixels.
        outputs_collections: Receives the output of each block.

    Raises:
        ValueError: No unit ends at output_stride.
    """
    unit_strides = [_unit_strides(block, store_non_strided_activations) for block in blocks]
    plan = iter(_plan([stride for block in unit_strides for stride in block], output_stride))
    for block in blocks:
        with tf.compat.v1.variable_scope(block.scope, "block", [net]) as outer:
            for index, unit in enumerate(block.args):
                stride, rate = next(plan)
                with tf.compat.v1.variable_scope(f"unit_{index + 1}", values=[net]):
                    net = block.unit_fn(net, **{**unit, "stride": stride, "rate": rate})
            net = slim.utils.collect_named_outputs(outputs_collections, outer.name, net)
            net = subsample(net, next(plan)[0])
    return net


def _unit_strides(block: Any, at_the_end: bool) -> list[int]:
    """Returns the strides of a block's units and of what follows the block."""
    strides = [unit.get("stride", 1) for unit in block.args]
    return [*strides[:-1], 1, strides[-1]] if at_the_end else [*strides, 1]


def _plan(strides: list[int], output_stride: int | None) -> list[tuple[int, int]]:
    plan = strides_and_rates(strides, output_stride)
    if output_stride not in (None, math.prod(stride for stride, _ in plan)):
        known = sorted({math.prod(strides[:index]) for index in range(len(strides) + 1)})
        raise ValueError(
            f"output_stride of the blocks is {output_stride}, expected one of "
            f"{', '.join(map(str, known))}."
        )
    return plan


def build(
    inputs: tf.Tensor,
    blocks: Sequence[Any],
    num_classes: int | None,
    is_training: bool | None,
    global_pool: bool,
    output_stride: int | None,
    include_root_block: bool,
    spatial_squeeze: bool,
    store_non_strided_activations: bool,
    reuse: bool | None,
    scope: str | None,
    *,
    default_scope: str,
    unit: Callable[..., tf.Tensor],
    preactivation: bool,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds a ResNet from blocks.

    Args:
        inputs: [N, H, W, C] float32.
        blocks: `Block`s.
        num_classes: K. None or 0 returns the features before the head.
        is_training: Batch norm uses the batch's statistics; None leaves that to the arg scope.
        global_pool: Averages over H and W; False for dense prediction.
        output_stride: Input over output resolution, a multiple of 4; None for the nominal 32.
        include_root_block: Starts with conv1 and pool1.
        spatial_squeeze: Logits are [N, K] instead of [N, 1, 1, K]; only with global_pool.
        store_non_strided_activations: End points of blocks have the resolution before their stride.
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        default_scope: Prefix where `scope` is None; made unique.
        unit: The residual unit of the blocks, whose outputs become end points.
        preactivation: ResNet v2: conv1 is linear, and `postnorm` follows the last block.

    Returns:
        Logits (features [N, h, w, D] without a head) and activations by name.

    Raises:
        ValueError: output_stride cannot be reached.
    """
    with tf.compat.v1.variable_scope(scope, default_scope, [inputs], reuse=reuse) as outer:
        collection = outer.original_name_scope + "_end_points"
        with (
            slim.arg_scope([slim.conv2d, unit, stack_blocks_dense], outputs_collections=collection),
            _training_mode(is_training),
        ):
            net = inputs
            if include_root_block:
                output_stride = _after_root_block(output_stride)
                net = _root_block(net, linear=preactivation)
            net = stack_blocks_dense(net, blocks, output_stride, store_non_strided_activations)
            if preactivation:
                net = slim.batch_norm(net, activation_fn=tf.nn.relu, scope="postnorm")
            end_points = slim.utils.convert_collection_to_dict(collection, clear_collection=True)
            if global_pool:
                net = tf.reduce_mean(net, [1, 2], name="pool5", keepdims=True)
                end_points["global_pool"] = net
            if not num_classes:
                return net, end_points
            return _head(net, end_points, outer.name, num_classes, spatial_squeeze)


def _training_mode(is_training: bool | None) -> contextlib.AbstractContextManager[Any]:
    if is_training is None:
        return contextlib.nullcontext()
    return slim.arg_scope([slim.batch_norm], is_training=is_training)


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
        net = conv2d_same(net, 64, 7, stride=2, scope="conv1")
    return slim.max_pool2d(net, [3, 3], stride=2, scope="pool1")


def _head(
    net: tf.Tensor,
    end_points: EndPoints,
    scope_name: str,
    num_classes: int,
    spatial_squeeze: bool,
) -> tuple[tf.Tensor, EndPoints]:
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


def published(network: Network, name: str) -> Network:
    """Names the function of a published depth, and gives it the published image size."""
    network.__name__ = network.__qualname__ = name
    network.default_image_size = DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]
    return network


def published_blocks(
    make_block: Callable[..., Any],
    num_units: tuple[int, int, int, int],
    depth_of: Callable[[int], int] = int,
) -> list[Any]:
    """Returns the four blocks of a published depth; `depth_of` maps their base depths."""
    # The last unit of a block has its stride; the last block keeps the resolution.
    return [
        make_block(
            f"block{index + 1}", base_depth=depth_of(64 * 2**index), num_units=units, stride=stride
        )
        for index, (units, stride) in enumerate(zip(num_units, (2, 2, 2, 1), strict=True))
    ]


def resnet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.997,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
    activation_fn: Callable[..., tf.Tensor] | None = tf.nn.relu,
    use_batch_norm: bool = True,
    batch_norm_updates_collections: str | None = tf.compat.v1.GraphKeys.UPDATE_OPS,
) -> dict[str, Any]:
    """Returns the arg scope of ResNet.

    Args:
        weight_decay: L2 factor of the weights of convolutions.
        batch_norm_decay: Decay of the moving averages, in [0, 1].
        batch_norm_epsilon: Added to the variance.
        batch_norm_scale: Batch norm learns a factor (gamma) too.
        activation_fn: Of the convolutions.
        use_batch_norm: Normalises after each convolution; False for biases instead.
        batch_norm_updates_collections: Receives the updates of the moving averages; None for
            updates in place.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "scale": batch_norm_scale,
        "updates_collections": batch_norm_updates_collections,
    }
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm,
        ),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        # Of pool1. Caffe pads as "VALID"; "SAME" aligns the maps for dense prediction.
        slim.arg_scope([slim.max_pool2d], padding="SAME") as scope,
    ):
        return scope
