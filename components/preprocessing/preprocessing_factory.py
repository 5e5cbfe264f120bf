"""Preprocessing by a network's name, for code written for TF-Slim."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from slimworks.components.errors import ConfigValueError, nearest
from slimworks.components.nets.registry import REGISTRY
from slimworks.components.preprocessing import cifarnet, geometry, inception, lenet, vgg

_ENTRY_POINTS: dict[str, Callable[..., tf.Tensor]] = {
    "cifarnet": cifarnet.preprocess_image,
    "inception": inception.preprocess_image,
    "lenet": lenet.preprocess_image,
    "vgg": vgg.preprocess_image,
}


def get_preprocessing(
    name: str, is_training: bool = False, use_grayscale: bool = False
) -> Callable[..., tf.Tensor]:
    """Returns TF-Slim's preprocessing of a network; every network has one.

    Args:
        name: A network's name, or a family: "cifarnet", "inception", "lenet", "vgg".
        is_training: With random crops, flips and colours.
        use_grayscale: Converts three channels to one.

    Returns:
        (image, output_height, output_width, **options) -> float32 [output_height, output_width,
        C]; a batch [N, H, W, C] gives a batch. Options are the family's (`preprocess_image` in
        its module). In training, `seed` (integers [2], or [N, 2]) fixes the result; without it
        each execution draws another one that follows tf.random.set_seed, as in TF-Slim.

    Raises:
        ConfigValueError: Neither a network nor a family has that name.
    """
    entry_point = _ENTRY_POINTS[_family_of(name)]

    def preprocess(
        image: tf.Tensor, output_height: int, output_width: int, **options: object
    ) -> tf.Tensor:
        return entry_point(
            image,
            output_height,
            output_width,
            is_training=is_training,
            use_grayscale=use_grayscale,
            **options,
        )

    return preprocess


def _family_of(name: str) -> str:
    if name in geometry.FAMILIES:
        return name
    if name in REGISTRY:
        return REGISTRY[name].preprocessing
    known = (*REGISTRY, *geometry.FAMILIES)
    raise ConfigValueError(
        f"Preprocessing {name!r} is neither a network's name nor a family; the families are "
        f"{', '.join(geometry.FAMILIES)}.",
        f"Choose a family or a network; `slimworks nets` lists them.{nearest(name, known)}",
    )
