"""Settings of the transform component."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic

from slimworks.components import files
from slimworks.components.settings import Settings

SETTINGS_FILE = "transform_settings.json"  # ours, beside TensorFlow Transform's folders
TRANSFORM_FN_FOLDER = "transform_fn"  # tft.TFTransformOutput's, named here to save its import


class TransformConfig(Settings):
    """Section `transform` of pipeline.yaml: how photos become the network's input."""

    preprocessing_name: Literal["cifarnet", "inception", "lenet", "vgg"] | None = pydantic.Field(
        default=None,
        description="Preprocessing family. By default the one that the network was made for.",
    )
    use_grayscale: bool | None = pydantic.Field(
        default=None,
        description="Train on luma only. By default the network's own number of channels is taken.",
    )
    # Crops are cut from stored images. Larger ones keep more detail in small crops and cost disk:
    # 64 KB an image at 146, 197 KB at 256.
    stored_size: int | None = pydantic.Field(
        default=None,
        ge=8,
        le=2048,
        description="Side in pixels of the stored images that training reads. By default it "
        "follows from the network's image size (128 -> 146, 224 -> 256).",
    )


class TransformSettings(Settings):
    """What the component is told: TransformConfig after the network's defaults are filled in."""

    family: Literal["cifarnet", "inception", "lenet", "vgg"] = pydantic.Field(
        default="inception", description="Preprocessing family."
    )
    stored_size: int = pydantic.Field(
        default=256, ge=8, le=2048, description="Side of the stored images in pixels."
    )
    num_channels: Literal[1, 3] = pydantic.Field(
        default=3, description="1 stores luma, 3 stores RGB."
    )


def read_settings(graph_dir: str | Path) -> TransformSettings:
    """Settings that a transform graph was built with."""
    return TransformSettings.model_validate(files.read_json(Path(graph_dir) / SETTINGS_FILE))
