"""The learning-rate curve of `slimworks train --find-lr` as one SVG file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from slimworks.components import files
from slimworks.components.report.curves import nice_ticks
from slimworks.components.report.rendering import render

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 64, 52
# Losses above so many times the first one are drawn at the upper edge: they only say "exploded".
SHOWN_FACTOR = 2.0


def write_rate_curve(
    path: str | os.PathLike[str],
    *,
    title: str,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: float,
) -> None:
    """Draws loss by learning rate, on a logarithmic axis, with the suggestion marked.

    Args:
        path: Of the SVG file.
        title: Such as the network's name.
        rates: Learning rates, growing.
        losses: Of each step, finite.
        smoothed: Running mean of `losses`.
        suggested: Rate to mark.
    """
    view = _view(title, rates, losses, smoothed, suggested)
    files.write_text(path, render("rate_curve.svg.j2", view))


def _power(decade: int) -> str:
    """10 ** decade, short: 1e-6, 0.001, 10."""
    return f"{10.0**decade:g}".replace("e-0", "e-")


def _view(
    title: str,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: float,
) -> dict[str, Any]:
    first, last = math.log10(rates[0]), math.log10(rates[-1])
    top = min(max(smoothed), SHOWN_FACTOR * smoothed[0])
    y_ticks = nice_ticks(0.0, max(top, max(losses[: len(losses) // 4])), 5)

    def x_of(rate: float) -> float:
        share = (math.log10(rate) - first) / (last - first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y_of(loss: float) -> float:
        share = min(loss / y_ticks[-1], 1.0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    decades = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
    at = min(range(len(rates)), key=lambda index: abs(math.log(rates[index] / suggested)))
    return {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "points": [(x_of(r), y_of(loss)) for r, loss in zip(rates, losses, strict=True)],
        "curve": " ".join(
            f"{x_of(r):g},{y_of(loss):g}" for r, loss in zip(rates, smoothed, strict=True)
        ),
        "x_ticks": [(x_of(10.0**decade), _power(decade)) for decade in decades],
        "y_ticks": [(y_of(tick), f"{tick:g}") for tick in y_ticks],
        "suggested": (x_of(suggested), y_of(smoothed[at]), f"{suggested:g}"),
        "is_suggested_right": x_of(suggested) > (LEFT + WIDTH - RIGHT) / 2,
    }
