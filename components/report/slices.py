"""Metrics of parts of the test images: by metadata column, size, brightness, as declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

MAX_SLICES = 60  # in the page; metrics.json holds them all


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """One slice, by its name for people such as `camera=old, size=small`."""

    name: str
    num_images: int
    accuracy: float | None
    accuracy_interval: Sequence[float] | None
    macro_f1: float | None
    log_loss: float | None
    ece: float | None
    is_low: bool  # its whole interval lies below the accuracy of all images


@dataclasses.dataclass(frozen=True)
class SliceTable:
    """The first rows, the lowest accuracy first, and how many are left out."""

    rows: Sequence[SliceRow]
    num_more: int


def slice_table(metrics: Mapping[str, Any] | None) -> SliceTable | None:
    """View of metrics.json's "slices"; None where there are none."""
    entries = (metrics or {}).get("slices")
    if metrics is None or not entries:
        return None
    rows = [_row(entry, metrics.get("accuracy")) for entry in entries]
    rows.sort(key=lambda row: (row.accuracy is None, row.accuracy, row.name))
    return SliceTable(rows[:MAX_SLICES], max(0, len(rows) - MAX_SLICES))


def slice_name(values: Mapping[str, Any]) -> str:
    """{"camera": "old", "size": "small"} -> "camera=old, size=small"."""
    return ", ".join(f"{dimension}={value}" for dimension, value in values.items())


def _row(entry: Mapping[str, Any], overall: float | None) -> SliceRow:
    low, high = entry.get("accuracy_interval") or (None, None)
    return SliceRow(
        name=slice_name(entry["slice"]),
        num_images=entry["num_images"],
        accuracy=entry.get("accuracy"),
        accuracy_interval=None if low is None or high is None else (low, high),
        macro_f1=entry.get("macro_f1"),
        log_loss=entry.get("log_loss"),
        ece=entry.get("ece"),
        is_low=high is not None and overall is not None and high < overall,
    )
