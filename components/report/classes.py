"""Confusion matrix and the most frequent confusions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# A wider table fits no screen; the list of confusions takes its place.
MAX_MATRIX_CLASSES = 30
MAX_CONFUSIONS = 12
# Heat above which white (light scheme) or black (dark scheme) is read best on the colours of
# report.css; contrast is 4.58 at least on either side (WCAG 2.1 asks for 4.5).
_DEEP = {"hit": 0.95, "miss": 0.614}
_GLOW = {"hit": 0.84, "miss": 0.57}


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
    def css(self) -> str:
        """Classes of the cell: its tone, and where its number must change from black to white.

        `deep` in the light scheme, `glow` in the dark one: see `_DEEP` and `_GLOW`.
        """
        is_deep, is_glowing = self.heat > _DEEP[self.tone], self.heat > _GLOW[self.tone]
        return f"{self.tone}{' deep' * is_deep}{' glow' * is_glowing}"


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
