"""CifarNet preprocessing: every image standardised to mean 0 and deviation 1.

Stored image: the whole photo resized to the network's input. TF-Slim crops or pads instead, which
for CIFAR's 32 px images is the same, but of a photo would keep only the 32 px in its centre.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import batches, resizing
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


def preprocess_for_eval(
    images: tf.Tensor, height: int, width: int, *, use_grayscale: bool = False
) -> tf.Tensor:
    """TF-Slim's own evaluation preprocessing, but [height, width] where it swaps the two.

    Args:
        images: uint8 or float in [0, 255], [H, W, C] or [N, H, W, C]; cropped or padded with
            black to the size, around the centre.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1], each standardised.
    """
    batches.check_size(height, width)

    def one(image: tf.Tensor) -> tf.Tensor:
        pixels = batches.grey_if(use_grayscale, tf.cast(image, tf.float32))
        fitted = tf.image.resize_with_crop_or_pad(pixels, height, width)
        return tf.image.per_image_standardization(fitted)

    return batches.for_each_image(one, images)


def preprocess_for_train(
    images: tf.Tensor, height: int, width: int, seed: tf.Tensor, *,
    padding: int = _SHIFT_PIXELS, use_grayscale: bool = False,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's own training preprocessing: random crop of the padded image, flip, colours.

    Brightness and contrast are not clipped, as in TF-Slim: standardising undoes the brightness, and
    the contrast where the channels have one mean. One channel works too (TF-Slim fails), and so do
    images smaller than the result: they are padded on.

    Args:
        images: uint8 or float in [0, 255], [H, W, C] or [N, H, W, C].
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        seed: Integers [2], or [N, 2] for a batch; the same seed gives the same image.
        padding: Black pixels added on each side before the crop.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1], each standardised.
    """
    batches.check_size(height, width)

    def one(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, 4))
        pixels = batches.grey_if(use_grayscale, tf.cast(image, tf.float32))
        cropped = resizing.random_crop(
            _padded(pixels, padding, height, width), height, width, seeds[0]
        )
        flipped = tf.image.stateless_random_flip_left_right(cropped, seeds[1])
        lit = tf.image.stateless_random_brightness(flipped, _MAX_BRIGHTNESS, seeds[2])
        varied = tf.image.stateless_random_contrast(lit, *_CONTRAST, seeds[3])
        return tf.image.per_image_standardization(varied)

    return batches.for_each_image(one, images, batches.seeds_of(seed, images))


def preprocess_image(
    image: tf.Tensor, output_height: int, output_width: int, is_training: bool = False,
    padding: int = _SHIFT_PIXELS, add_image_summaries: bool = True, use_grayscale: bool = False,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's entry point: see the two functions above.

    Args:
        image: [H, W, C], or a batch.
        output_height: Of the result, in pixels.
        output_width: Of the result, in pixels.
        is_training: Which of the two.
        padding: Training only.
        add_image_summaries: Accepted and ignored: no summaries are written.
        use_grayscale: Converts three channels to one.
        seed: Training only; None draws a new one at each execution, as TF-Slim does.
    """
    del add_image_summaries
    if not is_training:
        return preprocess_for_eval(image, output_height, output_width, use_grayscale=use_grayscale)
    seed = batches.drawn_seeds(image) if seed is None else seed
    return preprocess_for_train(
        image, output_height, output_width, seed, padding=padding, use_grayscale=use_grayscale
    )


def _padded(pixels: tf.Tensor, padding: int, height: int, width: int) -> tf.Tensor:
    """Black margins of `padding`, or more where the image is smaller than [height, width]."""
    shape = tf.shape(pixels)
    return tf.image.pad_to_bounding_box(
        pixels,
        tf.maximum(padding, (height - shape[0]) // 2),
        tf.maximum(padding, (width - shape[1]) // 2),
        tf.maximum(shape[0] + 2 * padding, height),
        tf.maximum(shape[1] + 2 * padding, width),
    )


def _jitter(image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Clipped as a camera clips: without it (as in TF-Slim) standardising undoes all of it."""
    low, high = _CONTRAST
    factor = low + (high - low) * contrast
    mean = tf.reduce_mean(image, axis=[0, 1])
    shift = _MAX_BRIGHTNESS * (2.0 * brightness - 1.0)
    return tf.clip_by_value((image - mean) * factor + mean + shift, 0.0, 255.0)
