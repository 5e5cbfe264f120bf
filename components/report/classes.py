"""Confusion matrix and the most frequent confusions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# A wider table fits no screen; the list of confusions takes its place.
MAX_MATRIX_CLASSES = 30
MAX_CONFUSIONS = 12


@dataclasses.dataclass(frozen=True)
class Cell:
    """Images of one true class that were predicted as one class.

    `heat` is the fraction of the row, `tone` "hit" on the diagonal, else "miss".
    """

    count: int
    heat: float
    tone: str
    text: str

    @property
    def is_dense(self) -> bool:
        """The colour is so deep that dark text would not be read on it."""
        return self.heat > (0.6 if self.tone == "hit" else 0.45)


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Images of one class that were predicted as another; `fraction` is of the true class."""

    true: str
    predicted: str
    count: int
    fraction: float


def matrix(metrics: Mapping[str, Any] | None) -> list[list[Cell]] | None:
    """Rows of cells by true class; None without metrics or with too many classes."""
    if metrics is None or metrics["num_classes"] > MAX_MATRIX_CLASSES:
        return None
    names = [entry["class_name"] for entry in metrics["classes"]]
    return [
        [_cell(names, true, predicted, count, sum(row)) for predicted, count in enumerate(row)]
        for true, row in enumerate(metrics["confusion_matrix"])
    ]


def confusions(metrics: Mapping[str, Any] | None) -> list[Confusion]:
    """The most frequent confusions, most frequent first."""
    if metrics is None:
        return []
    names = [entry["class_name"] for entry in metrics["classes"]]
    found = [
        Confusion(names[true], names[predicted], count, count / sum(row))
        for true, row in enumerate(metrics["confusion_matrix"])
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return sorted(found, key=lambda confusion: -confusion.count)[:MAX_CONFUSIONS]


def _cell(names: Sequence[str], true: int, predicted: int, count: int, total: int) -> Cell:
    heat = count / total if total else 0.0
    images = "image" if count == 1 else "images"
    text = f"{count} {images} of {names[true]} predicted as {names[predicted]} ({heat:.0%})"
    return Cell(count, heat, "hit" if true == predicted else "miss", text)
