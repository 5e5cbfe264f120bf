"""How the main metrics of a pipeline moved from run to run, as geometry for inline SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slimworks.components.report import wording
from slimworks.components.report.curves import nice_ticks

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 26
MAX_RUNS = 60  # the newest; more are closer together than their dots

LEAST_SPAN = 0.05  # of the axis: smaller differences would look like great ones


@dataclasses.dataclass(frozen=True)
class TrendDot:
    """One run: place, ends of its interval where there is one, tone of the verdict, text."""

    x: float
    y: float
    low: float | None
    high: float | None
    tone: str
    version: str
    text: str


@dataclasses.dataclass(frozen=True)
class Trend:
    """One metric over the runs of one pipeline."""

    title: str
    latest: str
    points: str
    dots: Sequence[TrendDot]
    y_ticks: Sequence[tuple[float, str]]
    first_run: str
    last_run: str
    description: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


# metrics key, title, how it is written, whether it is a proportion
_METRICS: tuple[tuple[str, str, Callable[[float | None], str], bool], ...] = (
    ("accuracy", "Accuracy", wording.percent, True),
    ("macro_f1", "Macro F1", wording.decimal, True),
    ("log_loss", "Log loss", wording.decimal, False),
)


def trends(runs: Sequence[Mapping[str, Any]], tone_of: Callable[[str], str]) -> list[Trend]:
    """Trends of the metrics that at least two runs measured.

    Args:
        runs: run.json of one pipeline's runs, oldest first.
        tone_of: Colour of a verdict.
    """
    found = []
    for key, title, show, is_proportion in _METRICS:
        measured = [run for run in runs if (run.get("metrics") or {}).get(key) is not None]
        if len(measured) > 1:
            found.append(_trend(measured[-MAX_RUNS:], key, title, show, is_proportion, tone_of))
    return found


def _trend(
    runs: Sequence[Mapping[str, Any]],
    key: str,
    title: str,
    show: Callable[[float | None], str],
    is_proportion: bool,
    tone_of: Callable[[str], str],
) -> Trend:
    limits = [run["metrics"].get(f"{key}_interval") or (None, None) for run in runs]
    values = [run["metrics"][key] for run in runs]
    ends = [end for pair in limits for end in pair if end is not None]
    lowest, highest = min(values + ends), max(values + ends)
    if highest - lowest < LEAST_SPAN:
        lowest, highest = lowest - LEAST_SPAN, highest + LEAST_SPAN
    ticks = nice_ticks(lowest, highest)
    if is_proportion:
        ticks = [tick for tick in ticks if -1e-9 <= tick <= 1 + 1e-9]

    def x_of(number: int) -> float:
        return round(LEFT + number / (len(runs) - 1) * (WIDTH - RIGHT - LEFT), 1)

    def y_of(value: float | None) -> float | None:
        if value is None:
            return None
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    dots = [
        TrendDot(
            x=x_of(number),
            y=y_of(value) or 0.0,
            low=y_of(low),
            high=y_of(high),
            tone=tone_of(str(run.get("verdict"))),
            version="" if run.get("version") is None else f"v{run['version']}",
            text=f"run {run['run_id']}: {show(value)}",
        )
        for number, (run, value, (low, high)) in enumerate(zip(runs, values, limits, strict=True))
    ]
    return Trend(
        title=title,
        latest=show(values[-1]),
        points=" ".join(f"{dot.x:g},{dot.y:g}" for dot in dots),
        dots=dots,
        y_ticks=[(y_of(tick) or 0.0, show(tick)) for tick in ticks],
        first_run=_day(runs[0]["run_id"]),
        last_run=_day(runs[-1]["run_id"]),
        description=f"{title} of {len(runs)} runs, from {show(values[0])} to {show(values[-1])}.",
    )


def _day(run_id: str) -> str:
    """20261121-053000-3f2a -> "2026-11-21"; another id as it is."""
    day = run_id.partition("-")[0]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdecimal() else run_id
