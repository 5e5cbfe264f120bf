"""MobileNet v2 (https://arxiv.org/abs/1801.04381) under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from slimworks.components.nets.mobilenet import conv_blocks
from slimworks.components.nets.mobilenet import mobilenet as lib
from slimworks.components.nets.slim import slim

DEFAULT_IMAGE_SIZE = 224

op = lib.op
expand_input = conv_blocks.expand_input_by_factor
training_scope = lib.training_scope


def _stage(num_outputs: int, repeats: int, stride: int) -> list[lib.Op]:
    """One row (c, n, s) of table 2 of the paper; t is the default, 6."""
    first = op(conv_blocks.expanded_conv, stride=stride, num_outputs=num_outputs)
    rest = [op(conv_blocks.expanded_conv, stride=1, num_outputs=num_outputs)] * (repeats - 1)
    return [first, *rest]


def _defaults(normalizer_fn: Callable[..., tf.Tensor], **normalizer: Any) -> dict[Any, Any]:
    return {
        (normalizer_fn,): normalizer,
        lib.CONVOLUTIONS: {"normalizer_fn": normalizer_fn, "activation_fn": tf.nn.relu6},
        (conv_blocks.expanded_conv,): {
            "expansion_size": expand_input(6),
            "split_expansion": 1,
            "normalizer_fn": normalizer_fn,
            "residual": True,
        },
        (slim.conv2d, slim.separable_conv2d): {"padding": "SAME"},
    }


# Table 2 of the paper.
_SPEC = (
    op(slim.conv2d, stride=2, num_outputs=32, kernel_size=[3, 3]),
    op(
        conv_blocks.expanded_conv,
        expansion_size=expand_input(1, divisible_by=1),
        num_outputs=16,
    ),
    *_stage(24, 2, stride=2),
    *_stage(32, 3, stride=2),
    *_stage(64, 4, stride=2),
    *_stage(96, 3, stride=1),
    *_stage(160, 3, stride=2),
    *_stage(320, 1, stride=1),
    op(slim.conv2d, stride=1, kernel_size=[1, 1], num_outputs=1280),
)

V2_DEF: dict[str, Any] = {
    "defaults": _defaults(slim.batch_norm, center=True, scale=True),
    "spec": list(_SPEC),
}
V2_DEF_GROUP_NORM: dict[str, Any] = {
    # 8 groups, for the narrowest layers have 8 channels.
    "defaults": _defaults(slim.group_norm, groups=8),
    "spec": list(_SPEC),
}


@slim.add_arg_scope
def mobilenet(
    input_tensor: tf.Tensor,
    num_classes: int | None = 1001,
    depth_multiplier: float = 1.0,
    scope: str = "MobilenetV2",
    conv_defs: lib.ConvDefs | None = None,
    finegrain_classification_mode: bool = False,
    min_depth: int | None = None,
    divisible_by: int | None = None,
    activation_fn: Callable[..., tf.Tensor] | None = None,
    **kwargs: Any,
) -> tuple[tf.Tensor, lib.EndPoints]:
    """Builds MobileNet v2, for inference unless told otherwise.

    Args:
        input_tensor: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        num_classes: K. None or 0 returns the pooled features before the head.
        depth_multiplier: Factor on the channels of every layer, > 0.
        scope: Prefix of the variable names.
        conv_defs: The layers; None for `V2_DEF`.
        finegrain_classification_mode: Keeps the last layer at full width where depth_multiplier is
            below 1, as the published networks do.
        min_depth: Least number of channels of a layer; None for the arg scope's, 8 by default.
        divisible_by: Channels of a layer are a multiple of this; None as for min_depth.
        activation_fn: In place of ReLU6.
        **kwargs: Options of `mobilenet.mobilenet` and `mobilenet.mobilenet_base`.

    Returns:
        Logits [N, K] (features [N, 1, 1, D] without a head) and activations by name.

    Raises:
        ValueError: An option is out of range, or `multiplier` is given for depth_multiplier.
    """
    if "multiplier" in kwargs:
        raise ValueError(f"multiplier is {kwargs['multiplier']}, call it depth_multiplier.")
    defs = dict(V2_DEF if conv_defs is None else conv_defs)
    if finegrain_classification_mode and depth_multiplier < 1:
        defs["spec"] = [*defs["spec"][:-1], _of_full_width(defs["spec"][-1], depth_multiplier)]
    if activation_fn:
        defs["defaults"] = _with_activation(defs["defaults"], activation_fn)
    with lib.safe_arg_scope([lib.depth_multiplier], min_depth=min_depth, divisible_by=divisible_by):
        return lib.mobilenet(
            input_tensor,
            num_classes=num_classes,
            conv_defs=defs,
            scope=scope,
            multiplier=depth_multiplier,
            **kwargs,
        )


mobilenet.default_image_size = DEFAULT_IMAGE_SIZE


def _of_full_width(layer: lib.Op, depth_multiplier: float) -> lib.Op:
    """Undoes the multiplication that is to come, but not the rounding and the least depth."""
    depth = layer.params["num_outputs"] / depth_multiplier
    return layer._replace(params={**layer.params, "num_outputs": depth})


def _with_activation(defaults: dict[Any, Any], activation_fn: Any) -> dict[Any, Any]:
    options = {**defaults.get(lib.CONVOLUTIONS, {}), "activation_fn": activation_fn}
    return {**defaults, lib.CONVOLUTIONS: options}


def _of_width(depth_multiplier: float, **options: Any) -> Callable[..., Any]:
    network = functools.partial(mobilenet, depth_multiplier=depth_multiplier, **options)
    functools.update_wrapper(network, mobilenet)
    return network


mobilenet_v2_140 = _of_width(1.4)
mobilenet_v2_050 = _of_width(0.50, finegrain_classification_mode=True)
mobilenet_v2_035 = _of_width(0.35, finegrain_classification_mode=True)


@slim.add_arg_scope
def mobilenet_base(
    input_tensor: tf.Tensor, depth_multiplier: float = 1.0, **kwargs: Any
) -> tuple[tf.Tensor, lib.EndPoints]:
    """Builds MobileNet v2 without pool and head; options as for `mobilenet`."""
    return mobilenet(input_tensor, depth_multiplier=depth_multiplier, base_only=True, **kwargs)


@slim.add_arg_scope
def mobilenet_base_group_norm(
    input_tensor: tf.Tensor, depth_multiplier: float = 1.0, groups: int = 8, **kwargs: Any
) -> tuple[tf.Tensor, lib.EndPoints]:
    """Builds `mobilenet_base` with group norm of `groups` groups in place of batch norm."""
    defaults = {**V2_DEF_GROUP_NORM["defaults"], (slim.group_norm,): {"groups": groups}}
    conv_defs = {**V2_DEF_GROUP_NORM, "defaults": defaults}
    return mobilenet_base(input_tensor, depth_multiplier, conv_defs=conv_defs, **kwargs)
