"""What ResNet v1 and v2 consist of in one place, as TF-Slim's users import it."""

from __future__ import annotations

from slimworks.components.nets.residual import (
    Block,
    resnet_arg_scope,
    stack_blocks_dense,
    subsample,
)
from slimworks.components.nets.slim import published_nets

conv2d_same = published_nets.resnet_utils.conv2d_same

__all__ = ["Block", "conv2d_same", "resnet_arg_scope", "stack_blocks_dense", "subsample"]
