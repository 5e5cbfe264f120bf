"""The blocks of MobileNet v1 to v3 under TF-Slim's names."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import tensorflow as tf

from slimworks.components.nets.slim import slim

Kernel = Sequence[int]
Layer = Callable[..., tf.Tensor]


def make_divisible(value: float, divisor: int, min_value: int | None = None) -> int:
    """Rounds a number of channels to a multiple of `divisor`.

    The nearest multiple, halves up; the next one where that would be below 90 % of `value`; never
    less than `min_value` (default: `divisor`).
    """
    least = divisor if min_value is None else min_value
    rounded = max(least, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


def expand_input_by_factor(factor: float, divisible_by: int = 8) -> Callable[..., int]:
    """Returns an `expansion_size` for `expanded_conv`: `factor` times its input's channels."""

    def expansion_size(num_inputs: int, **_: Any) -> int:
        return make_divisible(num_inputs * factor, divisible_by)

    return expansion_size


def pad_like_same(images: tf.Tensor, kernel_size: Kernel, rate: int = 1) -> tf.Tensor:
    """Pads H and W by what SAME needs at stride 1, whatever the stride, for a VALID convolution."""
    totals = [rate * (size - 1) for size in kernel_size]
    margins = [[total // 2, total - total // 2] for total in totals]
    return tf.pad(images, [[0, 0], *margins, [0, 0]])


@contextlib.contextmanager
def open_scope(scope: Any, default_name: str) -> Iterator[Any]:
    """Opens a variable scope, by name or as an object, and the name scope it was made with.

    Opening a variable scope object alone would start a second name scope, and operations would
    no longer be named like the variables.
    """
    with (
        tf.compat.v1.variable_scope(scope, default_name=default_name) as opened,
        tf.compat.v1.name_scope(opened.original_name_scope),
    ):
        yield opened


@slim.add_arg_scope
def split_separable_conv2d(
    input_tensor: tf.Tensor,
    num_outputs: int,
    scope: str | None = None,
    normalizer_fn: Layer | None = None,
    stride: int = 1,
    rate: int = 1,
    endpoints: dict[str, tf.Tensor] | None = None,
    use_explicit_padding: bool = False,
) -> tf.Tensor:
    """Builds MobileNet v1's pair: 3x3 depthwise, then 1x1, each normalised and activated.

    Args:
        input_tensor: [N, H, W, C] float32.
        num_outputs: Channels of the result.
        scope: The layers are named `SCOPE_depthwise` and `SCOPE_pointwise`; without it, they lie
            in a new scope `separable`.
        normalizer_fn: Of both layers.
        stride: Of the depthwise convolution.
        rate: Atrous rate of the depthwise convolution.
        endpoints: Receives both activations under their scopes.
        use_explicit_padding: Pads before a VALID depthwise convolution.

    Returns:
        [N, H / stride, W / stride, num_outputs].
    """
    outputs = {} if endpoints is None else endpoints
    with contextlib.ExitStack() as stack:
        if scope is None:
            stack.enter_context(open_scope(None, "separable"))
        prefix = f"{scope}_" if scope else ""
        net = _depthwise(
            input_tensor,
            slim.separable_conv2d,
            use_explicit_padding,
            kernel_size=(3, 3),
            stride=stride,
            rate=rate,
            normalizer_fn=normalizer_fn,
            padding="SAME",
            scope=f"{prefix}depthwise",
        )
        outputs[f"{prefix}depthwise"] = net
        net = slim.conv2d(
            net, num_outputs, [1, 1], normalizer_fn=normalizer_fn, scope=f"{prefix}pointwise"
        )
        outputs[f"{prefix}pointwise"] = net
    return net


def _depthwise(
    net: tf.Tensor, layer: Layer, use_explicit_padding: bool, **options: Any
) -> tf.Tensor:
    if use_explicit_padding:
        net = pad_like_same(net, options["kernel_size"], options["rate"])
        options["padding"] = "VALID"
    return layer(net, num_outputs=None, **options)


def _divisible_parts(num_channels: int, num_ways: int, divisible_by: int) -> list[int]:
    """Splits channels as evenly as multiples of `divisible_by` allow, larger parts first."""
    if num_channels % divisible_by:
        raise ValueError(f"{num_channels} channels are no multiple of divisible_by={divisible_by}.")
    units = num_channels // divisible_by
    bounds = [-(-units * index // num_ways) for index in range(num_ways + 1)]
    return [(end - begin) * divisible_by for begin, end in itertools.pairwise(bounds)]


def split_conv(
    input_tensor: tf.Tensor,
    num_outputs: int,
    num_ways: int,
    scope: str,
    divisible_by: int = 8,
    **kwargs: Any,
) -> tf.Tensor:
    """Builds a 1x1 convolution in groups: the i-th part of the input gives the i-th of the output.

    Args:
        input_tensor: [N, H, W, C] float32.
        num_outputs: Channels of the result.
        num_ways: Number of groups; 1 is an ordinary convolution, and so is a split that would
            leave a group fewer than `divisible_by` channels.
        scope: Name of the layer; the i-th of several is `SCOPE_part_i`.
        divisible_by: Every group has a multiple of this many channels.
        **kwargs: Options of `slim.conv2d`.

    Raises:
        ValueError: C or num_outputs cannot be split into multiples of `divisible_by`.
    """
    num_inputs = input_tensor.shape.as_list()[3]
    if num_ways == 1 or min(num_inputs, num_outputs) // num_ways < divisible_by:
        return slim.conv2d(input_tensor, num_outputs, [1, 1], scope=scope, **kwargs)
    parts = tf.split(
        input_tensor, _divisible_parts(num_inputs, num_ways, divisible_by), 3, name=f"split_{scope}"
    )
    depths = _divisible_parts(num_outputs, num_ways, divisible_by)
    outputs = []
    for index, (part, depth) in enumerate(zip(parts, depths, strict=True)):
        name = f"{scope}_part_{index}"
        net = slim.conv2d(part, depth, [1, 1], scope=name, **kwargs)
        outputs.append(tf.identity(net, f"{name}_output"))
    return tf.concat(outputs, 3, name=f"{scope}_concat")


@dataclasses.dataclass(frozen=True)
class ExpandedConv:
    """Options of `expanded_conv`, in TF-Slim's order. An activation of None is the arg scope's.

    Attributes:
        expansion_size: Channels between, or a function of `num_inputs` that returns them; there is
            no expansion where they are not more than come in.
        stride: Of the depthwise convolution.
        rate: Atrous rate of the depthwise convolution.
        kernel_size: Of the depthwise convolution.
        residual: Adds the input where stride is 1 and the channels are the same; or a function of
            `input_tensor` and `output_tensor` that joins them.
        normalizer_fn: Of all three layers.
        split_projection: Groups of the projection, see `split_conv`.
        split_expansion: Groups of the expansion.
        split_divisible_by: The channels of a group are a multiple of this.
        expansion_transform: Function of `expansion_tensor` and `input_tensor`, applied before the
            projection: squeeze and excite.
        depthwise_location: Where the depthwise convolution is; None for nowhere.
        depthwise_channel_multiplier: Filters for each channel of the depthwise convolution.
        endpoints: Receives `expansion_output`, `depthwise_output` and `projection_output`.
        use_explicit_padding: Pads before a VALID depthwise convolution; needs padding SAME.
        padding: Of the depthwise convolution.
        inner_activation_fn: Of the expansion and the depthwise convolution.
        depthwise_activation_fn: Of the depthwise convolution, before inner_activation_fn.
        project_activation_fn: Of the projection; linear by default.
        depthwise_fn: Layer in place of `slim.separable_conv2d`.
        expansion_fn: Layer in place of `split_conv`, called with the tensor, the channels,
            `scope` and `normalizer_fn`.
        projection_fn: As expansion_fn, and with `activation_fn`.
        scope: Name; by default `expanded_conv`, numbered.
    """

    expansion_size: int | Callable[..., int] = expand_input_by_factor(6)  # noqa: RUF009 (pure)
    stride: int = 1
    rate: int = 1
    kernel_size: Kernel = (3, 3)
    residual: bool | Layer = True
    normalizer_fn: Layer | None = None
    split_projection: int = 1
    split_expansion: int = 1
    split_divisible_by: int = 8
    expansion_transform: Layer | None = None
    depthwise_location: Literal["input", "expansion", "output"] | None = "expansion"
    depthwise_channel_multiplier: int = 1
    endpoints: dict[str, tf.Tensor] | None = None
    use_explicit_padding: bool = False
    padding: str = "SAME"
    inner_activation_fn: Layer | None = None
    depthwise_activation_fn: Layer | None = None
    project_activation_fn: Layer = tf.identity
    depthwise_fn: Layer = slim.separable_conv2d
    expansion_fn: Layer = split_conv
    projection_fn: Layer = split_conv
    scope: str | None = None

    def __post_init__(self) -> None:
        if self.depthwise_location not in (None, "input", "expansion", "output"):
            raise ValueError(
                f"depthwise_location is {self.depthwise_location!r}, expected 'input', "
                "'expansion', 'output' or None."
            )
        if self.use_explicit_padding and self.padding != "SAME":
            raise ValueError(
                f"padding is {self.padding!r}, expected 'SAME' with use_explicit_padding."
            )

    def inner_depth(self, num_inputs: int) -> int:
        """Returns the channels between."""
        if callable(self.expansion_size):
            return self.expansion_size(num_inputs=num_inputs)
        return self.expansion_size


@slim.add_arg_scope
def expanded_conv(
    input_tensor: tf.Tensor, num_outputs: int, *args: Any, **kwargs: Any
) -> tf.Tensor:
    """Builds an inverted residual: 1x1 expansion, depthwise, 1x1 projection, plus the input.

    Section 3 of https://arxiv.org/abs/1801.04381.

    Args:
        input_tensor: [N, H, W, C] float32.
        num_outputs: Channels of the result.
        *args: Attributes of `ExpandedConv`, in their order.
        **kwargs: Attributes of `ExpandedConv`.

    Returns:
        [N, H / stride, W / stride, num_outputs].

    Raises:
        ValueError: depthwise_location is unknown, or padding contradicts use_explicit_padding.
    """
    block = ExpandedConv(*args, **kwargs)
    with open_scope(block.scope, "expanded_conv"), _activations(block):
        block_input = tf.identity(input_tensor, "input")
        net = _depthwise_at("input", block_input, block, activation_fn=None)
        net = _expanded(net, block, block.inner_depth(block_input.shape.as_list()[3]))
        net = _depthwise_at("expansion", net, block)
        if block.expansion_transform:
            net = block.expansion_transform(expansion_tensor=net, input_tensor=block_input)
        net = _projected(net, block, num_outputs)
        net = _depthwise_at("output", net, block, activation_fn=None)
        return tf.identity(_joined(block_input, net, block), name="output")


@contextlib.contextmanager
def _activations(block: ExpandedConv) -> Iterator[None]:
    inner = block.inner_activation_fn
    depthwise = block.depthwise_activation_fn or inner
    with contextlib.ExitStack() as stack:
        for layer, function in ((slim.conv2d, inner), (slim.separable_conv2d, depthwise)):
            if function is not None:
                stack.enter_context(slim.arg_scope([layer], activation_fn=function))
        yield


def _depthwise_at(
    location: str, net: tf.Tensor, block: ExpandedConv, **activation: None
) -> tf.Tensor:
    """Builds the depthwise convolution if this is its place in the block."""
    if location != block.depthwise_location:
        return net
    net = _depthwise(
        net,
        block.depthwise_fn,
        block.use_explicit_padding,
        kernel_size=block.kernel_size,
        depth_multiplier=block.depthwise_channel_multiplier,
        stride=block.stride,
        rate=block.rate,
        normalizer_fn=block.normalizer_fn,
        padding=block.padding,
        scope="depthwise",
        **activation,
    )
    return _record(block, "depthwise_output", tf.identity(net, "depthwise_output"))


def _expanded(net: tf.Tensor, block: ExpandedConv, depth: int) -> tf.Tensor:
    if depth <= net.shape.as_list()[3]:
        return net
    layer = _in_ways(block.expansion_fn, block.split_expansion, block)
    net = layer(net, depth, scope="expand", normalizer_fn=block.normalizer_fn)
    return _record(block, "expansion_output", tf.identity(net, "expansion_output"))


def _projected(net: tf.Tensor, block: ExpandedConv, depth: int) -> tf.Tensor:
    layer = _in_ways(block.projection_fn, block.split_projection, block)
    net = layer(
        net,
        depth,
        scope="project",
        normalizer_fn=block.normalizer_fn,
        activation_fn=block.project_activation_fn,
    )
    return _record(block, "projection_output", net)


def _in_ways(layer: Layer, num_ways: int, block: ExpandedConv) -> Layer:
    """Tells `split_conv` its groups; other layers do not take them."""
    if layer is not split_conv:
        return layer
    return functools.partial(layer, num_ways=num_ways, divisible_by=block.split_divisible_by)


def _record(block: ExpandedConv, name: str, net: tf.Tensor) -> tf.Tensor:
    if block.endpoints is not None:
        block.endpoints[name] = net
    return net


def _joined(block_input: tf.Tensor, net: tf.Tensor, block: ExpandedConv) -> tf.Tensor:
    if callable(block.residual):
        return block.residual(input_tensor=block_input, output_tensor=net)
    if (
        block.residual
        and block.stride == 1
        and net.shape.as_list()[3] == block_input.shape.as_list()[3]
    ):
        return net + block_input
    return net


@slim.add_arg_scope
def squeeze_excite(
    input_tensor: tf.Tensor,
    divisible_by: int = 8,
    squeeze_factor: float = 3,
    inner_activation_fn: Layer = tf.nn.relu,
    gating_fn: Layer = tf.sigmoid,
    squeeze_input_tensor: tf.Tensor | None = None,
    pool: int | None = None,
) -> tf.Tensor:
    """Weighs each channel by a gate computed from all channels (arXiv:1709.01507).

    Args:
        input_tensor: [N, H, W, C] float32.
        divisible_by: The squeezed channels are a multiple of this.
        squeeze_factor: Channels that the gate is computed from over squeezed channels.
        inner_activation_fn: Of the squeezed layer.
        gating_fn: Of the gate.
        squeeze_input_tensor: What the gate is computed from, where not from input_tensor.
        pool: Side of the windows that have a gate of their own, scaled up bilinearly; None for one
            gate per image.

    Returns:
        [N, H, W, C], the input times its gates.
    """
    source = input_tensor if squeeze_input_tensor is None else squeeze_input_tensor
    with tf.compat.v1.variable_scope("squeeze_excite"):
        pooled = _pooled(source, pool)
        squeezed = slim.conv2d(
            pooled,
            make_divisible(source.shape.as_list()[3] / squeeze_factor, divisible_by),
            [1, 1],
            normalizer_fn=None,
            activation_fn=inner_activation_fn,
        )
        gates = slim.conv2d(
            squeezed,
            input_tensor.shape.as_list()[3],
            [1, 1],
            normalizer_fn=None,
            activation_fn=gating_fn,
        )
        if pool is not None:
            size = tf.shape(input_tensor)[1:3]
            gates = tf.compat.v1.image.resize_bilinear(gates, size, align_corners=True)
        return input_tensor * gates


def _pooled(features: tf.Tensor, window: int | None) -> tf.Tensor:
    """Averages windows of [N, H, W, C], or the whole map where it is lower than a window."""
    height = features.shape.as_list()[1]
    if window is None or (height is not None and height < window):
        return tf.reduce_mean(features, [1, 2], keepdims=True)
    return tf.nn.avg_pool2d(features, window, window, "VALID")
