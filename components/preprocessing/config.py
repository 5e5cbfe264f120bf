"""Settings of training-time augmentation."""

from __future__ import annotations

import pydantic

from slimworks.components.settings import Settings


class AugmentationSettings(Settings):
    """Random changes of training images. Evaluation and serving never see them."""

    enabled: bool = pydantic.Field(
        default=True,
        description="False prepares training images exactly like evaluation images.",
    )
    # TF-Slim trains ImageNet from 0.05 upwards. With a few thousand photos such crops often miss
    # the object and cost more accuracy than they give: 0.3 keeps it in view.
    min_crop_area_fraction: float = pydantic.Field(
        default=0.3,
        ge=0.05,
        le=1.0,
        description="Smallest part of the stored image that a random crop shows (inception, vgg). "
        "1 turns random crops off.",
    )
    flip: bool | None = pydantic.Field(
        default=None,
        description="Mirror half of the images left-right. By default on, except for lenet: "
        "mirrored digits are other digits.",
    )
    color_jitter: bool = pydantic.Field(
        default=True,
        description="Vary brightness and saturation (inception) or brightness and contrast "
        "(cifarnet). Turn it off where colour carries the class.",
    )
    max_shift_pixels: int | None = pydantic.Field(
        default=None,
        ge=0,
        le=32,
        description="Largest random shift of the image (cifarnet: 4 by default, as in TF-Slim; "
        "lenet: 2).",
    )
