"""Network input as pictures that people can look at: the way back from each family's range."""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import geometry, vgg


def to_pixels(inputs: tf.Tensor, family: str) -> tf.Tensor:
    """Undoes a family's normalisation.

    Args:
        inputs: float32 [N, H, W, C] as `for_eval` and `for_train` return it.
        family: One of geometry.FAMILIES.

    Returns:
        uint8 [N, H, W, C]. Standardised images (cifarnet) have lost their brightness and
        contrast: each is stretched from its darkest to its brightest value.
    """
    family = geometry.check_family(family)
    if family == "vgg":
        values = inputs + vgg.channel_means(inputs.shape.as_list()[-1])
    elif family == "cifarnet":
        low = tf.reduce_min(inputs, axis=[1, 2, 3], keepdims=True)
        high = tf.reduce_max(inputs, axis=[1, 2, 3], keepdims=True)
        values = tf.math.divide_no_nan(inputs - low, high - low) * 255.0
    else:  # inception and lenet end at -1 and 1
        values = (inputs + 1.0) * 127.5
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)
