"""When drift stops a run, and what makes a training worth it: what validation decides by."""

from __future__ import annotations

from typing import Literal

import pydantic

from slimworks.components.errors import ConfigError
from slimworks.components.settings import Settings

TRIGGERS = ("min_new_images", "min_drift", "min_live_drift", "max_days", "min_gain")


class RetrainConfig(Settings):
    """The `retrain` section: what it takes to train again; null switches a trigger off."""

    when: Literal["any", "all", "always"] = pydantic.Field(
        "any",
        description="Train where any, or all, of the triggers below that are set are reached; "
        "always: train in every run. Without a trigger every run trains.",
    )
    min_new_images: int | None = pydantic.Field(
        None, ge=1, description="Trigger: so many new images since the last trained model."
    )
    min_drift: float | None = pydantic.Field(
        None,
        gt=0,
        le=1,
        description="Trigger: the images since the last trained model, or those of the newest "
        "span, drifted by so much.",
    )
    min_live_drift: float | None = pydantic.Field(
        None,
        gt=0,
        le=1,
        description="Trigger: what clients send, or the model answers, is so far from its training "
        "images or its evaluation; needs request_log.",
    )
    request_log: str | None = pydantic.Field(
        None,
        min_length=1,
        description="Log of live requests (`slimworks serve --request_log`): prefix, folder or "
        "file. Its newest 1,000 requests are compared with the training images in every run.",
    )
    max_days: float | None = pydantic.Field(
        None, gt=0, description="Trigger: the last model was judged so many days ago."
    )
    min_gain: float | None = pydantic.Field(
        None,
        gt=0,
        lt=1,
        description="Trigger: the learning curve of earlier models expects so much more accuracy.",
    )
    min_days: float | None = pydantic.Field(
        None, gt=0, description="Never train sooner than so many days after the last model."
    )

    @pydantic.model_validator(mode="after")
    def _has_log(self) -> RetrainConfig:
        if self.min_live_drift is not None and self.request_log is None:
            raise ConfigError(
                f"retrain.min_live_drift is {self.min_live_drift:g}, and there is no log of live "
                "requests.",
                "Set retrain.request_log to the prefix of `slimworks serve --request_log=PREFIX`.",
            )
        return self

    @property
    def has_triggers(self) -> bool:
        """Whether a run may have nothing to do."""
        names = (*TRIGGERS, "min_days")
        return self.when != "always" and any(getattr(self, name) is not None for name in names)

    def with_shorthands(self, min_new_images: int | None, min_drift: float | None) -> RetrainConfig:
        """The same with `data.retrain_min_new_images` and `data.retrain_min_drift`.

        Raises:
            ConfigError: One is set in both places.
        """
        given = {"min_new_images": min_new_images, "min_drift": min_drift}
        found = {name: value for name, value in given.items() if value is not None}
        for name in found:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"data.retrain_{name} and retrain.{name} are both set.",
                    f"Leave data.retrain_{name} out: it is short for the other.",
                )
        return self.model_copy(update=found)


class DriftConfig(Settings):
    """What validation decides by: a limit of `data`, and the `retrain` section."""

    stop_above_drift: float | None = pydantic.Field(
        None, gt=0, le=1, description="Stops the run where new images drifted by more."
    )
    retrain: RetrainConfig = pydantic.Field(default_factory=RetrainConfig)

    @property
    def has_triggers(self) -> bool:
        """Whether training waits for something."""
        return self.retrain.has_triggers
