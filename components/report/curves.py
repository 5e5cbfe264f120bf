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
PHASE_NAME_WIDTH = 32
# Values above so many times the usual ones are drawn at the upper edge.
SPIKE_FACTOR = 1.5
NUM_TICKS = 4

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: SVG points "x,y x,y", the ends in words, and what the legend says."""

    split: str
    points: str
    dots: Sequence[Point]
    first: str
    last: str
    legend: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart in SVG user units; ticks are (position, label)."""

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    best: float | None  # x of the checkpoint that was kept
    best_legend: str
    # x where each begins, and its name; empty where there is but one, or it has no room
    phases: Sequence[tuple[float, str]]
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
    """Loss, accuracy and learning rate by epoch for the splits in `rows`; None without rows.

    Args:
        rows: Lines of metrics.jsonl: {"step", "epoch", "split", "loss", "accuracy",
            "learning_rate"}.
        model: Content of model.json; "best_step" and the starts of "phases" are marked.
    """
    best_step = (model or {}).get("best_step")
    best = next((row["epoch"] for row in rows if row["step"] == best_step), None)
    phases = phase_starts(rows, (model or {}).get("phases") or ())
    drawn = [
        _chart(rows, key, splits, best, phases)
        for key, splits in (
            ("loss", ("train", "eval")), ("accuracy", ("train", "eval")),
            ("learning_rate", ("train",)),
        )
    ]  # fmt: skip
    return [chart for chart in drawn if chart is not None] or None


def phase_starts(
    rows: Sequence[Mapping[str, Any]], phases: Sequence[Mapping[str, Any]]
) -> list[tuple[float, str]]:
    """(epoch, name) where each phase begins; empty where there are not several.

    Args:
        rows: Lines of metrics.jsonl, for the length of an epoch in steps.
        phases: {"name", "first_step"} each.
    """
    steps_per_epoch = next((row["step"] / row["epoch"] for row in rows if row["epoch"]), None)
    if steps_per_epoch is None or len(phases) < 2:
        return []
    return [(phase["first_step"] / steps_per_epoch, str(phase["name"])) for phase in phases]


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
    """Two or more round numbers (1, 2 or 5 times a power of ten) that enclose [low, high]."""
    span = high - low or 1.0
    exponent = math.floor(math.log10(span / most))
    step = next(
        m * 10.0**exponent for m in (1, 2, 5, 10, 20) if span / (m * 10.0**exponent) <= most
    )
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 2 - exponent) for index in range(first, max(last, first + 1) + 1)]


def _chart(
    rows: Sequence[Mapping[str, Any]],
    key: str,
    splits: Sequence[str],
    best: float | None,
    phases: Sequence[tuple[float, str]],
) -> Chart | None:
    curves = {split: series(rows, split, key) for split in splits}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return None
    x_ticks = nice_ticks(0.0, max(x for x, _ in points), 5)
    y_ticks = nice_ticks(min(0.0, *(y for _, y in points)), _highest_shown(curves))
    if key == "accuracy":
        y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0]

    def x_of(epoch: float) -> float:
        share = (epoch - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return round(LEFT + share * (WIDTH - RIGHT - LEFT), 1)

    def y_of(value: float) -> float:
        share = min((value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]), 1.0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    show = _percent if key == "accuracy" else _number
    lines = [
        _line(split, [(x_of(x), y_of(y)) for x, y in curve], show(curve[0][1]), show(curve[-1][1]))
        for split, curve in curves.items()
        if curve
    ]
    if key == "learning_rate":
        highest = f"highest {show(max(y for _, y in points))}"
        lines = [dataclasses.replace(line, legend=highest) for line in lines]
    kept = next((y for x, y in curves.get("eval", ()) if x == best), None)
    title = key.replace("_", " ").capitalize()
    return Chart(
        title=title,
        lines=lines,
        x_ticks=[(x_of(tick), f"{tick:g}") for tick in x_ticks],
        y_ticks=[(y_of(tick), show(tick)) for tick in y_ticks],
        best=None if best is None else x_of(best),
        best_legend="kept" if kept is None else f"kept {show(kept)}",
        phases=_phase_marks([(x_of(epoch), name) for epoch, name in phases]),
        description=f"{title} by epoch. "
        + " ".join(f"{line.split}: {line.first} to {line.last}." for line in lines),
    )


def _highest_shown(curves: Mapping[str, Sequence[Point]]) -> float:
    """Top of the axis: a short spike of the training loss must not flatten all that follows."""
    values = sorted(y for curve in curves.values() for _, y in curve)
    usual = max([values[int(0.9 * (len(values) - 1))], *(y for _, y in curves.get("eval", ()))])
    return min(values[-1], SPIKE_FACTOR * usual) if usual > 0 else values[-1]


def _line(split: str, points: Sequence[Point], first: str, last: str) -> Line:
    # Dots say where an eval was made; too many of them hide the line. One point is no line.
    has_dots = len(points) == 1 or (split == "eval" and len(points) <= MAX_DOTS)
    dots = points if has_dots else ()
    drawn = " ".join(f"{x:g},{y:g}" for x, y in points)
    return Line(split, drawn, dots, first, last, legend=f"{split} {last}")


def _phase_marks(starts: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Leaves out the names of phases that are narrower than a name."""
    if not starts:
        return []
    ends = [*(x for x, _ in starts[1:]), float(WIDTH - RIGHT)]
    return [
        (x, name if end - x >= PHASE_NAME_WIDTH else "")
        for (x, name), end in zip(starts, ends, strict=True)
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.3g}"
