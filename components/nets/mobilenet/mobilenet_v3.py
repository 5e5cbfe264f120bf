"""MobileNet v3 (https://arxiv.org/abs/1905.02244) and EdgeTPU under TF-Slim's names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from slimworks.components.nets import pooling
from slimworks.components.nets.mobilenet import conv_blocks
from slimworks.components.nets.mobilenet import mobilenet as lib
from slimworks.components.nets.slim import slim

DEFAULT_IMAGE_SIZE = 224

op = lib.op
expand_input = conv_blocks.expand_input_by_factor
training_scope = lib.training_scope


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """Returns x * relu6(x + 3) / 6."""
    with tf.compat.v1.name_scope("hard_swish"):
        return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    # TF-Slim trained with these five digits instead of 1 / 6; eight gates add up to 2e-4.
    return tf.nn.relu6(x + 3.0) * 0.16667


squeeze_excite = functools.partial(
    conv_blocks.squeeze_excite,
    squeeze_factor=4,
    inner_activation_fn=tf.nn.relu,
    gating_fn=_hard_sigmoid,
)


def _squeeze_excite_expansion(expansion_tensor: tf.Tensor, input_tensor: tf.Tensor) -> tf.Tensor:
    return squeeze_excite(expansion_tensor)


def reduce_to_1x1(
    input_tensor: tf.Tensor,
    default_size: int = 7,
    rate: int = 1,
    use_explicit_padding: bool = False,
    **kwargs: Any,
) -> tf.Tensor:
    """Averages a square map to 1x1, and another in windows of the published size's.

    Args:
        input_tensor: [N, H, W, C] float32. Where H or W is unknown, all of it is averaged.
        default_size: Side of the window where H and W differ, cut to the map.
        rate: Ignored: a pool over everything has no gaps.
        use_explicit_padding: Ignored: there is no padding.
        **kwargs: Options of `slim.avg_pool2d`.
    """
    height, width = input_tensor.shape.as_list()[1], input_tensor.shape.as_list()[2]
    if height is None or width is None:
        return tf.reduce_mean(input_tensor, [1, 2], keepdims=True)
    window = [height, width]
    if height != width:
        window = pooling.reduced_kernel(input_tensor, (default_size, default_size))
    return slim.avg_pool2d(input_tensor, kernel_size=window, **kwargs)


def mbv3_op(
    ef: float,
    n: int,
    k: int,
    s: int = 1,
    act: Callable[..., tf.Tensor] = tf.nn.relu,
    se: Callable[..., tf.Tensor] | None = None,
    **kwargs: Any,
) -> lib.Op:
    """Returns a bottleneck for the `spec` of a definition.

    Args:
        ef: Expansion factor.
        n: Channels of the result.
        k: Side of the depthwise kernel.
        s: Stride.
        act: Activation before the projection.
        se: Squeeze and excite: the `expansion_transform` of `expanded_conv`.
        **kwargs: Further options of `expanded_conv`.
    """
    options = {"inner_activation_fn": act, "expansion_transform": se, **kwargs}
    return _bottleneck(conv_blocks.expanded_conv, ef, n, k, s, **options)


mbv3_op_se = functools.partial(mbv3_op, se=_squeeze_excite_expansion)


def mbv3_fused(ef: float, n: int, k: int, s: int = 1, **kwargs: Any) -> lib.Op:
    """Returns an EdgeTPU bottleneck: a full convolution expands, and there is no depthwise one.

    Args:
        ef: Expansion factor.
        n: Channels of the result.
        k: Side of the expanding kernel.
        s: Stride of the expanding convolution.
        **kwargs: Further options of `expanded_conv`.
    """
    options = {"inner_activation_fn": tf.nn.relu, **kwargs}
    return _bottleneck(_fused_expanded_conv, ef, n, k, s, **options)


def _bottleneck(
    block: Callable[..., tf.Tensor], ef: float, n: int, k: int, s: int, **options: Any
) -> lib.Op:
    return op(
        block,
        expansion_size=expand_input(ef),
        kernel_size=(k, k),
        stride=s,
        num_outputs=n,
        **options,
    )


def _fused_expanded_conv(
    input_tensor: tf.Tensor,
    num_outputs: int,
    kernel_size: Sequence[int],
    stride: int = 1,
    rate: int = 1,
    use_explicit_padding: bool = False,
    **options: Any,
) -> tf.Tensor:
    """An `expanded_conv` whose expansion has the kernel, stride and rate, and no depthwise part."""

    def expand(net: tf.Tensor, depth: int, **layer: Any) -> tf.Tensor:
        if use_explicit_padding:
            net = conv_blocks.pad_like_same(net, kernel_size, rate)
        return slim.conv2d(net, depth, kernel_size, stride=stride, rate=rate, **layer)

    return conv_blocks.expanded_conv(
        input_tensor,
        num_outputs,
        stride=stride,  # says that there is no residual
        depthwise_location=None,
        expansion_fn=expand,
        **options,
    )


def _defaults(normalizer_fn: Callable[..., tf.Tensor], **normalizer: Any) -> dict[Any, Any]:
    return {
        (conv_blocks.expanded_conv,): {"normalizer_fn": normalizer_fn, "residual": True},
        lib.CONVOLUTIONS: {"normalizer_fn": normalizer_fn, "activation_fn": tf.nn.relu},
        (normalizer_fn,): normalizer,
    }


DEFAULTS = _defaults(slim.batch_norm, center=True, scale=True)


class Bneck(NamedTuple):
    """One row of tables 1 and 2 of the paper: kernel, exp size, out, SE, NL (h-swish), stride."""

    kernel: int
    expansion: int
    depth: int
    squeeze: bool
    swish: bool
    stride: int


# Table 1 of the paper, without its first and last rows.
_LARGE = (
    Bneck(3, 16, 16, False, False, 1),
    Bneck(3, 64, 24, False, False, 2),
    Bneck(3, 72, 24, False, False, 1),
    Bneck(5, 72, 40, True, False, 2),
    Bneck(5, 120, 40, True, False, 1),
    Bneck(5, 120, 40, True, False, 1),
    Bneck(3, 240, 80, False, True, 2),
    Bneck(3, 200, 80, False, True, 1),
    Bneck(3, 184, 80, False, True, 1),
    Bneck(3, 184, 80, False, True, 1),
    Bneck(3, 480, 112, True, True, 1),
    Bneck(3, 672, 112, True, True, 1),
    Bneck(5, 672, 160, True, True, 2),
    Bneck(5, 960, 160, True, True, 1),
    Bneck(5, 960, 160, True, True, 1),
)
# Table 2 of the paper, likewise.
_SMALL = (
    Bneck(3, 16, 16, True, False, 2),
    Bneck(3, 72, 24, False, False, 2),
    Bneck(3, 88, 24, False, False, 1),
    Bneck(5, 96, 40, True, True, 2),
    Bneck(5, 240, 40, True, True, 1),
    Bneck(5, 240, 40, True, True, 1),
    Bneck(5, 120, 48, True, True, 1),
    Bneck(5, 144, 48, True, True, 1),
    Bneck(5, 288, 96, True, True, 2),
    Bneck(5, 576, 96, True, True, 1),
    Bneck(5, 576, 96, True, True, 1),
)
_FIRST_DEPTH = 16


def _definition(rows: Sequence[Bneck], last: int, features: int) -> dict[str, Any]:
    """A network of the paper. last, features: channels before and after the pool."""
    swish = {"activation_fn": hard_swish} if any(row.swish for row in rows) else {}
    inputs = [_FIRST_DEPTH, *(row.depth for row in rows)]
    return {
        "defaults": dict(DEFAULTS),
        "spec": [
            op(slim.conv2d, stride=2, num_outputs=_FIRST_DEPTH, kernel_size=(3, 3), **swish),
            *(_row_op(row, depth) for row, depth in zip(rows, inputs, strict=False)),
            op(slim.conv2d, stride=1, kernel_size=[1, 1], num_outputs=last, **swish),
            op(reduce_to_1x1, default_size=7, stride=1, padding="VALID"),
            op(
                slim.conv2d,
                stride=1,
                kernel_size=[1, 1],
                num_outputs=features,
                normalizer_fn=None,
                **swish,
            ),
        ],
    }


def _row_op(row: Bneck, num_inputs: int) -> lib.Op:
    return mbv3_op(
        ef=row.expansion / num_inputs,
        n=row.depth,
        k=row.kernel,
        s=row.stride,
        act=hard_swish if row.swish else tf.nn.relu,
        se=_squeeze_excite_expansion if row.squeeze else None,
    )


def _minimalistic(rows: Sequence[Bneck]) -> list[Bneck]:
    """Leaves out what some hardware is slow at: 5x5 kernels, squeeze and excite, h-swish."""
    return [row._replace(kernel=3, squeeze=False, swish=False) for row in rows]


V3_LARGE = _definition(_LARGE, 960, 1280)
V3_SMALL = _definition(_SMALL, 576, 1024)
V3_LARGE_MINIMALISTIC = _definition(_minimalistic(_LARGE), 960, 1280)
V3_SMALL_MINIMALISTIC = _definition(_minimalistic(_SMALL), 576, 1024)

# Full convolutions where maps are large: faster there on an Edge TPU than depthwise ones.
V3_EDGETPU: dict[str, Any] = {
    "defaults": dict(DEFAULTS),
    "spec": [
        op(slim.conv2d, stride=2, num_outputs=32, kernel_size=(3, 3)),
        mbv3_fused(ef=1, n=16, k=3),
        mbv3_fused(ef=8, n=32, k=3, s=2),
        *[mbv3_fused(ef=4, n=32, k=3)] * 3,
        mbv3_fused(ef=8, n=48, k=3, s=2),
        *[mbv3_fused(ef=4, n=48, k=3)] * 3,
        mbv3_op(ef=8, n=96, k=3, s=2),
        *[mbv3_op(ef=4, n=96, k=3)] * 3,
        mbv3_op(ef=8, n=96, k=3, residual=False),
        *[mbv3_op(ef=4, n=96, k=3)] * 3,
        mbv3_op(ef=8, n=160, k=5, s=2),
        *[mbv3_op(ef=4, n=160, k=5)] * 3,
        mbv3_op(ef=8, n=192, k=3),
        op(slim.conv2d, stride=1, num_outputs=1280, kernel_size=(1, 1)),
    ],
}


def _with_half_depth(conv_defs: lib.ConvDefs, first: int, last: int) -> dict[str, Any]:
    """Halves the channels of the layers `first` to `last`, counted from 0."""
    spec = list(conv_defs["spec"])
    for index in range(first, last + 1):
        params = spec[index].params
        depth = round(params["num_outputs"] / 2)
        spec[index] = spec[index]._replace(params={**params, "num_outputs": depth})
    return {**conv_defs, "spec": spec}


# Object detectors take half the channels of the last stage (section 6.3 of the paper).
V3_LARGE_DETECTION = _with_half_depth(V3_LARGE, 13, 16)
V3_SMALL_DETECTION = _with_half_depth(V3_SMALL, 9, 12)


@slim.add_arg_scope
def mobilenet(
    input_tensor: tf.Tensor,
    num_classes: int | None = 1001,
    depth_multiplier: float = 1.0,
    scope: str = "MobilenetV3",
    conv_defs: lib.ConvDefs | None = None,
    finegrain_classification_mode: bool = False,
    use_groupnorm: bool = False,
    min_depth: int | None = None,
    divisible_by: int | None = None,
    groups: int = 8,
    **kwargs: Any,
) -> tuple[tf.Tensor, lib.EndPoints]:
    """Builds MobileNet v3, for inference unless told otherwise.

    Args:
        input_tensor: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        num_classes: K. None or 0 returns the pooled features before the head.
        depth_multiplier: Factor on the channels of every layer, > 0.
        scope: Prefix of the variable names.
        conv_defs: The layers; None for `V3_LARGE`.
        finegrain_classification_mode: Keeps the last layer at full width whatever the
            depth_multiplier.
        use_groupnorm: Group norm in place of batch norm.
        min_depth: Least number of channels of a layer; None for the arg scope's, 8 by default.
        divisible_by: Channels of a layer are a multiple of this; None as for min_depth.
        groups: Of group norm.
        **kwargs: Options of `mobilenet.mobilenet` and `mobilenet.mobilenet_base`.

    Returns:
        Logits [N, K] (features [N, 1, 1, D] without a head) and activations by name.

    Raises:
        ValueError: An option is out of range, or `multiplier` is given for depth_multiplier.
    """
    if "multiplier" in kwargs:
        raise ValueError(f"multiplier is {kwargs['multiplier']}, call it depth_multiplier.")
    defs = dict(V3_LARGE if conv_defs is None else conv_defs)
    if finegrain_classification_mode:
        last = defs["spec"][-1]._replace(multiplier_func=_keep_depth)
        defs["spec"] = [*defs["spec"][:-1], last]
    if use_groupnorm:
        defs["defaults"] = _defaults(slim.group_norm, groups=groups)
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


def _keep_depth(params: dict[str, Any], multiplier: float) -> None:
    """A `multiplier_func` that changes nothing."""


@slim.add_arg_scope
def mobilenet_base(
    input_tensor: tf.Tensor, depth_multiplier: float = 1.0, **kwargs: Any
) -> tuple[tf.Tensor, lib.EndPoints]:
    """Builds MobileNet v3 without pool and head; options as for `mobilenet`."""
    return mobilenet(input_tensor, depth_multiplier=depth_multiplier, base_only=True, **kwargs)


def _variant(conv_defs: lib.ConvDefs, **options: Any) -> Callable[..., Any]:
    network = functools.partial(mobilenet, conv_defs=conv_defs, **options)
    functools.update_wrapper(network, mobilenet)
    return network


large = _variant(V3_LARGE)
small = _variant(V3_SMALL)
large_minimalistic = _variant(V3_LARGE_MINIMALISTIC)
small_minimalistic = _variant(V3_SMALL_MINIMALISTIC)
edge_tpu = _variant(V3_EDGETPU, scope="MobilenetEdgeTPU")
edge_tpu_075 = _variant(
    V3_EDGETPU,
    scope="MobilenetEdgeTPU",
    depth_multiplier=0.75,
    finegrain_classification_mode=True,
)
