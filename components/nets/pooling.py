"""The average pool before a head, for images of the published size and of others."""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets.slim import slim


def reduced_kernel(features: tf.Tensor, kernel: tuple[int, int]) -> list[int]:
    """Returns `kernel`, cut to the feature map where that is smaller. features: [N, H, W, C]."""
    height, width = features.shape.as_list()[1], features.shape.as_list()[2]
    if height is None or width is None:
        return list(kernel)
    return [min(height, kernel[0]), min(width, kernel[1])]


def pool(
    features: tf.Tensor,
    end_points: dict[str, tf.Tensor],
    name: str,
    kernel: tuple[int, int],
    global_pool: bool,
    stride: int = 2,
    scope_has_size: bool = False,
    is_squeezed: bool = False,
) -> tf.Tensor:
    """Averages [N, H, W, C] to [N, h, w, C] and records the result in `end_points`.

    TF-Slim's window leaves h = w = 1 at the published image size, somewhat above it and below.

    Args:
        features: The last feature map.
        end_points: Receives `global_pool`, or `name`, as in TF-Slim.
        name: End point and scope of the windowed pool.
        kernel: Feature map of the published image size; a smaller map is averaged whole.
        global_pool: Averages the whole map, however large.
        stride: Of the windowed pool; matters only for maps larger than `kernel`.
        scope_has_size: The scope is `name` and the window, such as "AvgPool_1a_8x8".
        is_squeezed: h = w = 1 is needed: the whole map is averaged where the window would leave
            more (TF-Slim fails there).
    """
    window = reduced_kernel(features, kernel)
    if global_pool or (is_squeezed and _leaves_more_than_one(features, window, stride)):
        net = tf.reduce_mean(features, [1, 2], keepdims=True, name="global_pool")
        end_points["global_pool"] = net
        return net
    scope = f"{name}_{window[0]}x{window[1]}" if scope_has_size else name
    net = slim.avg_pool2d(features, window, stride=stride, padding="VALID", scope=scope)
    end_points[name] = net
    return net


def has_more_than_one_pixel(features: tf.Tensor) -> bool:
    """Whether H or W is known to be above 1. features: [N, H, W, C]."""
    return any(side is not None and side > 1 for side in features.shape[1:3].as_list())


def _leaves_more_than_one(features: tf.Tensor, window: list[int], stride: int) -> bool:
    sides = zip(features.shape[1:3].as_list(), window, strict=True)
    return any(side is not None and side - length >= stride for side, length in sides)
