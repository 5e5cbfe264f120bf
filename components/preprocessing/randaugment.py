"""RandAugment (Cubuk et al. 2020) on stored images, in TensorFlow's own stateless ops.

Each of the layers draws one change, as likely as any other; those that have a direction draw it
too. Grey images have no change of colour. What comes in from outside is grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

MAX_MAGNITUDE = 10
# At the highest magnitude; the paper's code and torchvision's.
_MAX_ROTATION = math.radians(30.0)
_MAX_SHEAR, _MAX_SHIFT, _MAX_ENHANCEMENT = 0.3, 0.45, 0.9
_MAX_LOST_BITS = 4
_GREY = 128.0
_LUMA = (0.299, 0.587, 0.114)
_SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))  # Pillow's ImageFilter.SMOOTH
_NUM_LEVELS = 256

# Image float32 [S, S, C] of whole numbers in [0, 255], strength float32 [] in [-1, 1] -> the same
# shape, any real numbers. Changes without a direction take the strength's absolute value.
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def rand_augment(
    stored: tf.Tensor, num_layers: int, magnitude: float, seed: tf.Tensor
) -> tf.Tensor:
    """Applies so many random changes, one after the other.

    Args:
        stored: uint8 [S, S, C], 1 or 3 channels.
        num_layers: Changes in a row.
        magnitude: From 0 to MAX_MAGNITUDE, how strong they are.
        seed: Integers [2]; the same seed gives the same image.

    Returns:
        uint8 [S, S, C].
    """
    changes = changes_for(stored.shape.as_list()[-1])
    image = tf.cast(stored, tf.float32)
    random = tf.random.stateless_uniform([num_layers, 2], seed)
    for layer in range(num_layers):
        choice = tf.cast(random[layer, 0] * len(changes), tf.int32)
        sign = tf.where(random[layer, 1] < 0.5, -1.0, 1.0)
        strength = sign * magnitude / MAX_MAGNITUDE
        changed = tf.switch_case(
            choice,
            [lambda change=change: change(image, strength) for change in changes.values()],  # noqa: B023 (called at once)
        )
        image = tf.round(tf.clip_by_value(tf.ensure_shape(changed, stored.shape), 0.0, 255.0))
    return tf.cast(image, tf.uint8)


def changes_for(num_channels: int) -> dict[str, Change]:
    """The changes of images of so many channels, by name."""
    return {
        name: change
        for name, change in _CHANGES.items()
        if num_channels == 3 or name not in _NEED_COLOR
    }


def _identity(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    del strength
    return image


def _auto_contrast(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to the whole range."""
    del strength
    low, high = (reduce(image, axis=[0, 1]) for reduce in (tf.reduce_min, tf.reduce_max))
    scale = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    return (image - tf.where(high > low, low, 0.0)) * scale


def _equalize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Evens out each channel's histogram."""
    del strength
    size, channels = image.shape.as_list()[-2:]
    levels = tf.reshape(tf.cast(image, tf.int32), [-1, channels])
    # All channels in one histogram: a level of channel c counts as level + 256 c.
    levels += _NUM_LEVELS * tf.range(channels)
    counts = tf.math.bincount(
        tf.reshape(levels, [-1]),
        minlength=_NUM_LEVELS * channels, maxlength=_NUM_LEVELS * channels, dtype=tf.float32,
    )  # fmt: skip
    counts = tf.reshape(counts, [channels, _NUM_LEVELS])
    below = tf.cumsum(counts, axis=1, exclusive=True)
    # The share of the darker pixels among those that are not the brightest.
    brightest = tf.reduce_max(tf.where(counts > 0.0, below, 0.0), axis=1, keepdims=True)
    mapped = tf.math.divide_no_nan(255.0 * below, brightest)
    plain = tf.range(_NUM_LEVELS, dtype=tf.float32)  # of a channel with a single level
    table = tf.reshape(tf.where(brightest > 0.0, mapped, plain), [-1])
    return tf.reshape(tf.gather(table, levels), [size, size, channels])


def _posterize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    step = 2.0 ** tf.round(_MAX_LOST_BITS * tf.abs(strength))
    return tf.floor(image / step) * step


def _solarize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Inverts what is brighter than a threshold."""
    return tf.where(image >= _NUM_LEVELS * (1.0 - tf.abs(strength)), 255.0 - image, image)


def _color(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    luma = tf.tensordot(image, tf.constant(_LUMA), 1)[..., tf.newaxis]
    return _enhanced(image, luma, strength)


def _contrast(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _enhanced(image, tf.reduce_mean(image), strength)


def _brightness(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _enhanced(image, tf.constant(0.0), strength)


def _sharpness(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    channels = image.shape.as_list()[-1]
    kernel = tf.tile(tf.constant(_SMOOTH)[:, :, None, None] / 13.0, [1, 1, channels, 1])
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    smooth = tf.nn.depthwise_conv2d(padded[tf.newaxis], kernel, [1, 1, 1, 1], "VALID")[0]
    return _enhanced(image, smooth, strength)


def _enhanced(image: tf.Tensor, degenerate: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Away from a degenerate image or towards it, as Pillow's ImageEnhance."""
    return degenerate + (1.0 + _MAX_ENHANCEMENT * strength) * (image - degenerate)


def _rotate(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    angle = _MAX_ROTATION * strength
    return _warped(image, tf.cos(angle), tf.sin(angle), -tf.sin(angle), tf.cos(angle))


def _shear_x(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _warped(image, 1.0, _MAX_SHEAR * strength, 0.0, 1.0)


def _shear_y(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _warped(image, 1.0, 0.0, _MAX_SHEAR * strength, 1.0)


def _translate_x(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _warped(image, 1.0, 0.0, 0.0, 1.0, right=_MAX_SHIFT * strength)


def _translate_y(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return _warped(image, 1.0, 0.0, 0.0, 1.0, down=_MAX_SHIFT * strength)


def _warped(
    image: tf.Tensor, xx: tf.Tensor | float, xy: tf.Tensor | float, yx: tf.Tensor | float,
    yy: tf.Tensor | float, right: tf.Tensor | float = 0.0, down: tf.Tensor | float = 0.0,
) -> tf.Tensor:  # fmt: skip
    """Takes each pixel from (xx x + xy y - right, yx x + yy y - down) around the centre.

    Shifts are fractions of the side.
    """
    size = image.shape.as_list()[0]
    centre = 0.5 * (size - 1)
    x = centre - xx * centre - xy * centre - right * size
    y = centre - yx * centre - yy * centre - down * size
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([xx, xy, x, yx, yy, y, 0.0, 0.0])[tf.newaxis],
        output_shape=[size, size],
        fill_value=_GREY,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


_CHANGES: dict[str, Change] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
_NEED_COLOR = frozenset({"color"})
