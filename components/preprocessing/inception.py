"""Inception, MobileNet and NASNet preprocessing: whole image warped, pixels in [-1, 1].

Stored image: the whole photo, warped to a square (TF-Slim also warps after its central crop).
Cropping the stored centre shows what TF-Slim's evaluation shows, and random boxes inside it what
its training shows; only the order of crop and resize differs.
"""

from __future__ import annotations

import math

import tensorflow as tf

from slimworks.components.preprocessing import batches, colors, geometry, resizing
from slimworks.components.preprocessing.config import AugmentationSettings

FLIPS = True
# TF-Slim's inception_preprocessing: its random boxes, on the photo and (stored) on the square.
_MIN_OBJECT_COVERED, _MAX_ATTEMPTS = 0.1, 100
_BOX_ASPECT_RATIOS, _BOX_AREAS = (0.75, 1.33), (0.05, 1.0)
_ASPECT_RATIO = 4 / 3
_LUMA = (0.299, 0.587, 0.114)
# A product, not a quotient: graphs replace division by a constant, and the last bit would differ.
_SCALE = 1.0 / 127.5

resize_for_storage = resizing.warp


def for_eval(stored: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [N, S, S, C] -> float32 [N, image_size, image_size, C] in [-1, 1]."""
    default_size = geometry.stored_size("inception", image_size)
    return resizing.central_view(stored, default_size, image_size) * _SCALE - 1.0


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
    crop = resizing.cropped(stored, box, (random[4] < 0.5) & flips)
    crop = tf.cast(crop, tf.float32) * _SCALE - 1.0
    # Colours first: most crops are smaller than the result.
    if augmentation.color_jitter:
        crop = _jitter(crop, random[5], random[6])
    return resizing.resize_crop(crop, image_size)


def preprocess_for_eval(
    images: tf.Tensor, height: int | None, width: int | None, *,
    central_fraction: float = geometry.CENTRAL_FRACTION, crop_image: bool = True,
    use_grayscale: bool = False,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's own evaluation preprocessing: centre cropped, then warped to the size.

    Args:
        images: uint8 in [0, 255] or float in [0, 1], [H, W, C] or [N, H, W, C].
        height: Of the result, in pixels; None leaves the size alone, like `width`.
        width: Of the result, in pixels.
        central_fraction: Part of each side that is kept, in (0, 1]; 0 keeps all.
        crop_image: False keeps all.
        use_grayscale: Converts three channels to one.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1] in [-1, 1].
    """
    if height and width:
        batches.check_size(height, width)

    def one(image: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.convert_image_dtype(image, tf.float32)
        pixels = batches.grey_if(use_grayscale, pixels)
        if crop_image and central_fraction:
            pixels = tf.image.central_crop(pixels, central_fraction)
        if height and width:
            pixels = resizing.resize_legacy(pixels, height, width)
        return (pixels - 0.5) * 2.0

    return batches.for_each_image(one, images)


def preprocess_for_train(
    images: tf.Tensor, height: int, width: int, seed: tf.Tensor, *,
    bbox: tf.Tensor | None = None, fast_mode: bool = True, crop_image: bool = True,
    use_grayscale: bool = False,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's own training preprocessing: random box, warped, flip, colours.

    A box has 5 to 100 % of the image's area, 0.75 to 1.33 times as wide as high, and shows at
    least a tenth of a given bounding box (of the whole image, where none is given).

    Args:
        images: uint8 in [0, 255] or float in [0, 1], [H, W, C] or [N, H, W, C].
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        seed: Integers [2], or [N, 2] for a batch; the same seed gives the same image.
        bbox: Boxes around the objects, float32 [1, B, 4], or [N, B, 4] for a batch: top, left,
            bottom, right as fractions of the image.
        fast_mode: Bilinear, brightness and saturation. False also draws among four ways to resize
            and four orderings of brightness, saturation, hue and contrast.
        crop_image: False shows the whole image.
        use_grayscale: Converts three channels to one, after the colours.

    Returns:
        float32 [height, width, C or 1] or [N, height, width, C or 1] in [-1, 1].
    """
    batches.check_size(height, width)
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0]]]) if bbox is None else tf.convert_to_tensor(bbox)

    def one(image: tf.Tensor, seed: tf.Tensor, boxes: tf.Tensor = boxes) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, 4))
        if crop_image:
            image = _random_crop(image, tf.reshape(boxes, [1, -1, 4]), seeds[0])
        pixels = tf.image.convert_image_dtype(image, tf.float32)
        pixels = _resized(pixels, height, width, seeds[1], fast_mode)
        pixels = tf.image.stateless_random_flip_left_right(pixels, seeds[2])
        pixels = colors.distort_color(pixels, seeds[3], fast_mode)
        return (batches.grey_if(use_grayscale, pixels) - 0.5) * 2.0

    operands = (batches.seeds_of(seed, images), *([] if bbox is None else [boxes]))
    return batches.for_each_image(one, images, *operands)


def preprocess_image(
    image: tf.Tensor, output_height: int, output_width: int, is_training: bool = False,
    bbox: tf.Tensor | None = None, fast_mode: bool = True, add_image_summaries: bool = True,
    crop_image: bool = True, use_grayscale: bool = False, seed: tf.Tensor | None = None,
) -> tf.Tensor:  # fmt: skip
    """TF-Slim's entry point: see the two functions above.

    Args:
        image: [H, W, C], or a batch.
        output_height: Of the result, in pixels.
        output_width: Of the result, in pixels.
        is_training: Which of the two.
        bbox: Training only.
        fast_mode: Training only.
        add_image_summaries: Accepted and ignored: no summaries are written.
        crop_image: Random boxes in training, the centre in evaluation.
        use_grayscale: Converts three channels to one.
        seed: Training only; None draws a new one at each execution, as TF-Slim does.
    """
    del add_image_summaries
    if not is_training:
        return preprocess_for_eval(
            image, output_height, output_width, crop_image=crop_image, use_grayscale=use_grayscale
        )
    return preprocess_for_train(
        image, output_height, output_width, batches.drawn_seeds(image) if seed is None else seed,
        bbox=bbox, fast_mode=fast_mode, crop_image=crop_image, use_grayscale=use_grayscale,
    )  # fmt: skip


def _random_crop(image: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        boxes,
        seed,
        min_object_covered=_MIN_OBJECT_COVERED,
        aspect_ratio_range=_BOX_ASPECT_RATIOS,
        area_range=_BOX_AREAS,
        max_attempts=_MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.ensure_shape(tf.slice(image, start, size), [None, None, image.shape.as_list()[-1]])


def _resized(
    pixels: tf.Tensor, height: int, width: int, seed: tf.Tensor, fast_mode: bool
) -> tf.Tensor:
    """Bilinear, or one of four ways. float32 [H, W, C] -> float32 [height, width, C]."""
    if fast_mode:
        return resizing.resize_legacy(pixels, height, width)
    ways = resizing.LEGACY_WAYS
    choice = tf.random.stateless_uniform([], seed, 0, len(ways), dtype=tf.int32)
    return tf.switch_case(
        choice, [lambda way=way: resizing.resize_legacy(pixels, height, width, way) for way in ways]
    )


def _random_box(
    random: list[tf.Tensor], min_area: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """A box as `resizing.cropped` wants it, that always fits: nothing is redrawn.

    Area, shape and place are uniform within bounds.

    The shape is measured on the stored square, so boxes have the photo's own shape on average, as
    the evaluation's crop has.
    """
    area = min_area + (1.0 - min_area) * random[0]
    # height = sqrt(area / ratio) <= 1 and width = sqrt(area * ratio) <= 1.
    log_ratio = tf.minimum(math.log(_ASPECT_RATIO), -tf.math.log(area)) * (2.0 * random[1] - 1.0)
    height, width = tf.sqrt(area * tf.exp(-log_ratio)), tf.sqrt(area * tf.exp(log_ratio))
    return random[2], random[3], height, width


def _jitter(image: tf.Tensor, brightness: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Brightness, then saturation as a blend with luma: one product instead of a trip to HSV."""
    # The image is in [-1, 1], twice as wide as the [0, 1] that the bounds are meant for.
    shift = 2.0 * colors.MAX_BRIGHTNESS * (2.0 * brightness - 1.0)
    if image.shape.as_list()[-1] == 3:
        low, high = colors.SATURATION
        factor = low + (high - low) * saturation
        matrix = factor * tf.eye(3) + (1.0 - factor) * tf.tile(tf.constant(_LUMA)[:, None], [1, 3])
        image = tf.reshape(tf.reshape(image, [-1, 3]) @ matrix, tf.shape(image))
    return tf.clip_by_value(image + shift, -1.0, 1.0)
