"""metrics.json as text for a terminal, at most 80 columns wide."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80
MAX_ROWS = 20  # classes or slices shown: the worst ones where there are more

_METRICS = {
    "accuracy": "accuracy", "top5_accuracy": "top-5 accuracy", "macro_f1": "macro F1",
    "weighted_f1": "weighted F1", "macro_recall": "macro recall", "log_loss": "log loss",
    "brier": "Brier score", "ece": "calibration error (ECE)",
}  # fmt: skip


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Overall metrics, then classes, then slices, each with its interval."""
    lines = [
        f"{metrics['num_images']:,} images of the split {metrics['split']}, "
        f"{metrics['num_classes']:,} classes; intervals hold {metrics['confidence']:.0%}",
        "",
    ]
    if metrics["num_nan"]:
        lines.insert(1, f"{metrics['num_nan']:,} of them got no finite answer: they count as wrong")
    for key, shown in _METRICS.items():
        if metrics[key] is not None:
            lines.append(fitted(shown, 28) + _interval(metrics, key))
    worst = metrics["worst_class"]
    if worst is not None:
        name = fitted(f"worst class, {worst['class_name']}", 27)
        lines.append(f"{name} {_interval(worst, 'recall')}  recall of {worst['support']:,}")
    lines += _table("class", ("images", "recall", "", "precision", "F1", "AP"), _classes(metrics))
    lines += _table("slice", ("images", "accuracy", "", "macro F1", "ECE", ""), _slices(metrics))
    return "\n".join(lines)


def fitted(text: str, width: int) -> str:
    """Pads or cuts to terminal columns: Chinese characters take two, combining ones none."""
    kept, used = "", 0
    for character in text:
        columns = _columns(character)
        if used + columns > width - (kept + character != text):
            return f"{kept}…" + " " * (width - used - 1)
        kept, used = kept + character, used + columns
    return kept + " " * (width - used)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


_Row = tuple[str, float, tuple[str, ...]]  # name, what the worst are chosen by, cells


def _classes(metrics: Mapping[str, Any]) -> list[_Row]:
    return [
        (
            entry["class_name"],
            entry["recall"],
            (
                f"{entry['support']:,}",
                *_split(entry, "recall"),
                *(_value(entry[key]) for key in ("precision", "f1", "ap")),
            ),
        )
        for entry in metrics["classes"]
        if entry["support"]
    ]


def _slices(metrics: Mapping[str, Any]) -> list[_Row]:
    return [
        (
            ", ".join(f"{key}={value}" for key, value in entry["slice"].items()),
            entry["accuracy"],
            (
                f"{entry['num_images']:,}",
                *_split(entry, "accuracy"),
                *(_value(entry[key]) for key in ("macro_f1", "ece")),
                "",
            ),
        )
        for entry in metrics["slices"]
    ]


def _table(name: str, headings: Sequence[str], rows: list[_Row]) -> list[str]:
    if not rows:
        return []
    lines = ["", _line(name, headings), "-" * WIDTH]
    shown = rows if len(rows) <= MAX_ROWS else sorted(rows, key=lambda row: row[1])[:MAX_ROWS]
    lines += [_line(text, cells) for text, _, cells in shown]
    if len(shown) < len(rows):
        lines.append(f"the {len(shown)} worst of {len(rows):,}; metrics.json has all")
    return lines


def _line(name: str, cells: Sequence[str]) -> str:
    padded = (f"{cell:>{width}}" for cell, width in zip(cells, (8, 9, 15, 10, 7, 6), strict=True))
    return (fitted(name, 25) + "".join(padded)).rstrip()


def _interval(entry: Mapping[str, Any], key: str) -> str:
    return "  ".join(_split(entry, key))


def _split(entry: Mapping[str, Any], key: str) -> tuple[str, str]:
    interval = entry[f"{key}_interval"]
    shown = "" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}"
    return _value(entry[key]), shown


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
