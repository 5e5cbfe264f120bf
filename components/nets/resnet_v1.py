"""ResNet v1 (https://arxiv.org/abs/1512.03385): tf_slim's blocks under TF-Slim's names."""

from __future__ import annotations

import functools

from slimworks.components.nets import residual
from slimworks.components.nets.slim import published_nets

resnet_arg_scope = published_nets.resnet_utils.resnet_arg_scope
resnet_v1_block = published_nets.resnet_v1.resnet_v1_block

resnet_v1 = functools.partial(
    residual.build,
    unit=published_nets.resnet_v1.bottleneck,
    preactivation=False,
    scope="resnet_v1",
)

_of_depth = functools.partial(residual.of_depth, resnet_v1, resnet_v1_block)

resnet_v1_50 = _of_depth("resnet_v1_50", (3, 4, 6, 3))
resnet_v1_101 = _of_depth("resnet_v1_101", (3, 4, 23, 3))
resnet_v1_152 = _of_depth("resnet_v1_152", (3, 8, 36, 3))
resnet_v1_200 = _of_depth("resnet_v1_200", (3, 24, 36, 3))
