"""All networks by name. Importable without TensorFlow."""

from __future__ import annotations

from slimworks.components.errors import ConfigError, ConfigValueError, nearest
from slimworks.components.nets import own_nets
from slimworks.components.nets.spec import NetSpec
from slimworks.components.nets.specs import inception, mobilenet, nasnet, resnet, small, vgg

_FAMILIES = (small, vgg, inception, resnet, mobilenet, nasnet)

REGISTRY: dict[str, NetSpec] = {spec.name: spec for family in _FAMILIES for spec in family.SPECS}


def get_net(name: str, image_size: int | None = None) -> NetSpec:
    """Returns the record of a network.

    Args:
        name: Of the registry, or MODULE:FUNCTION of a user's own, which is built to be read off.
        image_size: Height and width in pixels that a user's own is built for; None: its default.

    Raises:
        ConfigError: No network has this name; the nearest one is suggested. Or it is a user's own,
            and cannot be imported or built.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    if own_nets.is_own(name):
        return own_nets.inspected(name, image_size)
    raise ConfigError(
        f"model.net is {name!r}, which is no known network.{nearest(name, REGISTRY)}",
        f"Choose one of {', '.join(REGISTRY)}; `slimworks nets` describes them.",
    )


def check_images_shape(spec: NetSpec, height: int | None, width: int | None, minimum: int) -> None:
    """Checks that neither side of the images is below `minimum` pixels; None passes.

    Raises:
        ConfigValueError: One is; the minimum is named.
    """
    if all(side is None or side >= minimum for side in (height, width)):
        return
    default = spec.default_image_size
    shape = "x".join("?" if side is None else str(side) for side in (height, width))
    raise ConfigValueError(
        f"The images are {shape} pixels, but {spec.name} needs at least {minimum}x{minimum}.",
        f"Scale them up before the network, to {default}x{default} as it was published.",
    )


def check_image_size(spec: NetSpec, image_size: int) -> None:
    """Checks that a network can be built for square images of this many pixels a side.

    Raises:
        ConfigError: The images are smaller than the network's minimum, which is named.
    """
    if image_size >= spec.min_image_size:
        return
    raise ConfigError(
        f"model.image_size is {image_size}, but {spec.name} needs at least {spec.min_image_size} "
        "pixels.",
        f"Type `--set model.image_size={spec.default_image_size}`, or choose another model.net.",
    )
