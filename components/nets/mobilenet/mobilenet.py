"""The body and head shared by MobileNet v2, v3 and EdgeTPU, under TF-Slim's names.

A network is a dictionary of definitions: `spec`, a list of `op`s; `defaults`, the arg scopes below
it, by tuples of functions; and `overrides`, arg scopes that win over the defaults. Nothing here
changes one; whoever wants another edits a deep copy.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from slimworks.components.nets.atrous import strides_and_rates
from slimworks.components.nets.mobilenet import conv_blocks
from slimworks.components.nets.slim import slim

ConvDefs = Mapping[str, Any]
EndPoints = dict[str, tf.Tensor]

CONVOLUTIONS = (slim.conv2d, slim.fully_connected, slim.separable_conv2d)


class Op(NamedTuple):
    """One layer of a definition.

    Attributes:
        op: Function of a tensor and of `params`.
        params: Its options at full width.
        multiplier_func: Called with a copy of `params` and the depth multiplier; edits the copy.
    """

    op: Callable[..., tf.Tensor]
    params: dict[str, Any]
    multiplier_func: Callable[..., Any]


@slim.add_arg_scope
def depth_multiplier(
    output_params: dict[str, Any],
    multiplier: float,
    divisible_by: int = 8,
    min_depth: int = 8,
    **unused_kwargs: Any,
) -> None:
    """Scales `output_params["num_outputs"]` in place.

    Args:
        output_params: Options of a layer.
        multiplier: Factor on its channels, > 0.
        divisible_by: The channels are a multiple of this.
        min_depth: Least number of channels.
        **unused_kwargs: Ignored, for arg scopes that say more.
    """
    if "num_outputs" in output_params:
        depth = output_params["num_outputs"] * multiplier
        output_params["num_outputs"] = conv_blocks.make_divisible(depth, divisible_by, min_depth)


def op(
    opfunc: Callable[..., tf.Tensor],
    multiplier_func: Callable[..., Any] = depth_multiplier,
    **params: Any,
) -> Op:
    """Returns a layer for the `spec` of a definition; `params` are options of `opfunc`."""
    return Op(opfunc, params, params.pop("multiplier_transform", multiplier_func))


class NoOpScope:
    """A context that does nothing."""

    def __enter__(self) -> None:
        """Does nothing."""

    def __exit__(self, *exception: object) -> None:
        """Lets exceptions pass."""


def safe_arg_scope(funcs: Iterable[Callable[..., Any]], **kwargs: Any) -> Any:
    """Returns `slim.arg_scope` for the options that are not None: None leaves them as they are."""
    options = {name: value for name, value in kwargs.items() if value is not None}
    return slim.arg_scope(list(funcs), **options) if options else NoOpScope()


@slim.add_arg_scope
def mobilenet_base(
    inputs: tf.Tensor,
    conv_defs: ConvDefs,
    multiplier: float = 1.0,
    final_endpoint: str | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: Any = None,
    is_training: bool | None = False,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds the layers of a definition, for inference unless told otherwise.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        conv_defs: The definition, such as `mobilenet_v2.V2_DEF`.
        multiplier: Factor on the channels of every layer, > 0.
        final_endpoint: Name of the last layer to build, `layer_I`; None for all.
        output_stride: Most of input over output resolution, a product of the first strides of the
            definition; layers beyond it become atrous. None for the definition's own.
        use_explicit_padding: Pads before VALID convolutions, so that the padding does not depend
            on the image size.
        scope: Prefix of the variable names.
        is_training: Batch norm uses the batch's statistics; None leaves that to the arg scope.

    Returns:
        The last activation, and by name the activations of all layers and, as `layer_I/NAME`,
        what a layer itself names `...output`.

    Raises:
        ValueError: multiplier, output_stride or final_endpoint is out of range.
    """
    layers = _named_layers(conv_defs, final_endpoint)
    if multiplier <= 0:
        raise ValueError(f"multiplier is {multiplier}, expected a number above 0.")
    plan = _checked_plan(layers, output_stride)
    graph = inputs.graph
    num_operations = len(graph.get_operations())
    end_points: EndPoints = {}
    with (
        conv_blocks.open_scope(scope, "Mobilenet"),
        safe_arg_scope([slim.batch_norm], is_training=is_training),
        _arg_scopes(conv_defs.get("defaults", {})),
        _arg_scopes(conv_defs.get("overrides", {})),
        safe_arg_scope(
            [slim.conv2d, slim.separable_conv2d], padding="VALID" if use_explicit_padding else None
        ),
    ):
        net = inputs
        for index, (layer, (stride, rate)) in enumerate(zip(layers, plan, strict=True)):
            net = _build(net, layer, multiplier, stride, rate, use_explicit_padding)
            end_points[f"layer_{index + 1}"] = net
    inner = _inner_outputs(end_points, graph.get_operations()[num_operations:])
    return net, {**end_points, **inner}


