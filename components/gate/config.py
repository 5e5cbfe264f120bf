"""Settings of the gate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from slimworks.components.errors import ConfigError
from slimworks.components.gate.rules import BoundRule
from slimworks.components.settings import Settings

FRACTIONS = ("min_accuracy", "min_class_recall", "max_accuracy_drop", "max_slice_drop")


class ShadowRule(Settings):
    """What logged requests must show of a candidate."""

    log: str = Field(min_length=1, description="Request log: its prefix, folder or a file.")
    min_requests: int = Field(
        # 100 agreements of 100 prove no more than 0.963 (Wilson, 95 %).
        default=100,
        ge=1,
        description="Logged requests that the candidate must be asked.",
    )
    max_requests: int = Field(
        # A minute or two of single requests to both models on two cores.
        default=1_000,
        ge=1,
        description="The newest so many are sent.",
    )
    min_agreement: float = Field(
        # A better model disagrees where the live one errs: this is to find another model, such
        # as one with moved classes, not a slightly better or worse one.
        default=0.8,
        ge=0.0,
        le=1.0,
        description="Fraction of the images with the baseline's best class, or the logged one.",
    )
    max_latency_ratio: float | None = Field(
        default=3.0,
        gt=0.0,
        description="Latency p99, at most so many times the baseline's; null: not looked at.",
    )


class GateConfig(Settings):
    """What a candidate must prove before it is pushed."""

    min_accuracy: float | None = Field(
        default=None, description="Accuracy that the candidate must reach, as a fraction."
    )
    min_class_recall: float | None = Field(
        default=None, description="Recall that every class must reach, as a fraction."
    )
    max_accuracy_drop: float = Field(
        # Non-inferiority margin. Retraining the same network on the same photos with another
        # seed moves accuracy by one to two points; less could not be told from that noise, and
        # 0.01 would need four times the test images.
        default=0.02,
        description="Drop against the last blessed model that the evidence must rule out.",
    )
    max_slice_drop: float | None = Field(
        # Far beyond what another seed does to a slice of some hundred images.
        default=0.1,
        description="Drop against the last blessed model that refuses once it is proven for a "
        "slice of the test images or for a class; null: not looked at.",
    )
    bounds: tuple[BoundRule, ...] = Field(
        default=(),
        description="More rules: a metric, its limit, and the slice or class that it is about.",
    )
    require_every_class: bool = Field(
        # What was not tested may have been lost.
        default=True,
        description="Inconclusive where a class has no test image.",
    )
    require_baseline: bool = Field(
        # The first run of a pipeline has none.
        default=False,
        description="Fail when there is no blessed model to compare with.",
    )
    min_support: int = Field(
        # Below ten images even a perfect score proves no more than 0.7 (Wilson, 95 %).
        default=10,
        ge=1,
        description="Test images below which a bound cannot pass.",
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="Coverage of every interval and test."
    )
    require_shadow: ShadowRule | None = Field(
        default=None,
        description="Requests that clients sent, which the candidate must answer much as the "
        "baseline: log, min_requests, max_requests, min_agreement, max_latency_ratio.",
    )
    on_inconclusive: Literal["refuse", "keep", "push"] = Field(
        default="refuse",
        description=(
            "When the test images cannot tell: refuse (exit code 10), keep the live model "
            "(exit code 0), or push the candidate."
        ),
    )

    @field_validator(*FRACTIONS, mode="before")
    @classmethod
    def _is_a_fraction(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses percentages with the number to type instead."""
        if isinstance(value, (int, float)) and not 0 <= value <= 1:
            percent = f"{value:g}"
            raise ConfigError(
                f"gate.{info.field_name} is {percent}, expected a fraction in [0, 1].",
                f"For {percent} percent write {value / 100:g}."
                if 1 < value <= 100
                else "Write 0.9 for 90 percent.",
            )
        return value

    @property
    def rules(self) -> tuple[BoundRule, ...]:
        """All rules: what the settings are short for, then `bounds`."""
        return (*self._thresholds, *self.bounds, *self._guards)

    @property
    def _thresholds(self) -> list[BoundRule]:
        found = []
        if self.min_accuracy is not None:
            found.append(BoundRule(metric="accuracy", min=self.min_accuracy))
        if self.min_class_recall is not None:
            found.append(BoundRule(metric="recall", min=self.min_class_recall, class_name="each"))
        return found

    @property
    def _guards(self) -> list[BoundRule]:
        if self.max_slice_drop is None:
            return []
        drop = self.max_slice_drop
        return [
            BoundRule(metric="accuracy", max_drop=drop, slice="each", when_open="pass"),
            BoundRule(metric="recall", max_drop=drop, class_name="each", when_open="pass"),
        ]
