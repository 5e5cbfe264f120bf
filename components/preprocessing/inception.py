"""Inception, MobileNet and NASNet preprocessing: whole image warped, pixels in [-1, 1].

Stored image: the whole photo, warped to a square (TF-Slim also warps after its central crop).
Cropping the stored centre shows what TF-Slim's evaluation shows, and random boxes inside it what
its training shows; only the order of crop and resize differs.
"""

from __future__ import annotations

import math

import tensorflow as tf

from slimworks.components.preprocessing import geometry, resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = True
# TF-Slim's inception_preprocessing, fast mode: its shapes of boxes, brightness and saturation.
_ASPECT_RATIO = 4 / 3
_MAX_BRIGHTNESS = 32 / 255
_SATURATION = (0.5, 1.5)
_LUMA = (0.299, 0.587, 0.114)

resize_for_storage = resizing.warp


def for_eval(stored: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [N, S, S, C] -> float32 [N, image_size, image_size, C] in [-1, 1]."""
    default_size = geometry.stored_size("inception", image_size)
    return resizing.central_view(stored, default_size, image_size) / 127.5 - 1.0


def for_train(
    stored: tf.Tensor, image_size: int, seed: tf.Tensor, augmentation: AugmentationSettings,
    flips: bool,
) -> tf.Tensor:  # fmt: skip
    """Random box, flip, brightness and saturation.

    Args:
        stored: uint8 [S, S, C].
        image_size: Side of the network's input.
        seed: Integer [2]; the same seed gives the same image.
        augmentation: How much of each.
        flips: Whether half of the images are mirrored.

    Returns:
        float32 [image_size, image_size, C] in [-1, 1].
    """
    random = tf.unstack(tf.random.stateless_uniform([7], seed))
    box = _random_box(random[:4], augmentation.min_crop_area_fraction)
    mirrored = (random[4] < 0.5) & flips
    image = resizing.crop_and_resize(stored, box, mirrored, image_size) / 127.5 - 1.0
    if not augmentation.color_jitter:
        return image
    return _jitter(image, random[5], random[6])


def eval_exact(
    image: tf.Tensor, height: int, width: int, use_grayscale: bool = False, crop_image: bool = True
) -> tf.Tensor:
    """TF-Slim's own evaluation preprocessing, for checkpoints used without our pipeline.

    Args:
        image: uint8 [H, W, C], decoded.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.
        crop_image: Keep only the central 0.875 of each side.

    Returns:
        float32 [height, width, C or 1] in [-1, 1].
    """
    pixels = tf.image.convert_image_dtype(image, tf.float32)
    if use_grayscale and image.shape[-1] != 1:
        pixels = tf.image.rgb_to_grayscale(pixels)
    if crop_image:
        pixels = tf.image.central_crop(pixels, geometry.CENTRAL_FRACTION)
    return (resizing.resize_legacy(pixels, height, width) - 0.5) * 2.0


def _random_box(
    random: list[tf.Tensor], min_area: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Area and shape uniform within bounds, such that the box always fits: nothing is redrawn.

    The shape is measured on the stored square, so boxes have the photo's own shape on average, as
    the evaluation's crop has.
    """
    area = min_area + (1.0 - min_area) * random[0]
    # height = sqrt(area / ratio) <= 1 and width = sqrt(area * ratio) <= 1.
    log_ratio = tf.minimum(math.log(_ASPECT_RATIO), -tf.math.log(area)) * (2.0 * random[1] - 1.0)
    height, width = tf.sqrt(area * tf.exp(-log_ratio)), tf.sqrt(area * tf.exp(log_ratio))
    return (1.0 - height) * random[2], (1.0 - width) * random[3], height, width


def _jitter(image: tf.Tensor, brightness: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Brightness, then saturation as a blend with luma: one product instead of a trip to HSV."""
    # The image is in [-1, 1], twice as wide as the [0, 1] that the bounds are meant for.
    shift = 2.0 * _MAX_BRIGHTNESS * (2.0 * brightness - 1.0)
    if image.shape[-1] == 3:
        low, high = _SATURATION
        factor = low + (high - low) * saturation
        matrix = factor * tf.eye(3) + (1.0 - factor) * tf.tile(tf.constant(_LUMA)[:, None], [1, 3])
        image = tf.reshape(tf.reshape(image, [-1, 3]) @ matrix, tf.shape(image))
    return tf.clip_by_value(image + shift, -1.0, 1.0)
