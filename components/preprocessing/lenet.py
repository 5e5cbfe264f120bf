"""LeNet preprocessing: pixels as (x - 128) / 128.

Stored image: the whole image resized to the network's input. TF-Slim crops or pads instead, which
for MNIST's 28 px scans is the same, but of a larger scan would keep only its centre.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = False  # mirrored digits are other digits, or none
_SHIFT_PIXELS = 2  # 7 % of 28 px: how far apart people place the same digit in a box

resize_for_storage = resizing.warp


def for_eval(stored: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [N, S, S, C] -> float32 [N, image_size, image_size, C] in [-1, 1)."""
    return (resizing.central_view(stored, image_size, image_size) - 128.0) / 128.0


def for_train(
    stored: tf.Tensor, image_size: int, seed: tf.Tensor, augmentation: AugmentationSettings,
    flips: bool,
) -> tf.Tensor:  # fmt: skip
    """Random shift by a few pixels; TF-Slim trains without any augmentation here.

    Args:
        stored: uint8 [S, S, C].
        image_size: Side of the network's input.
        seed: Integer [2]; the same seed gives the same image.
        augmentation: How much of each; this family has no colour jitter and no crops.
        flips: Whether half of the images are mirrored.

    Returns:
        float32 [image_size, image_size, C] in [-1, 1).
    """
    random = tf.unstack(tf.random.stateless_uniform([3], seed))
    image = for_eval(stored[tf.newaxis], image_size)[0]
    shift = augmentation.max_shift_pixels
    # Edges are mirrored: the paper around a digit may be black or white.
    image = resizing.shifted(
        image, _SHIFT_PIXELS if shift is None else shift, random[:2], edges="SYMMETRIC"
    )
    return resizing.flip_if(image, (random[2] < 0.5) & flips)


def eval_exact(image: tf.Tensor, height: int, width: int, use_grayscale: bool = False) -> tf.Tensor:
    """TF-Slim's own evaluation preprocessing, but [height, width] where it swaps the two.

    Args:
        image: uint8 [H, W, C], decoded; cropped or padded to the size.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] in [-1, 1).
    """
    pixels = tf.cast(image, tf.float32)
    if use_grayscale and image.shape[-1] != 1:
        pixels = tf.image.rgb_to_grayscale(pixels)
    return (tf.image.resize_with_crop_or_pad(pixels, height, width) - 128.0) / 128.0
