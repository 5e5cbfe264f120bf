"""A rule of the gate as data: a metric, its limit, and what it is measured over."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field
from typing_extensions import Self

from slimworks.components.errors import ConfigError
from slimworks.components.settings import Settings

HIGHER_IS_BETTER = (
    "accuracy", "top5_accuracy", "macro_f1", "weighted_f1", "macro_recall",
)  # fmt: skip
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
OF_A_CLASS = ("recall", "precision", "f1")  # higher is better, too
FRACTIONS = (*HIGHER_IS_BETTER, *OF_A_CLASS, "ece")
LIMITS = ("min", "max", "max_drop", "max_rise")
EACH = "each"


class BoundRule(Settings):
    """One entry of `gate.bounds`: exactly one limit."""

    model_config = pydantic.ConfigDict(populate_by_name=True)

    metric: Literal[
        "accuracy", "top5_accuracy", "macro_f1", "weighted_f1", "macro_recall", "log_loss",
        "brier", "ece", "recall", "precision", "f1",
    ] = Field(description="What is measured; the last three are of one class.")  # fmt: skip
    min: float | None = Field(None, description="At least this much.")
    max: float | None = Field(None, description="At most this much; for losses.")
    max_drop: float | None = Field(
        None, ge=0, description="At most so much less than the last blessed model."
    )
    max_rise: float | None = Field(
        None, ge=0, description="At most so much more than the last blessed model; for losses."
    )
    slice: dict[str, str] | Literal["each"] | None = Field(
        None, description="Test images with these values; each: every slice of the evaluation."
    )
    class_name: str | None = Field(
        None, alias="class", description="A class; each: every one; null: all."
    )
    min_support: int | None = Field(
        None, ge=1, description="Images below which the rule cannot hold; null: gate.min_support."
    )
    when_open: Literal["inconclusive", "pass"] = Field(
        "inconclusive",
        description="What the rule says while the evidence neither proves nor rules it out.",
    )

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"A bound on {self.metric} in gate.bounds has "
                f"{'the limits ' + ' and '.join(given) if given else 'no limit'}, expected one of "
                f"{', '.join(LIMITS)}.",
                "Write one bound for each limit, such as {metric: accuracy, min: 0.9}.",
            )
        fitting = ("max", "max_rise") if self.metric in LOWER_IS_BETTER else ("min", "max_drop")
        if given[0] not in fitting:
            better = "lower" if self.metric in LOWER_IS_BETTER else "higher"
            raise ConfigError(
                f"A bound on {self.metric} in gate.bounds has {given[0]}: a {better} {self.metric} "
                "is better.",
                f"Write {' or '.join(fitting)} instead.",
            )
        self._check_fraction(given[0])
        if (self.metric in OF_A_CLASS) != (self.class_name is not None):
            if self.class_name is None:
                fix = f"Write {{metric: {self.metric}, class: each, ...}}, or a class's name."
            else:
                fix = f"Leave class out, or bound one of {', '.join(OF_A_CLASS)}."
            needs = "needs a class" if self.class_name is None else "is of no single class"
            raise ConfigError(f"gate.bounds: {self.metric} {needs}.", fix)
        return self

    def _check_fraction(self, limit: str) -> None:
        value = getattr(self, limit)
        if self.metric in FRACTIONS and not 0 <= value <= 1:
            raise ConfigError(
                f"A bound on {self.metric} in gate.bounds has {limit} {value:g}, expected a "
                "fraction in [0, 1].",
                f"For {value:g} percent write {value / 100:g}."
                if 1 < value <= 100
                else "Write 0.9 for 90 percent.",
            )

    @property
    def is_change(self) -> bool:
        """Whether it is about the difference to the baseline."""
        return self.max_drop is not None or self.max_rise is not None

    @property
    def is_upper(self) -> bool:
        """Whether the value must not exceed the threshold."""
        return self.max is not None or self.max_rise is not None

    @property
    def threshold(self) -> float:
        """What the value, or the change, is compared with."""
        if self.max_drop is not None:
            return -self.max_drop
        return next(v for v in (self.min, self.max, self.max_rise) if v is not None)

    @property
    def is_each(self) -> bool:
        """Whether it stands for many bounds, which share one risk of a false refusal."""
        return EACH in (self.slice, self.class_name)

    def shown(self) -> dict[str, Any]:
        """As it is written in pipeline.yaml."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
