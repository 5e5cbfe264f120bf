"""Settings of the evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slimworks.components.settings import Settings


class EvaluateConfig(Settings):
    """How the candidate and the baseline are measured."""

    split: Literal["train", "eval", "test"] = Field(
        # The eval split chose the checkpoint, so its accuracy is too good by now.
        default="test",
        description="Split whose examples are predicted.",
    )
    batch_size: int = Field(
        # CPU images/s no longer rise above 32 on the measured networks; 64 photos of 5 MB are
        # 320 MB of encoded bytes.
        default=64,
        ge=1,
        le=4096,
        description="Images in one call of the model; the last batch is smaller.",
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="Coverage of the intervals in metrics.json."
    )
    worst_mistakes: int = Field(
        # Fills four rows of the report on a desktop; at about 6 KB each it stays below 150 KB.
        default=24,
        ge=0,
        le=1000,
        description="Thumbnails of the most confident mistakes in the report.",
    )
    tfma: bool = Field(
        default=True, description="Write TensorFlow Model Analysis output beside metrics.json."
    )
