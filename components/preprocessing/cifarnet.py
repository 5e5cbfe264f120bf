"""CifarNet preprocessing: every image standardised to mean 0 and deviation 1.

Stored image: the whole photo resized to the network's input. TF-Slim crops or pads instead, which
for CIFAR's 32 px images is the same, but of a photo would keep only the 32 px in its centre.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = True
# TF-Slim's cifarnet_preprocessing.
_SHIFT_PIXELS = 4
_MAX_BRIGHTNESS = 63.0
_CONTRAST = (0.2, 1.8)

resize_for_storage = resizing.warp


def for_eval(stored: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [N, S, S, C] -> float32 [N, image_size, image_size, C], standardised."""
    return tf.image.per_image_standardization(resizing.central_view(stored, image_size, image_size))


def for_train(
    stored: tf.Tensor, image_size: int, seed: tf.Tensor, augmentation: AugmentationSettings,
    flips: bool,
) -> tf.Tensor:  # fmt: skip
    """Random shift with black edges, flip, brightness and contrast.

    Args:
        stored: uint8 [S, S, C].
        image_size: Side of the network's input.
        seed: Integer [2]; the same seed gives the same image.
        augmentation: How much of each.
        flips: Whether half of the images are mirrored.

    Returns:
        float32 [image_size, image_size, C], standardised.
    """
    random = tf.unstack(tf.random.stateless_uniform([5], seed))
    image = resizing.central_view(stored[tf.newaxis], image_size, image_size)[0]
    shift = augmentation.max_shift_pixels
    image = resizing.shifted(image, _SHIFT_PIXELS if shift is None else shift, random[:2])
    image = resizing.flip_if(image, (random[2] < 0.5) & flips)
    if augmentation.color_jitter:
        image = _jitter(image, random[3], random[4])
    return tf.image.per_image_standardization(image)


def eval_exact(image: tf.Tensor, height: int, width: int, use_grayscale: bool = False) -> tf.Tensor:
    """TF-Slim's own evaluation preprocessing, but [height, width] where it swaps the two.

    Args:
        image: uint8 [H, W, C], decoded; cropped or padded to the size.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1], standardised.
    """
    pixels = tf.cast(image, tf.float32)
    if use_grayscale and image.shape[-1] != 1:
        pixels = tf.image.rgb_to_grayscale(pixels)
    fitted = tf.image.resize_with_crop_or_pad(pixels, height, width)
    return tf.image.per_image_standardization(fitted)


def _jitter(image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Clipped as a camera clips: without it (as in TF-Slim) standardising undoes all of it."""
    low, high = _CONTRAST
    factor = low + (high - low) * contrast
    mean = tf.reduce_mean(image, axis=[0, 1])
    shift = _MAX_BRIGHTNESS * (2.0 * brightness - 1.0)
    return tf.clip_by_value((image - mean) * factor + mean + shift, 0.0, 255.0)
