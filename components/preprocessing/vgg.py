"""VGG and ResNet preprocessing: shape kept, centre square, ImageNet's channel means subtracted.

Stored image: the central square of the photo, its short side resized to S.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import geometry, resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = True
CHANNEL_MEANS = (123.68, 116.78, 103.94)  # TF-Slim's vgg_preprocessing: R, G, B
_RESIZE_SIDE = 256
# Longer images lose their ends before the resize: at 1 : 10,000 the resized strip would fill
# the memory, and the ends are outside the central square anyway.
_MAX_ASPECT_RATIO = 4


def channel_means(num_channels: int) -> tuple[float, ...]:
    """One mean per channel; grey images get the mean of the three (TF-Slim fails on them)."""
    if num_channels == 3:
        return CHANNEL_MEANS
    return (sum(CHANNEL_MEANS) / 3,)


def resize_for_storage(image: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 [H, W, C] -> the central square, uint8 [size, size, C]."""
    shape = tf.shape(image)
    limit = _MAX_ASPECT_RATIO * tf.minimum(shape[0], shape[1])
    image = _central(image, tf.minimum(shape[0], limit), tf.minimum(shape[1], limit))
    return resizing.rounded(_central(_resize_short_side(image, size), size, size))


def for_eval(stored: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [N, S, S, C] -> float32 [N, image_size, image_size, C], means subtracted."""
    default_size = geometry.stored_size("vgg", image_size)
    view = resizing.central_view(stored, default_size, image_size)
    return view - channel_means(stored.shape[-1])


def for_train(
    stored: tf.Tensor, image_size: int, seed: tf.Tensor, augmentation: AugmentationSettings,
    flips: bool,
) -> tf.Tensor:  # fmt: skip
    """Random square crop of random scale, and flip.

    Args:
        stored: uint8 [S, S, C].
        image_size: Side of the network's input.
        seed: Integer [2]; the same seed gives the same image.
        augmentation: How much of each; TF-Slim has no colour jitter in this family.
        flips: Whether half of the images are mirrored.

    Returns:
        float32 [image_size, image_size, C], means subtracted.
    """
    random = tf.unstack(tf.random.stateless_uniform([4], seed))
    smallest = augmentation.min_crop_area_fraction**0.5
    # TF-Slim draws the resized short side uniformly, so the inverse of the crop is uniform.
    largest = max(geometry.CENTRAL_FRACTION, smallest)
    side = 1.0 / (1.0 / largest + (1.0 / smallest - 1.0 / largest) * random[0])
    box = ((1.0 - side) * random[1], (1.0 - side) * random[2], side, side)
    mirrored = (random[3] < 0.5) & flips
    image = resizing.crop_and_resize(stored, box, mirrored, image_size)
    return image - channel_means(stored.shape[-1])


def eval_exact(
    image: tf.Tensor, height: int, width: int, use_grayscale: bool = False, resize_side: int = 0
) -> tf.Tensor:
    """TF-Slim's own evaluation preprocessing, for checkpoints used without our pipeline.

    Args:
        image: uint8 [H, W, C], decoded.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.
        resize_side: Length of the short side before the crop. 0: TF-Slim's 256, or as much more
            as a crop above 224 needs (TF-Slim fails above 256).

    Returns:
        float32 [height, width, C or 1], means subtracted.
    """
    pixels = tf.cast(image, tf.float32)
    if use_grayscale and image.shape[-1] != 1:
        pixels = tf.image.rgb_to_grayscale(pixels)
    side = resize_side or max(_RESIZE_SIDE, geometry.stored_size("vgg", max(height, width)))
    cropped = _central(_resize_short_side(pixels, side), height, width)
    return cropped - channel_means(pixels.shape[-1])


def _resize_short_side(image: tf.Tensor, side: int) -> tf.Tensor:
    """Keeps the shape: the short side becomes `side`, the long one is rounded."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    sizes = tf.cast(tf.round(shape * (side / tf.reduce_min(shape))), tf.int32)
    return resizing.resize_legacy(image, sizes[0], sizes[1])


def _central(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Central [height, width] of an image that is at least as large; rounded up and left."""
    shape = tf.shape(image)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return image[top : top + height, left : left + width]
