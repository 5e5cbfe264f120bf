"""Random colours of Inception's training images, as in Szegedy et al. 2015 and TF-Slim.

All take float32 [H, W, C] in [0, 1] and a seed [2].
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

MAX_BRIGHTNESS = 32 / 255
SATURATION = (0.5, 1.5)
_CONTRAST = (0.5, 1.5)
_MAX_HUE = 0.2


def _brightness(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_brightness(image, MAX_BRIGHTNESS, seed)


def _saturation(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_saturation(image, *SATURATION, seed)


def _hue(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_hue(image, _MAX_HUE, seed)


def _contrast(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_contrast(image, *_CONTRAST, seed)


_FAST_ORDERING = (_brightness, _saturation)
_SLOW_ORDERINGS = (
    (_brightness, _saturation, _hue, _contrast),
    (_saturation, _brightness, _contrast, _hue),
    (_contrast, _hue, _brightness, _saturation),
    (_hue, _saturation, _contrast, _brightness),
)
_NEED_COLOR = (_saturation, _hue)


def distort_color(image: tf.Tensor, seed: tf.Tensor, fast_mode: bool) -> tf.Tensor:
    """Varies the colours and clips.

    Args:
        image: float32 [H, W, C] in [0, 1]; with one channel, saturation and hue stay out.
        seed: Integers [2].
        fast_mode: Brightness and saturation only; otherwise hue and contrast too, in one of four
            orderings, each as likely.

    Returns:
        float32 [H, W, C] in [0, 1].
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    if fast_mode:
        return _applied(_FAST_ORDERING, image, seeds)
    choice = tf.random.stateless_uniform([], seeds[4], 0, len(_SLOW_ORDERINGS), dtype=tf.int32)
    return tf.switch_case(
        choice,
        [lambda changes=changes: _applied(changes, image, seeds) for changes in _SLOW_ORDERINGS],
    )


def _applied(changes: tuple[_Change, ...], image: tf.Tensor, seeds: list[tf.Tensor]) -> tf.Tensor:
    for change, seed in zip(changes, seeds, strict=False):
        if image.shape.as_list()[-1] == 3 or change not in _NEED_COLOR:
            image = change(image, seed)
    return tf.clip_by_value(image, 0.0, 1.0)
