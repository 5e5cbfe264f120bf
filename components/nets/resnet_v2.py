"""ResNet v2 (https://arxiv.org/abs/1603.05027): tf_slim's blocks under TF-Slim's names."""

from __future__ import annotations

import functools

from slimworks.components.nets import residual
from slimworks.components.nets.slim import published_nets

resnet_arg_scope = published_nets.resnet_utils.resnet_arg_scope
resnet_v2_block = published_nets.resnet_v2.resnet_v2_block

resnet_v2 = functools.partial(
    residual.build,
    unit=published_nets.resnet_v2.bottleneck,
    preactivation=True,
    scope="resnet_v2",
)

_of_depth = functools.partial(residual.of_depth, resnet_v2, resnet_v2_block)

resnet_v2_50 = _of_depth("resnet_v2_50", (3, 4, 6, 3))
resnet_v2_101 = _of_depth("resnet_v2_101", (3, 4, 23, 3))
resnet_v2_152 = _of_depth("resnet_v2_152", (3, 8, 36, 3))
resnet_v2_200 = _of_depth("resnet_v2_200", (3, 24, 36, 3))
