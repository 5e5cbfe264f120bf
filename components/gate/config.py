"""Settings of the gate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from slimworks.components.errors import ConfigError
from slimworks.components.settings import Settings

FRACTIONS = ("min_accuracy", "min_class_recall", "max_accuracy_drop")


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
