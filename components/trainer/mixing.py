"""mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): images that are two images.

Each image of a batch is mixed with its neighbour, and so is its target. All random numbers are a
function of (seed, step, shard).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from slimworks.components.preprocessing.config import AugmentationSettings

# Inputs float32 [N, H, W, C], targets float32 [N, K], step int64 [], shard -> both, mixed.
Mixer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], tuple[tf.Tensor, tf.Tensor]]


def mixer(augmentation: AugmentationSettings, seed: int) -> Mixer | None:
    """Returns what mixes batches as the settings ask; None: nothing is mixed.

    With both, each step is one or the other, as likely.
    """
    mixup_alpha, cutmix_alpha = augmentation.mixup_alpha, augmentation.cutmix_alpha
    if not augmentation.enabled or mixup_alpha == cutmix_alpha == 0:
        return None

    def mix(
        inputs: tf.Tensor, targets: tf.Tensor, step: tf.Tensor, shard: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        step_seed = tf.stack([tf.cast(seed, tf.int64), step])
        # Not the seed of the image at this place, nor that of another shard.
        seeds = tf.random.split(tf.random.fold_in(step_seed, -1 - shard), 2)
        if cutmix_alpha == 0:
            return mixup(inputs, targets, mixup_alpha, seeds[0])
        if mixup_alpha == 0:
            return cutmix(inputs, targets, cutmix_alpha, seeds[0])
        return tf.cond(
            tf.random.stateless_uniform([], seeds[1]) < 0.5,
            lambda: mixup(inputs, targets, mixup_alpha, seeds[0]),
            lambda: cutmix(inputs, targets, cutmix_alpha, seeds[0]),
        )

    return mix


def mixup(
    inputs: tf.Tensor, targets: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each image with its neighbour; a share of its own for each, from Beta(alpha, alpha).

    Args:
        inputs: float32 [N, H, W, C].
        targets: float32 [N, K].
        alpha: Above 0. At 1 every share is as likely; below, most are near 0 or 1.
        seed: Integers [2].

    Returns:
        Inputs and targets of the same shapes.
    """
    shares = _beta(tf.shape(inputs)[:1], alpha, seed)
    return _blend(inputs, shares[:, None, None, None]), _blend(targets, shares[:, None])


def cutmix(
    inputs: tf.Tensor, targets: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes a rectangle of its neighbour into each image, at the same place.

    Args:
        inputs: float32 [N, H, W, C].
        targets: float32 [N, K]; mixed by the area that is pasted.
        alpha: Above 0; the image's own share is from Beta(alpha, alpha), but larger where the
            rectangle, whose centre may be anywhere, reaches beyond the image.
        seed: Integers [2].

    Returns:
        Inputs and targets of the same shapes.
    """
    shape = tf.shape(inputs)
    seeds = tf.random.split(seed, 2)
    side = tf.sqrt(1.0 - _beta(shape[:1], alpha, seeds[0]))
    centres = tf.random.stateless_uniform([2, shape[0]], seeds[1])
    rows = _between(shape[1], centres[0], side)
    columns = _between(shape[2], centres[1], side)
    pasted = rows[:, :, None] & columns[:, None, :]
    shares = 1.0 - tf.reduce_mean(tf.cast(pasted, tf.float32), axis=[1, 2])
    mixed = tf.where(pasted[..., None], tf.roll(inputs, 1, axis=0), inputs)
    return mixed, _blend(targets, shares[:, None])


def _between(size: tf.Tensor, centres: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Which pixels lie within `side` (a fraction, [N]) around `centres` ([N]): bool [N, size]."""
    pixels = (tf.range(tf.cast(size, tf.float32)) + 0.5) / tf.cast(size, tf.float32)
    return tf.abs(pixels - centres[:, None]) < 0.5 * side[:, None]


def _blend(values: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Shares of the values, the rest of their neighbours'."""
    return shares * values + (1.0 - shares) * tf.roll(values, 1, axis=0)


def _beta(shape: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.random.split(seed, 2)
    first, second = (tf.random.stateless_gamma(shape, one, alpha) for one in tf.unstack(seeds))
    return tf.math.divide_no_nan(first, first + second)  # both may be 0 where alpha is small
