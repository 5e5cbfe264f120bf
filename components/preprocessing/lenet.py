"""LeNet preprocessing: pixels as (x - 128) / 128.

Stored image: the whole image resized to the network's input. TF-Slim crops or pads instead, which
for MNIST's 28 px scans is the same, but of a larger scan would keep only its centre.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import batches, resizing
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


def preprocess_for_eval(
    images: tf.Tensor, height: int, width: int, *, use_grayscale: bool = False
) -> tf.Tensor:
    """TF-Slim's own preprocessing, but [height, width] where it swaps the two.

    Args:
        images: uint8 or float in [0, 255], [H, W, C] or [N, H, W, C]; cropped or padded with
            black to the size, around the centre.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1] in [-1, 1).
    """
    batches.check_size(height, width)

    def one(image: tf.Tensor) -> tf.Tensor:
        pixels = batches.grey_if(use_grayscale, tf.cast(image, tf.float32))
        return (tf.image.resize_with_crop_or_pad(pixels, height, width) - 128.0) / 128.0

    return batches.for_each_image(one, images)


def preprocess_for_train(
    images: tf.Tensor, height: int, width: int, seed: tf.Tensor, *, use_grayscale: bool = False
) -> tf.Tensor:
    """As `preprocess_for_eval`: TF-Slim varies nothing here, so `seed` is only checked."""
    batches.seeds_of(seed, images)
    return preprocess_for_eval(images, height, width, use_grayscale=use_grayscale)


def preprocess_image(
    image: tf.Tensor, output_height: int, output_width: int, is_training: bool = False,
    use_grayscale: bool = False, seed: tf.Tensor | None = None,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's entry point; training and evaluation are the same, `seed` changes nothing."""
    del is_training, seed
    return preprocess_for_eval(image, output_height, output_width, use_grayscale=use_grayscale)
