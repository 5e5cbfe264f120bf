"""Reliability diagram: how often the model is right where it says that it is so sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components.report import wording

SIDE = 300
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 34
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Least and largest radius of a bin's dot: its area goes by its images.
_RADII = (2.5, 9.0)


@dataclasses.dataclass(frozen=True)
class Dot:
    """One bin in SVG user units, and what it says."""

    x: float
    y: float
    radius: float
    text: str


@dataclasses.dataclass(frozen=True)
class Series:
    """One model's bins; `kind` is "served" or "before"."""

    kind: str
    legend: str
    points: str
    dots: Sequence[Dot]


@dataclasses.dataclass(frozen=True)
class BinRow:
    """One bin as text: range of confidence, images, mean confidence, accuracy."""

    span: str
    count: str
    confidence: str
    accuracy: str


@dataclasses.dataclass(frozen=True)
class Reliability:
    """The section."""

    series: Sequence[Series]
    rows: Sequence[BinRow]
    facts: Sequence[tuple[str, str]]
    description: str
    ticks: Sequence[tuple[float, float, str]]  # x, y, label
    side: int = SIDE
    left: int = LEFT
    right: int = SIDE - RIGHT
    top: int = TOP
    bottom: int = SIDE - BOTTOM


def reliability_view(
    metrics: Mapping[str, Any] | None, model: Mapping[str, Any] | None
) -> Reliability | None:
    """The diagram of the served probabilities, and of those before calibration where they differ.

    Args:
        metrics: Content of metrics.json: "reliability", "reliability_before", "ece".
        model: Content of model.json: "calibration".
    """
    served = bins_of((metrics or {}).get("reliability"))
    if metrics is None or not served:
        return None
    before = bins_of(metrics.get("reliability_before"))
    series = [_series("served", "served", served)]
    if before:
        series.insert(0, _series("before", "before calibration", before))
    rows = [
        BinRow(
            f"{wording.percent(one['low'])} to {wording.percent(one['high'])}",
            wording.count(one["count"]),
            wording.percent(one["confidence"]),
            wording.percent(one["accuracy"]),
        )
        for one in served
    ]
    return Reliability(
        series=series,
        rows=rows,
        facts=_facts(metrics, model),
        description="Accuracy by confidence of the served probabilities. "
        + " ".join(f"{row.confidence} sure: {row.accuracy} right." for row in rows),
        ticks=[(_x(tick), _y(tick), f"{100 * tick:.0f}%") for tick in _TICKS],
    )


def bins_of(reliability: Any) -> list[Mapping[str, Any]]:
    """The bins that hold images; "reliability" is {"bins": [...]}, or the list itself."""
    bins = reliability.get("bins", ()) if isinstance(reliability, Mapping) else reliability or ()
    return [one for one in bins if one["count"]]


def _facts(metrics: Mapping[str, Any], model: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    facts = []
    if metrics.get("ece") is not None:
        limits = metrics.get("ece_interval")
        shown = f" ({wording.decimal(limits[0])} to {wording.decimal(limits[1])})" if limits else ""
        facts.append(("Expected calibration error", wording.decimal(metrics["ece"]) + shown))
    if metrics.get("brier") is not None:
        facts.append(("Brier score", wording.decimal(metrics["brier"])))
    calibration = (model or {}).get("calibration") or {}
    if calibration.get("temperature") is not None:
        facts.append(("Temperature", wording.figure(calibration["temperature"])))
    for key, label in (("log_loss", "Log loss"), ("ece", "Calibration error")):
        ends = calibration.get(f"{key}_before"), calibration.get(f"{key}_after")
        if None not in ends:
            text = f"{wording.decimal(ends[0])} to {wording.decimal(ends[1])}"
            facts.append((f"{label} on the {calibration.get('split', 'eval')} images", text))
    return facts


def _series(kind: str, legend: str, bins: Sequence[Mapping[str, Any]]) -> Series:
    most = max(one["count"] for one in bins)
    least, largest = _RADII
    dots = [
        Dot(
            x=_x(one["confidence"]),
            y=_y(one["accuracy"]),
            radius=round(least + (largest - least) * (one["count"] / most) ** 0.5, 1),
            text=f"{wording.count(one['count'])} images: {wording.percent(one['confidence'])} "
            f"sure, {wording.percent(one['accuracy'])} right",
        )
        for one in bins
    ]
    return Series(kind, legend, " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots), dots)


def _x(value: float) -> float:
    return round(LEFT + value * (SIDE - RIGHT - LEFT), 1)


def _y(value: float) -> float:
    return round(SIDE - BOTTOM - value * (SIDE - BOTTOM - TOP), 1)
