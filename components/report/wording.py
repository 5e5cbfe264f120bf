"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

NOTHING = "–"


def percent(value: float | None) -> str:
    """0.9731 -> "97.3%"; never rounds to 100% or 0% what is neither."""
    if value is None:
        return NOTHING
    text = f"{100 * value:.1f}"
    if text == "100.0" and value < 1:
        return ">99.9%"
    if text == "0.0" and value > 0:
        return "<0.1%"
    return "100%" if text == "100.0" else "0%" if text == "0.0" else f"{text}%"


def interval(limits: Sequence[float | None] | None) -> str:
    """[0.95, 0.982] -> "95.0 to 98.2%"."""
    if limits is None or limits[0] is None or limits[1] is None:
        return NOTHING
    low, high = (percent(limit) for limit in limits)
    return f"{low.removesuffix('%')} to {high}"


def points(value: float | None) -> str:
    """0.012 -> "+1.2": percentage points with their sign."""
    # A hyphen is shorter than a plus sign.
    return NOTHING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def change(value: float | None) -> str:
    """0.0123 -> "+0.012": a difference with its sign."""
    return NOTHING if value is None else f"{value:+.3f}".replace("-", "−")


def words(name: str) -> str:
    """Turns log_loss into Log loss."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def count(value: float | None) -> str:
    """12345 -> "12,345"."""
    return NOTHING if value is None else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    """Three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def figure(value: float | None) -> str:
    """Three significant digits: 0.0412 -> "0.0412", 1036.4 -> "1,036"."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """0.31 -> "0.3 s", 42.4 -> "42 s", 754 -> "12 min 34 s"."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(value: float | None) -> str:
    """Bytes with a decimal unit."""
    if value is None:
        return NOTHING
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


FILTERS: dict[str, Callable[[Any], str]] = {
    "percent": percent,
    "interval": interval,
    "points": points,
    "count": count,
    "decimal": decimal,
    "figure": figure,
    "seconds": seconds,
    "size": size,
}
