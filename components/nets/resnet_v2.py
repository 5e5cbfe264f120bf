"""ResNet v2 (https://arxiv.org/abs/1603.05027): tf_slim's units under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets import residual
from slimworks.components.nets.slim import published_nets

resnet_arg_scope = residual.resnet_arg_scope
bottleneck = published_nets.resnet_v2.bottleneck
resnet_v2_block = functools.partial(residual.block_of, bottleneck)


def resnet_v2(
    inputs: tf.Tensor,
    blocks: Sequence[Any],
    num_classes: int | None = None,
    is_training: bool | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
) -> tuple[tf.Tensor, residual.EndPoints]:
    """Builds a ResNet v2 from blocks. See `residual.build` for the arguments and the result."""
    return residual.build(
        inputs,
        blocks,
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block,
        spatial_squeeze,
        False,  # only v1 of TF-Slim stores activations before their stride
        reuse,
        scope,
        default_scope="resnet_v2",
        unit=bottleneck,
        preactivation=True,
    )


resnet_v2.default_image_size = residual.DEFAULT_IMAGE_SIZE  # type: ignore[attr-defined]


def _of_depth(name: str, num_units: tuple[int, int, int, int]) -> residual.Network:
    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | None = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str = name,
    ) -> tuple[tf.Tensor, residual.EndPoints]:
        """Builds the network. See `residual.build` for the arguments and the result."""
        return resnet_v2(
            inputs,
            residual.published_blocks(resnet_v2_block, num_units),
            num_classes,
            is_training,
            global_pool,
            output_stride,
            spatial_squeeze=spatial_squeeze,
            reuse=reuse,
            scope=scope,
        )

    return residual.published(network, name)


resnet_v2_50 = _of_depth("resnet_v2_50", (3, 4, 6, 3))
resnet_v2_101 = _of_depth("resnet_v2_101", (3, 4, 23, 3))
resnet_v2_152 = _of_depth("resnet_v2_152", (3, 8, 36, 3))
resnet_v2_200 = _of_depth("resnet_v2_200", (3, 24, 36, 3))
