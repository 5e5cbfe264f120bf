"""Settings of training-time augmentation."""

from __future__ import annotations

from typing import Literal

import pydantic

from slimworks.components.errors import ConfigError
from slimworks.components.settings import Settings

_NOT_SLIM = ("min_crop_area_fraction", "flip", "color_jitter", "max_shift_pixels")


class AugmentationSettings(Settings):
    """Random changes of training images. Evaluation and serving never see them."""

    enabled: bool = pydantic.Field(
        default=True,
        description="False prepares training images exactly like evaluation images.",
    )
    style: Literal["slimworks", "slim"] = pydantic.Field(
        default="slimworks",
        description="slim: TF-Slim's own distortions instead of those that the settings from "
        "min_crop_area_fraction to max_shift_pixels describe: crops of 5 to 100 % of the stored "
        "image (inception), of the image at 256 to 512 px for 224 (vgg).",
    )
    fast_mode: bool = pydantic.Field(
        default=True,
        description="With style: slim and inception preprocessing, TF-Slim's fast_mode; false also "
        "varies hue, contrast and the way to resize, in twice the time.",
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
    mixup_alpha: float = pydantic.Field(
        default=0.0,
        ge=0,
        le=10,
        description="mixup: blend each image and its label with another of the batch, in shares "
        "from Beta(alpha, alpha); 0: off. Usual: 0.2.",
    )
    cutmix_alpha: float = pydantic.Field(
        default=0.0,
        ge=0,
        le=10,
        description="cutmix: paste a rectangle of another image of the batch, and its share of the "
        "label; 0: off. Usual: 1. With mixup too, each step is one of the two.",
    )
    # The paper's 2 layers; a strength of 9 suits ImageNet.
    randaugment_layers: int = pydantic.Field(
        default=0,
        ge=0,
        le=6,
        description="RandAugment: so many random changes in a row, of shape, colour and sharpness; "
        "0: off. Usual: 2.",
    )
    randaugment_magnitude: float = pydantic.Field(
        default=9.0, ge=0, le=10, description="How strong RandAugment's changes are."
    )
    random_erasing_probability: float = pydantic.Field(
        default=0.0,
        ge=0,
        le=1,
        description="Part of the images of which a rectangle (2 to 33 %) is blanked; 0: off. "
        "Usual: 0.25.",
    )

    @pydantic.model_validator(mode="after")
    def _slim_has_its_own(self) -> AugmentationSettings:
        fields = AugmentationSettings.model_fields
        changed = [name for name in _NOT_SLIM if getattr(self, name) != fields[name].default]
        if self.style == "slim" and changed:
            raise ConfigError(
                f"train.augmentation.{changed[0]} has no effect with style: slim.",
                "Remove it, or train.augmentation.style: TF-Slim's distortions are fixed.",
            )
        if self.style != "slim" and not self.fast_mode:
            raise ConfigError(
                "train.augmentation.fast_mode has no effect without style: slim.",
                "Remove it, or set train.augmentation.style=slim.",
            )
        return self
