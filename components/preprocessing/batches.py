"""One image or a batch: the same function, hence the same pixels."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def for_each_image(
    function: Callable[..., tf.Tensor], images: tf.Tensor, *operands: tf.Tensor
) -> tf.Tensor:
    """Applies a function of one image to one image, or to each of a batch.

    Batches are mapped, never vectorised: sums over a batch would be taken in another order, and
    random crops have other sizes.

    Args:
        function: ([H, W, C], *operands) -> float32 [height, width, C'].
        images: [H, W, C] or [N, H, W, C], uint8 or float, 1 or 3 channels.
        *operands: What else each image has; with a leading N for a batch.

    Returns:
        float32 [height, width, C'] or [N, height, width, C'].

    Raises:
        ValueError: Neither an image nor a batch, or its channels are unknown or neither 1 nor 3.
    """
    if images.shape.rank not in (3, 4):
        raise ValueError(f"images have shape {images.shape}, expected [H, W, C] or [N, H, W, C].")
    if images.shape.as_list()[-1] not in (1, 3):
        raise ValueError(f"images have {images.shape.as_list()[-1]} channels, expected 1 or 3.")
    if images.shape.rank == 3:
        return function(images, *operands)
    return tf.map_fn(
        lambda elements: function(*elements), (images, *operands), fn_output_signature=tf.float32
    )


def seeds_of(seed: tf.Tensor | tuple[int, int], images: tf.Tensor) -> tf.Tensor:
    """Checks seeds. seed: integers [2] for one image, [N, 2] for a batch; returned as a tensor.

    Raises:
        ValueError: Another shape or dtype.
    """
    seeds = tf.convert_to_tensor(seed)
    expected = [2] if images.shape.rank == 3 else [images.shape.as_list()[0], 2]
    if not (seeds.dtype.is_integer and seeds.shape.is_compatible_with(expected)):
        raise ValueError(
            f"seed has {seeds.dtype.name} {seeds.shape}, expected integers {expected}."
        )
    return seeds


def drawn_seeds(images: tf.Tensor) -> tf.Tensor:
    """New seeds at each execution, as TF-Slim's functions draw them: int64 [2] or [N, 2].

    They follow tf.random.set_seed. Only code written for TF-Slim needs this.
    """
    shape = [2] if images.shape.rank == 3 else tf.stack([tf.shape(images)[0], 2])
    return tf.random.uniform(shape, maxval=tf.int64.max, dtype=tf.int64)


def grey_if(use_grayscale: bool, pixels: tf.Tensor) -> tf.Tensor:
    """Float RGB to luma where asked for; one channel stays as it is. pixels: [H, W, C]."""
    if use_grayscale and pixels.shape.as_list()[-1] == 3:
        return tf.image.rgb_to_grayscale(pixels)
    return pixels


def check_size(height: int, width: int) -> None:
    """Raises ValueError where an output size is no positive number of pixels."""
    for name, value in (("height", height), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1 pixel.")
