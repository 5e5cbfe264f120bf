"""The `tracking` section: where else a run's facts go, besides its own folder."""

from __future__ import annotations

import pydantic

from slimworks.components.settings import Settings
from slimworks.components.tracking.address import checked_address

_EXPERIMENT_CHARACTERS = 500  # MLflow's own limit


class TrackingConfig(Settings):
    """The `tracking` section of pipeline.yaml. A sink never changes how a run ends."""

    mlflow_uri: str | None = pydantic.Field(
        None,
        description="Address of an MLflow server: https://HOST. Needs the extra `mlflow`. An "
        "account goes into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN.",
    )
    mlflow_experiment: str | None = pydantic.Field(
        None,
        min_length=1,
        max_length=_EXPERIMENT_CHARACTERS,
        description="Experiment of the runs; null: the pipeline's name.",
    )
    mlflow_timeout_seconds: int = pydantic.Field(
        10,  # a healthy server answers within one; a dead one holds a run up twice this long
        ge=1,
        le=600,
        description="Wait so long for an answer of the server, twice at most.",
    )
    tensorboard: bool = pydantic.Field(
        False, description="Write the evaluation for TensorBoard, beside the training's logs."
    )
    tensorboard_dir: str | None = pydantic.Field(
        None,
        min_length=1,
        description="Or below this folder, one for each run; null: logs/evaluation of the model.",
    )

    @pydantic.field_validator("mlflow_uri")
    @classmethod
    def _is_address(cls, uri: str | None) -> str | None:
        return None if uri is None else checked_address(uri)

    @pydantic.model_validator(mode="after")
    def _folder_is_used(self) -> TrackingConfig:
        if self.tensorboard_dir and not self.tensorboard:
            raise ValueError("tracking.tensorboard_dir is set, and tracking.tensorboard is false.")
        return self
