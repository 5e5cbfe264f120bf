"""Sizes of stored images, by preprocessing family. Imports no TensorFlow: configs need them."""

from __future__ import annotations

from slimworks.components.errors import ConfigError, nearest

FAMILIES = ("cifarnet", "inception", "lenet", "vgg")

# TF-Slim evaluates inception nets on the central 0.875 of the image and VGG nets on the central
# 224 of 256 pixels: the same fraction. The rest is the margin that training crops move in.
CENTRAL_FRACTION = 0.875
_FAMILIES_WITH_MARGIN = frozenset({"inception", "vgg"})


def check_family(family: str) -> str:
    """Returns `family` when it is known.

    Raises:
        ConfigError: No preprocessing family has that name.
    """
    if family not in FAMILIES:
        raise ConfigError(
            f"Preprocessing {family!r} is unknown; known are {', '.join(FAMILIES)}.",
            "Set transform.preprocessing_name to one of them, or leave it out: the network's own "
            f"is taken then.{nearest(family, FAMILIES)}",
        )
    return family


def stored_size(family: str, image_size: int) -> int:
    """Side of the square uint8 images that training reads, in pixels.

    Args:
        family: One of FAMILIES.
        image_size: Side of the network's input.

    Returns:
        For inception and vgg about `image_size / 0.875` (128 -> 146, 224 -> 256, 299 -> 341), with
        equal margins on both sides so that the central crop is centred to the pixel; otherwise
        `image_size`.
    """
    if check_family(family) not in _FAMILIES_WITH_MARGIN:
        return image_size
    return image_size + 2 * round(image_size * (1 / CENTRAL_FRACTION - 1) / 2)