def _named_layers(conv_defs: ConvDefs, final_endpoint: str | None) -> list[Op]:
    """Returns the layers up to and including `final_endpoint`."""
    layers = list(conv_defs["spec"])
    names = [f"layer_{index + 1}" for index in range(len(layers))]
    if final_endpoint is None:
        return layers
    if final_endpoint not in names:
        raise ValueError(
            f"Unknown final_endpoint {final_endpoint!r}, known: {names[0]} to {names[-1]}."
        )
    return layers[: names.index(final_endpoint) + 1]


def _checked_plan(layers: Iterable[Op], output_stride: int | None) -> list[tuple[int, int]]:
    """Returns (stride, rate) per layer; an output stride that would be jumped over is an error."""
    strides = [layer.params.get("stride", 1) for layer in layers]
    plan = strides_and_rates(strides, output_stride)
    total = math.prod(stride for stride, _ in plan)
    # A larger one than these layers reach, which may not be all of the network's, asks for nothing.
    is_larger = output_stride is not None and output_stride > total and output_stride % 2 == 0
    if output_stride in (None, total) or is_larger:
        return plan
    reached = sorted({1, *itertools.accumulate(strides, operator.mul)})
    known = ", ".join(map(str, reached))
    raise ValueError(f"output_stride is {output_stride}, expected {known} or None.")


def _build(
    net: tf.Tensor,
    layer: Op,
    multiplier: float,
    stride: int,
    rate: int,
    use_explicit_padding: bool,
) -> tf.Tensor:
    params = dict(layer.params)
    layer.multiplier_func(params, multiplier)
    params["stride"] = stride
    kernel_size = params.get("kernel_size")
    if rate > 1 and not _is_pointwise(kernel_size):
        params["rate"] = rate
    if use_explicit_padding:
        if _pads_itself(layer.op):
            params["use_explicit_padding"] = True
        elif kernel_size is not None:
            net = conv_blocks.pad_like_same(net, kernel_size, rate)
    return layer.op(net, **params)


def _is_pointwise(kernel_size: Any) -> bool:
    return kernel_size is not None and tuple(kernel_size) == (1, 1)


def _pads_itself(layer: Callable[..., Any]) -> bool:
    parameters = inspect.signature(layer).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any or "use_explicit_padding" in parameters


