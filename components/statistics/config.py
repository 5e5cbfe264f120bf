"""Thresholds on drift: the part of the `data` section that validation decides by."""

from __future__ import annotations

import pydantic

from slimworks.components.settings import Settings


class DriftConfig(Settings):
    """When drift stops a run, and what it takes to train again; None switches a rule off."""

    stop_above_drift: float | None = pydantic.Field(
        None, gt=0, le=1, description="Stops the run where new images drifted by more."
    )
    retrain_min_drift: float | None = pydantic.Field(
        None, gt=0, le=1, description="Trains only where new images drifted by so much."
    )
    retrain_min_new_images: int | None = pydantic.Field(
        None, ge=1, description="Trains only where there are so many new images."
    )

    @property
    def has_triggers(self) -> bool:
        """Whether training waits for drift or for new images."""
        return self.retrain_min_drift is not None or self.retrain_min_new_images is not None
