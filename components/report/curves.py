"""Training curves as geometry for inline SVG."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 420, 236
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 30
# More points than this are closer together than a pixel.
MAX_POINTS = 200
MAX_DOTS = 40
NUM_TICKS = 4

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: SVG points "x,y x,y", and the ends in words."""

    split: str
    points: str
    dots: Sequence[Point]
    first: str
    last: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart in SVG user units; ticks are (position, label)."""

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    best: float | None  # x of the checkpoint that was kept
    description: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def charts(
    rows: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
) -> list[Chart] | None:
    """Loss and accuracy by epoch for the splits in `rows`; None without rows.

    Args:
        rows: Lines of metrics.jsonl: {"step", "epoch", "split", "loss", "accuracy"}.
        model: Content of model.json; "best_step" is marked.
    """
    best_step = (model or {}).get("best_step")
    best = next((row["epoch"] for row in rows if row["step"] == best_step), None)
    drawn = [_chart(rows, key, best) for key in ("loss", "accuracy")]
    return [chart for chart in drawn if chart is not None] or None


def series(rows: Sequence[Mapping[str, Any]], split: str, key: str) -> list[Point]:
    """(epoch, value) of one split, finite values only, at most MAX_POINTS (means of buckets)."""
    found = [
        (float(row["epoch"]), float(row[key]))
        for row in rows
        if row["split"] == split and row.get(key) is not None and math.isfinite(row[key])
    ]
    width = math.ceil(len(found) / MAX_POINTS)
    if width <= 1:
        return found
    buckets = [found[start : start + width] for start in range(0, len(found), width)]
    return [
        (sum(x for x, _ in bucket) / len(bucket), sum(y for _, y in bucket) / len(bucket))
        for bucket in buckets
    ]


def nice_ticks(low: float, high: float, most: int = NUM_TICKS) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that enclose [low, high]."""
    span = max(high - low, 1e-9)
    magnitude = 10.0 ** math.floor(math.log10(span / most))
    step = next(m * magnitude for m in (1, 2, 5, 10, 20) if span / (m * magnitude) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _chart(rows: Sequence[Mapping[str, Any]], key: str, best: float | None) -> Chart | None:
    curves = {split: series(rows, split, key) for split in ("train", "eval")}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return None
    x_ticks = nice_ticks(0.0, max(x for x, _ in points), 5)
    y_ticks = nice_ticks(min(0.0, *(y for _, y in points)), max(y for _, y in points))
    if key == "accuracy":
        y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0]

    def x_of(epoch: float) -> float:
        share = (epoch - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return round(LEFT + share * (WIDTH - RIGHT - LEFT), 1)

    def y_of(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    show = _percent if key == "accuracy" else _number
    lines = [
        _line(split, [(x_of(x), y_of(y)) for x, y in curve], show(curve[0][1]), show(curve[-1][1]))
        for split, curve in curves.items()
        if curve
    ]
    return Chart(
        title=key.capitalize(),
        lines=lines,
        x_ticks=[(x_of(tick), f"{tick:g}") for tick in x_ticks],
        y_ticks=[(y_of(tick), show(tick)) for tick in y_ticks],
        best=None if best is None else x_of(best),
        description=f"{key.capitalize()} by epoch. "
        + " ".join(f"{line.split}: {line.first} to {line.last}." for line in lines),
    )


def _line(split: str, points: Sequence[Point], first: str, last: str) -> Line:
    # Dots say where an eval was made; too many of them hide the line. One point is no line.
    has_dots = len(points) == 1 or (split == "eval" and len(points) <= MAX_DOTS)
    dots = points if has_dots else ()
    return Line(split, " ".join(f"{x:g},{y:g}" for x, y in points), dots, first, last)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.3g}"
