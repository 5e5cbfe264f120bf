"""Settings of the replay: those of the `serving` section that it depends on."""

from __future__ import annotations

import pydantic

from slimworks.components.serving.config import ServingConfig
from slimworks.components.settings import Settings


class ReplaySettings(Settings):
    """What the replay depends on, and no more: other serving settings keep its cache."""

    num_images: int = pydantic.Field(
        ge=1, description="Test images sent through the loaded candidate."
    )
    tolerance: float = pydantic.Field(
        gt=0.0, le=1.0, description="Largest difference of a probability, served against offline."
    )
    timeout_seconds: float = pydantic.Field(
        gt=0.0, description="Time for the candidate to become AVAILABLE, and for each request."
    )

    @classmethod
    def of(cls, serving: ServingConfig) -> ReplaySettings:
        """Picks them from the `serving` section, which holds their defaults and reasons."""
        return cls(
            num_images=serving.replay_num_images,
            tolerance=serving.replay_tolerance,
            timeout_seconds=serving.replay_timeout_seconds,
        )
