"""ResNet v1 (https://arxiv.org/abs/1512.03385) under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets import residual
from slimworks.components.nets.slim import slim
from slimworks.components.nets.widths import scaled_depth

resnet_arg_scope = residual.resnet_arg_scope


@slim.add_arg_scope
def bottleneck(
    inputs: tf.Tensor,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
    use_bounded_activations: bool = False,
) -> tf.Tensor:
    """Builds a residual unit with batch norm after its convolutions (figure 5 of the paper).

    tf_slim 1.1.0 has it without use_bounded_activations.

    Args:
        inputs: [N, H, W, C].
        depth: Channels of the output.
        depth_bottleneck: Channels of the two inner convolutions.
        stride: Input over output resolution.
        rate: Of the atrous 3x3 convolution.
        outputs_collections: Receives the output.
        scope: Prefix of the variable names.
        use_bounded_activations: Keeps activations within 8-bit range: ReLU6, and the residual in
            [-6, 6].
    """
    with tf.compat.v1.variable_scope(scope, "bottleneck_v1", [inputs]) as outer:
        if inputs.shape.as_list()[-1] == depth:
            shortcut = residual.subsample(inputs, stride, "shortcut")
        else:
            shortcut = slim.conv2d(
                inputs,
                depth,
                [1, 1],
                stride=stride,
                activation_fn=tf.nn.relu6 if use_bounded_activations else None,
                scope="shortcut",
            )
        net = slim.conv2d(inputs, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        net = residual.conv2d_same(net, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        net = slim.conv2d(net, depth, [1, 1], stride=1, activation_fn=None, scope="conv3")
        if use_bounded_activations:
            output = tf.nn.relu6(shortcut + tf.clip_by_value(net, -6.0, 6.0))
        else:
            output = tf.nn.relu(shortcut + net)
        return slim.utils.collect_named_outputs(outputs_collections, outer.name, output)


resnet_v1_block = functools.partial(residual.block_of, bottleneck)


def resnet_v1(
    inputs: tf.Tensor,
    blocks: Sequence[Any],
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    store_non_strided_activations: bool = False,
    reuse: bool | None = None,
    scope: str | None = None,
) -> tuple[tf.Tensor, residual.EndPoints]:
    """Builds a ResNet v1 from blocks. See `residual.build` for the arguments and the result."""
    return residual.build(
        inputs,
        blocks,
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block,
        spatial_squeeze,
        store_non_strided_activations,
        reuse,
        scope,
        default_scope="resnet_v1",
        unit=bottleneck,
        preactivation=False,
    )


resnet_v1.default_image_size = residual.DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]


def _of_depth(name: str, num_units: tuple[int, int, int, int]) -> residual.Network:
    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | None = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        store_non_strided_activations: bool = False,
        min_base_depth: int = 8,
        depth_multiplier: float = 1,
        reuse: bool | None = None,
        scope: str = name,
    ) -> tuple[tf.Tensor, residual.EndPoints]:
        """Builds the network.

        Arguments and result as for `residual.build`, and: min_base_depth is the least number of
        channels of a bottleneck when depth_multiplier, the factor on them, is below 1.

        Raises:
            ValueError: depth_multiplier is not above 0, or output_stride cannot be reached.
        """
        depth_of = scaled_depth(depth_multiplier, min_base_depth)
        return resnet_v1(
            inputs,
            residual.published_blocks(resnet_v1_block, num_units, depth_of),
            num_classes,
            is_training,
            global_pool,
            output_stride,
            spatial_squeeze=spatial_squeeze,
            store_non_strided_activations=store_non_strided_activations,
            reuse=reuse,
            scope=scope,
        )

    return residual.published(network, name)


def _of_great_depth(name: str, num_units: tuple[int, int, int, int]) -> residual.Network:
    build = _of_depth(name, num_units)

    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | None = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        store_non_strided_activations: bool = False,
        spatial_squeeze: bool = True,
        *others: Any,
        **options: Any,
    ) -> tuple[tf.Tensor, residual.EndPoints]:
        """Builds the network, as the shallower ones but for the order of two arguments.

        It is TF-Slim's order, for calls by position.
        """
        return build(
            inputs,
            num_classes,
            is_training,
            global_pool,
            output_stride,
            spatial_squeeze,
            store_non_strided_activations,
            *others,
            **options,
        )

    return residual.published(network, name)


resnet_v1_50 = _of_depth("resnet_v1_50", (3, 4, 6, 3))
resnet_v1_101 = _of_depth("resnet_v1_101", (3, 4, 23, 3))
resnet_v1_152 = _of_great_depth("resnet_v1_152", (3, 8, 36, 3))
resnet_v1_200 = _of_great_depth("resnet_v1_200", (3, 24, 36, 3))
