"""Settings of the evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from slimworks.components.errors import ConfigError
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
    bootstrap_samples: int = Field(
        # The ends of a 95 % interval are the 50th smallest and largest of 2,000: they move by
        # about a twentieth of its width from one seed to another.
        default=2_000,
        ge=100,
        le=100_000,
        description="Resamples behind every interval that is not Wilson's.",
    )
    bootstrap_seed: int = Field(
        default=0, ge=0, description="The same seed and predictions give the same intervals."
    )
    slices: tuple[tuple[str, ...], ...] | None = Field(
        default=None,
        description="Dimensions to cross, such as [[camera], [size, class]]: metadata columns, "
        "size, brightness, class. By default each alone, but for class.",
    )
    embeddings: bool = Field(
        default=False, description="Keep each image's embedding in the predictions file."
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

    @field_validator("slices")
    @classmethod
    def _are_combinations(
        cls, value: tuple[tuple[str, ...], ...] | None
    ) -> tuple[tuple[str, ...], ...] | None:
        """Refuses a combination without a dimension, or with one twice."""
        for names in value or ():
            if not names or len(set(names)) < len(names):
                raise ConfigError(
                    f"evaluate.slices holds {list(names)}, expected one or more dimensions, each "
                    "once.",
                    "Write a list of lists, such as [[camera], [size, class]].",
                )
        return value
