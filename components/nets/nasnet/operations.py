"""Operations that the cells of NASNet and PNASNet consist of.

Functions with a `data_format` take it from the arg scope around them; it has no default.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets import randomness
from slimworks.components.nets.slim import slim

INVALID = "null"


def calc_reduction_layers(num_cells: int, num_reduction_layers: int) -> list[int]:
    """Returns the indices of the cells that reductions come before: evenly spread."""
    parts = num_reduction_layers + 1
    return [int(part / parts * num_cells) for part in range(1, parts)]


@slim.add_arg_scope
def get_channel_index(data_format: str = INVALID) -> int:
    """Returns the axis of the channels: 3 for "NHWC", 1 for "NCHW"."""
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError(f"data_format is {data_format!r}, expected 'NHWC' or 'NCHW'.")
    return data_format.index("C")


@slim.add_arg_scope
def get_channel_dim(shape: tf.TensorShape, data_format: str = INVALID) -> int:
    """Returns the number of channels of a shape of rank 4."""
    if len(shape) != 4:
        raise ValueError(f"shape is {shape}, expected four dimensions.")
    return int(shape[get_channel_index(data_format=data_format)])


@slim.add_arg_scope
def global_avg_pool(x: tf.Tensor, data_format: str = INVALID) -> tf.Tensor:
    """Averages over H and W: a tensor of rank 4 -> [N, C]."""
    axes = [1, 2] if get_channel_index(data_format=data_format) == 3 else [2, 3]
    return tf.reduce_mean(x, axes)


def spatial_size(net: tf.Tensor) -> tuple[int, int]:
    """Returns height and width, which must be static."""
    shape = net.shape.as_list()
    height, width = shape[1:3] if get_channel_index() == 3 else shape[2:4]
    return int(height), int(width)


@slim.add_arg_scope
def factorized_reduction(
    net: tf.Tensor, output_filters: int, stride: int, data_format: str = INVALID
) -> tf.Tensor:
    """Projects to `output_filters` channels; a stride keeps two of its pixels, not one.

    Half of the channels come from the pixels at multiples of `stride`, the other half from their
    neighbours one pixel further down and right.
    """
    if stride == 1:
        net = slim.conv2d(net, output_filters, 1, scope="path_conv")
        return slim.batch_norm(net, scope="path_bn")
    channel_axis = get_channel_index(data_format=data_format)
    is_spatial = [axis not in (0, channel_axis) for axis in range(4)]
    padded = tf.pad(net, [[0, int(spatial)] for spatial in is_spatial])
    shifted = padded[tuple(slice(int(spatial), None) for spatial in is_spatial)]
    steps = [stride if spatial else 1 for spatial in is_spatial]
    first_filters = output_filters // 2
    filters = (first_filters, output_filters - first_filters)
    paths = []
    for number, (pixels, depth) in enumerate(zip((net, shifted), filters, strict=True), start=1):
        kept = tf.nn.avg_pool2d(pixels, 1, steps, "VALID", data_format=data_format)
        paths.append(slim.conv2d(kept, depth, 1, scope=f"path{number}_conv"))
    return slim.batch_norm(tf.concat(paths, channel_axis), scope="final_path_bn")


@slim.add_arg_scope
def drop_path(net: tf.Tensor, keep_prob: tf.Tensor | float, is_training: bool = True) -> tf.Tensor:
    """Zeroes whole images of a batch at random and scales the others by 1 / keep_prob.

    Args:
        net: Activations of one path, rank 4, images first.
        keep_prob: Probability that an image keeps the path, in (0, 1].
        is_training: If not, `net` is returned as it is.
    """
    if not is_training:
        return net
    keep_prob = tf.cast(keep_prob, tf.float32)
    scope = tf.compat.v1.get_variable_scope().name
    noise = randomness.uniform([tf.shape(net)[0], 1, 1, 1], f"{scope}/drop_path")
    kept = tf.cast(tf.floor(keep_prob + noise), net.dtype)
    return net * tf.cast(1.0 / keep_prob, net.dtype) * kept


def schedule_step(current_step: tf.Tensor | None) -> tf.Tensor | None:
    """Returns the optimiser update that drop path is at: `current_step`, or the global step.

    A TF1 graph gets a global step where it has none, as in TF-Slim. A traced TF2 function has no
    such thing: None.
    """
    if current_step is not None:
        return current_step
    if tf.compat.v1.get_default_graph().building_function:
        return tf.compat.v1.train.get_global_step()
    return tf.compat.v1.train.get_or_create_global_step()
