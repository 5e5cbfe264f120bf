"""VGG and ResNet preprocessing: shape kept, centre square, ImageNet's channel means subtracted.

Stored image: the central square of the photo, its short side resized to S.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.preprocessing import batches, geometry, resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = True
CHANNEL_MEANS = (123.68, 116.78, 103.94)  # TF-Slim's vgg_preprocessing: R, G, B
RESIZE_SIDE_MIN, RESIZE_SIDE_MAX = 256, 512  # TF-Slim's, of the short side in pixels
# Longer images lose their ends before the resize: at 1 : 10,000 the resized strip would fill
# the memory, and the ends are outside the central square anyway.
_MAX_ASPECT_RATIO = 4
_MAX_STRIP = 16  # the same for TF-Slim's own way, which crops in the ends too when it trains


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
    return view - channel_means(stored.shape.as_list()[-1])


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
    crop = resizing.cropped(stored, (random[1], random[2], side, side), (random[3] < 0.5) & flips)
    means = channel_means(stored.shape.as_list()[-1])
    return resizing.resize_crop(tf.cast(crop, tf.float32) - means, image_size)


def preprocess_for_eval(
    images: tf.Tensor, height: int, width: int, *,
    resize_side_min: int = RESIZE_SIDE_MIN, use_grayscale: bool = False,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's own evaluation preprocessing: short side resized, centre cropped, means off.

    Args:
        images: uint8 or float in [0, 255], [H, W, C] or [N, H, W, C].
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        resize_side_min: Length of the short side before the crop. Where the crop is larger (TF-Slim
            fails there), the side grows to about crop / 0.875, as 256 is to 224.
        use_grayscale: Converts three channels to one, from which the mean of the three means is
            taken (TF-Slim fails on one channel).

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1], means subtracted.
    """
    batches.check_size(height, width)
    side, _ = _resize_sides(height, width, resize_side_min, resize_side_min)

    def one(image: tf.Tensor) -> tf.Tensor:
        cropped = _central(_resize_short_side(_without_ends(image), side), height, width)
        return _finished(cropped, height, width, use_grayscale)

    return batches.for_each_image(one, images)


def preprocess_for_train(
    images: tf.Tensor, height: int, width: int, seed: tf.Tensor, *,
    resize_side_min: int = RESIZE_SIDE_MIN, resize_side_max: int = RESIZE_SIDE_MAX,
    use_grayscale: bool = False,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's own training preprocessing: short side of random length, random crop, flip.

    Args:
        images: uint8 or float in [0, 255], [H, W, C] or [N, H, W, C].
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        seed: Integers [2], or [N, 2] for a batch; the same seed gives the same image.
        resize_side_min: Smallest length of the short side. Where the crop is larger, both bounds
            grow by the same factor, see `preprocess_for_eval`.
        resize_side_max: Largest length; every whole number between is as likely.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1], means subtracted.

    Raises:
        ValueError: resize_side_max is below resize_side_min.
    """
    batches.check_size(height, width)
    smallest, largest = _resize_sides(height, width, resize_side_min, resize_side_max)

    def one(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, 3))
        side = tf.random.stateless_uniform([], seeds[0], smallest, largest + 1, dtype=tf.int32)
        resized = _resize_short_side(_without_ends(image), side)
        cropped = resizing.random_crop(resized, height, width, seeds[1])
        flipped = tf.image.stateless_random_flip_left_right(cropped, seeds[2])
        return _finished(flipped, height, width, use_grayscale)

    return batches.for_each_image(one, images, batches.seeds_of(seed, images))


def preprocess_image(
    image: tf.Tensor, output_height: int, output_width: int, is_training: bool = False,
    resize_side_min: int = RESIZE_SIDE_MIN, resize_side_max: int = RESIZE_SIDE_MAX,
    use_grayscale: bool = False, seed: tf.Tensor | None = None,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's entry point: see the two functions above.

    Args:
        image: [H, W, C], or a batch.
        output_height: Of the result, in pixels.
        output_width: Of the result, in pixels.
        is_training: Which of the two.
        resize_side_min: Of the short side; the one length in evaluation.
        resize_side_max: Training only.
        use_grayscale: Converts three channels to one.
        seed: Training only; None draws a new one at each execution, as TF-Slim does.
    """
    if not is_training:
        return preprocess_for_eval(
            image, output_height, output_width,
            resize_side_min=resize_side_min, use_grayscale=use_grayscale,
        )  # fmt: skip
    return preprocess_for_train(
        image, output_height, output_width, batches.drawn_seeds(image) if seed is None else seed,
        resize_side_min=resize_side_min, resize_side_max=resize_side_max,
        use_grayscale=use_grayscale,
    )  # fmt: skip


def _resize_sides(height: int, width: int, smallest: int, largest: int) -> tuple[int, int]:
    """Bounds of the short side for a crop: as given where it fits in, else larger."""
    if not 0 < smallest <= largest:
        raise ValueError(
            f"resize_side_min is {smallest} and resize_side_max {largest}, expected "
            "0 < resize_side_min <= resize_side_max."
        )
    crop = max(height, width)
    if crop <= smallest:
        return smallest, largest
    grown = geometry.stored_size("vgg", crop)
    return grown, round(largest * grown / smallest)


def _without_ends(image: tf.Tensor) -> tf.Tensor:
    """Keeps the middle of strips, see _MAX_STRIP; any other image is not touched."""
    shape = tf.shape(image)
    limit = _MAX_STRIP * tf.minimum(shape[0], shape[1])
    return _central(image, tf.minimum(shape[0], limit), tf.minimum(shape[1], limit))


def _finished(pixels: tf.Tensor, height: int, width: int, use_grayscale: bool) -> tf.Tensor:
    pixels = batches.grey_if(use_grayscale, pixels)
    pixels = tf.ensure_shape(pixels, [height, width, pixels.shape.as_list()[-1]])
    return pixels - channel_means(pixels.shape.as_list()[-1])


def _resize_short_side(image: tf.Tensor, side: int | tf.Tensor) -> tf.Tensor:
    """Keeps the shape: the short side becomes `side`, the long one is rounded."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.cast(side, tf.float32) / tf.reduce_min(shape)
    sizes = tf.cast(tf.round(shape * scale), tf.int32)
    return resizing.resize_legacy(image, sizes[0], sizes[1])


def _central(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Central [height, width] of an image that is at least as large; rounded up and left."""
    shape = tf.shape(image)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return image[top : top + height, left : left + width]
