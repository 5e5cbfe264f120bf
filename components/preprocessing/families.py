"""One record per preprocessing family; the same record trains, evaluates and serves.

The pipeline's way has two stages: `to_stored` turns encoded bytes into a small uint8 square (the
transform graph, attached to the exported model), `for_eval` and `for_train` turn that square into
the network's input. TF-Slim's own way, `preprocess_for_eval` and `preprocess_for_train`, takes the
decoded photo at its full size: for checkpoints and code that come from TF-Slim.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from slimworks.components.preprocessing import (
    cifarnet,
    decoding,
    erasing,
    geometry,
    inception,
    lenet,
    randaugment,
    vgg,
)
from slimworks.components.preprocessing.config import AugmentationSettings

# What a seed is folded in with, for random numbers of their own.
_RANDAUGMENT, _ERASING = 1, 2

_Augment = Callable[[tf.Tensor, int, tf.Tensor, AugmentationSettings, bool], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How one family of networks wants its images.

    Attributes:
        family: One of geometry.FAMILIES.
        resize_for_storage: uint8 [H, W, C], S -> uint8 [S, S, C].
        for_eval: uint8 [N, S, S, C], image_size -> float32 [N, image_size, image_size, C].
        preprocess_for_eval: TF-Slim's own: images [H, W, C] or [N, H, W, C], height, width and
            the family's options -> float32 [height, width, C] or [N, height, width, C].
        preprocess_for_train: The same with a seed, integers [2] or [N, 2], behind the width.
        augment: See `for_train`.
        flips: Whether mirrored images keep their class in this family's usual data.
    """

    family: str
    resize_for_storage: Callable[[tf.Tensor, int], tf.Tensor]
    for_eval: Callable[[tf.Tensor, int], tf.Tensor]
    preprocess_for_eval: Callable[..., tf.Tensor]
    preprocess_for_train: Callable[..., tf.Tensor]
    augment: _Augment
    flips: bool

    def stored_size(self, image_size: int) -> int:
        """Side S of stored images for a network input of `image_size` pixels."""
        return geometry.stored_size(self.family, image_size)

    def to_stored(self, encoded: tf.Tensor, stored_size: int, num_channels: int) -> tf.Tensor:
        """Decodes one image and resizes it for storage.

        Args:
            encoded: string [], a JPEG, PNG, GIF or BMP file.
            stored_size: S, side of the result in pixels.
            num_channels: C, 1 or 3.

        Returns:
            uint8 [S, S, C].

        Raises:
            tf.errors.InvalidArgumentError: (from the graph) Not such an image, or damaged.
        """
        image = decoding.decode_image(encoded, num_channels)
        stored = self.resize_for_storage(image, stored_size)
        return tf.ensure_shape(stored, [stored_size, stored_size, num_channels])

    def for_train(
        self,
        stored: tf.Tensor,
        image_size: int,
        seed: tf.Tensor,
        augmentation: AugmentationSettings,
    ) -> tf.Tensor:
        """Augments one stored image; the same seed gives the same result.

        Args:
            stored: uint8 [S, S, C].
            image_size: Side of the network's input in pixels.
            seed: int32 or int64 [2].
            augmentation: What to vary and how much.

        Returns:
            float32 [image_size, image_size, C] in the range of `for_eval`.
        """
        if not augmentation.enabled:
            return self.for_eval(stored[tf.newaxis], image_size)[0]
        if augmentation.randaugment_layers:
            stored = randaugment.rand_augment(
                stored,
                augmentation.randaugment_layers,
                augmentation.randaugment_magnitude,
                tf.random.fold_in(seed, _RANDAUGMENT),
            )
        image = self._distorted(stored, image_size, seed, augmentation)
        if augmentation.random_erasing_probability:
            image = erasing.random_erasing(
                image, augmentation.random_erasing_probability, tf.random.fold_in(seed, _ERASING)
            )
        return image

    def _distorted(
        self,
        stored: tf.Tensor,
        image_size: int,
        seed: tf.Tensor,
        augmentation: AugmentationSettings,
    ) -> tf.Tensor:
        if augmentation.style == "slim":
            options = {"fast_mode": augmentation.fast_mode} if self.family == "inception" else {}
            return self.preprocess_for_train(stored, image_size, image_size, seed, **options)
        flips = self.flips if augmentation.flip is None else augmentation.flip
        return self.augment(stored, image_size, seed, augmentation, flips)


_MODULES = {"cifarnet": cifarnet, "inception": inception, "lenet": lenet, "vgg": vgg}

_REGISTRY = {
    family: Preprocessing(
        family=family,
        resize_for_storage=module.resize_for_storage,
        for_eval=module.for_eval,
        preprocess_for_eval=module.preprocess_for_eval,
        preprocess_for_train=module.preprocess_for_train,
        augment=module.for_train,
        flips=module.FLIPS,
    )
    for family, module in _MODULES.items()
}


def get_preprocessing(family: str) -> Preprocessing:
    """Returns the record of one family.

    Raises:
        ConfigError: No preprocessing family has that name.
    """
    return _REGISTRY[geometry.check_family(family)]
