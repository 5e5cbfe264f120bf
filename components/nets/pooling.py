"""The average pool before a head, for images of the published size and of others."""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets.slim import slim


def reduced_kernel(features: tf.Tensor, kernel: tuple[int, int]) -> list[int]:
    """Returns `kernel`, cut to the feature map where that is smaller. features: [N, H, W, C]."""
    height, width = features.shape[1], features.shape[2]
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
) -> tf.Tensor:
    """Averages [N, H, W, C] to [N, 1, 1, C] and records the result in `end_points`.

    Args:
        features: The last feature map.
        end_points: Receives `global_pool`, or `name`, as in TF-Slim.
        name: End point and scope of the windowed pool.
        kernel: Feature map of the published image size; a smaller map is averaged whole.
        global_pool: Averages the whole map, however large.
        stride: Of the windowed pool; matters only for maps larger than `kernel`.
        scope_has_size: The scope is `name` and the window, such as "AvgPool_1a_8x8".
    """
    if global_pool:
        net = tf.reduce_mean(features, [1, 2], keepdims=True, name="global_pool")
        end_points["global_pool"] = net
        return net
    window = reduced_kernel(features, kernel)
    scope = f"{name}_{window[0]}x{window[1]}" if scope_has_size else name
    net = slim.avg_pool2d(features, window, stride=stride, padding="VALID", scope=scope)
    end_points[name] = net
    return net