@contextlib.contextmanager
def _arg_scopes(scopes: Mapping[Any, Mapping[str, Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for functions, options in scopes.items():
            stack.enter_context(slim.arg_scope(list(functions), **options))
        yield


def _inner_outputs(end_points: EndPoints, operations: Iterable[tf.Operation]) -> EndPoints:
    """Returns what lies beside a layer's result in its name scope and is named `...output`."""
    layers = {net.op.name.rpartition("/")[0]: name for name, net in end_points.items()}
    outputs = {}
    for operation in operations:
        scope, _, name = operation.name.rpartition("/")
        if scope in layers and name.endswith("output"):
            outputs[f"{layers[scope]}/{name}"] = operation.outputs[0]
    return outputs


@slim.add_arg_scope
def mobilenet(
    inputs: tf.Tensor,
    num_classes: int | None = 1001,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    reuse: bool | None = None,
    scope: str = "Mobilenet",
    base_only: bool = False,
    use_reduce_mean_for_pooling: bool = False,
    **mobilenet_args: Any,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds a MobileNet for classification, for inference unless told otherwise.

    Args:
        inputs: [N, H, W, C] float32, in [-1, 1] for the published checkpoints.
        num_classes: K. None or 0 returns the pooled features before the head.
        prediction_fn: Maps logits to `end_points["Predictions"]`; None for no such end point.
        reuse: Whether the variables exist already in this TF1 graph.
        scope: Prefix of the variable names.
        base_only: Returns the last layer, without pool and head.
        use_reduce_mean_for_pooling: Averages by a reduction instead of by a pool.
        **mobilenet_args: Options of `mobilenet_base`; conv_defs is needed.

    Returns:
        Logits [N, K] (features [N, 1, 1, D] without a head) and activations by name.

    Raises:
        ValueError: inputs is not of rank 4, or an option is out of range.
    """
    if inputs.shape.rank != 4:
        raise ValueError(f"inputs has shape {inputs.shape}, expected [N, H, W, C].")
    with tf.compat.v1.variable_scope(scope, "Mobilenet", reuse=reuse) as outer:
        images = tf.identity(inputs, "input")
        net, end_points = mobilenet_base(images, scope=outer, **mobilenet_args)
        if base_only:
            return net, end_points
        net = tf.identity(net, name="embedding")
        with tf.compat.v1.variable_scope("Logits"):
            net = global_pool(net, use_reduce_mean_for_pooling)
            end_points["global_pool"] = net
            if not num_classes:
                return net, end_points
            logits = _logits(net, num_classes, mobilenet_args.get("is_training", False))
        end_points["Logits"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, "Predictions")
    return logits, end_points


def _logits(features: tf.Tensor, num_classes: int, is_training: bool | None) -> tf.Tensor:
    with safe_arg_scope([slim.dropout], is_training=is_training):
        net = slim.dropout(features, scope="Dropout")
    net = slim.conv2d(
        net,
        num_classes,
        [1, 1],
        activation_fn=None,
        normalizer_fn=None,
        biases_initializer=tf.compat.v1.zeros_initializer(),
        scope="Conv2d_1c_1x1",
    )
    return tf.identity(tf.squeeze(net, [1, 2]), name="output")


def global_pool(
    input_tensor: tf.Tensor,
    use_reduce_mean_for_pooling: bool = False,
    pool_op: Callable[..., tf.Tensor] = tf.nn.avg_pool2d,
) -> tf.Tensor:
    """Pools [N, H, W, C] to [N, 1, 1, C].

    Args:
        input_tensor: The last feature map. Where H or W is unknown, it is averaged by a reduction:
            pools need a known window.
        use_reduce_mean_for_pooling: Averages by a reduction at known sizes, too.
        pool_op: Pool of the whole map.

    Raises:
        ValueError: pool_op is another than the average, and H or W is unknown.
    """
    height, width = input_tensor.shape.as_list()[1], input_tensor.shape.as_list()[2]
    is_known = height is not None and width is not None
    if not is_known and pool_op is not tf.nn.avg_pool2d:
        raise ValueError(f"{pool_op} needs a known size, the features are {input_tensor.shape}.")
    if use_reduce_mean_for_pooling or not is_known:
        return tf.reduce_mean(input_tensor, [1, 2], keepdims=True, name="ReduceMean")
    window = [1, height, width, 1]
    return pool_op(input_tensor, ksize=window, strides=[1, 1, 1, 1], padding="VALID")


def training_scope(
    is_training: bool | None = True,
    weight_decay: float = 0.00004,
    stddev: float = 0.09,
    dropout_keep_prob: float | None = 0.8,
    bn_decay: float | None = 0.997,
) -> dict[str, Any]:
    """Returns the arg scope of MobileNet v2 and v3: L2 without depthwise weights.

    What changes the network itself, such as activations, stands in its definition instead.

    Args:
        is_training: Batch norm uses the batch's statistics, and dropout is active; None leaves
            that to the network's option.
        weight_decay: L2 factor.
        stddev: Of the initial weights; negative for Xavier's initializer.
        dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        bn_decay: Decay of batch norm's moving averages.
    """
    initializer = (
        slim.xavier_initializer()
        if stddev < 0
        else tf.compat.v1.truncated_normal_initializer(stddev=stddev)
    )
    with (
        slim.arg_scope(
            list(CONVOLUTIONS), weights_initializer=initializer, normalizer_fn=slim.batch_norm
        ),
        slim.arg_scope([mobilenet_base, mobilenet], is_training=is_training),
        safe_arg_scope([slim.batch_norm], is_training=is_training, decay=bn_decay),
        safe_arg_scope([slim.dropout], is_training=is_training, keep_prob=dropout_keep_prob),
        slim.arg_scope([slim.conv2d], weights_regularizer=slim.l2_regularizer(weight_decay)),
        # "Little or no weight decay on the depthwise filters" (section 3.2 of arXiv:1704.04861).
        slim.arg_scope([slim.separable_conv2d], weights_regularizer=None) as scope,
    ):
        return scope
