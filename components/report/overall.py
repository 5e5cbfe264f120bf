"""The metrics of all test images, each with its interval where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from slimworks.components.report import wording

# metrics.json's key, what people call it, how it is written.
_METRICS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("accuracy", "Accuracy", wording.percent),
    ("top5_accuracy", "Top-5 accuracy", wording.percent),
    ("macro_recall", "Mean recall of the classes", wording.percent),
    ("macro_f1", "Macro F1", wording.decimal),
    ("weighted_f1", "Weighted F1", wording.decimal),
    ("log_loss", "Log loss", wording.decimal),
    ("brier", "Brier score", wording.decimal),
    ("ece", "Expected calibration error", wording.decimal),
)


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """One metric; `interval` and `baseline` are empty where they are not known."""

    label: str
    value: str
    interval: str
    baseline: str


def metric_rows(metrics: Mapping[str, Any] | None) -> list[MetricRow]:
    """The metrics that metrics.json has, and the baseline's beside them."""
    if metrics is None:
        return []
    baseline = metrics.get("baseline") or {}
    return [
        MetricRow(
            label,
            show(metrics[key]),
            _interval(metrics.get(f"{key}_interval"), show),
            "" if baseline.get(key) is None else show(baseline[key]),
        )
        for key, label, show in _METRICS
        if metrics.get(key) is not None
    ]


def _interval(limits: Any, show: Callable[[float | None], str]) -> str:
    if not limits or None in limits:
        return ""
    return f"{show(limits[0])} to {show(limits[1])}"
