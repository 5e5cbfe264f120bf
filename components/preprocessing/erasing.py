"""Random erasing (Zhong et al. 2020): a rectangle of some training images goes blank."""

from __future__ import annotations

import math

import tensorflow as tf

# The paper's.
_AREAS = (0.02, 0.33)
_MAX_ASPECT_RATIO = 3.3


def random_erasing(image: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Sets a rectangle of the image to 0, which all families have in the middle of their range.

    Args:
        image: float32 [H, W, C], ready for the network.
        probability: Part of the images that lose a rectangle, of 2 to 33 % of the area.
        seed: Integers [2]; the same seed gives the same image.

    Returns:
        float32 [H, W, C].
    """
    random = tf.unstack(tf.random.stateless_uniform([5], seed))
    # Most images stay as they are: only the others pay for it.
    return tf.cond(random[0] < probability, lambda: _erased(image, random[1:]), lambda: image)


def _erased(image: tf.Tensor, random: list[tf.Tensor]) -> tf.Tensor:
    height, width = image.shape.as_list()[:2]
    area = _AREAS[0] + (_AREAS[1] - _AREAS[0]) * random[0]
    ratio = tf.exp(math.log(_MAX_ASPECT_RATIO) * (2.0 * random[1] - 1.0))
    # A long rectangle may be longer than the image: it loses what does not fit.
    rows = _inside(height, tf.sqrt(area * ratio), random[2])
    columns = _inside(width, tf.sqrt(area / ratio), random[3])
    erased = rows[:, tf.newaxis] & columns[tf.newaxis, :]
    return tf.where(erased[..., tf.newaxis], 0.0, image)


def _inside(size: int, length: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Which of `size` pixels a stretch of `length` (a fraction) covers: bool [size]."""
    start = place * tf.maximum(1.0 - length, 0.0)
    pixels = (tf.range(size, dtype=tf.float32) + 0.5) / size
    return (pixels >= start) & (pixels < start + length)
