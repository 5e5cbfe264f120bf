"""One served answer against the offline prediction of the same image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Expected:
    """The offline prediction of an image; probabilities by class index."""

    class_index: int
    probabilities: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far a served answer is from the offline one.

    Attributes:
        probability: Largest difference over the served classes; NaN where one is not a number
            or the served class does not exist offline.
        is_same_class: Whether the best class agrees, ties within the tolerance included.
    """

    probability: float
    is_same_class: bool

    def exceeds(self, tolerance: float) -> bool:
        """Whether this is a mismatch; NaN always is."""
        return not (self.is_same_class and self.probability <= tolerance)


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """One image that is served otherwise than it was evaluated."""

    filename: str
    expected: dict[str, Any]  # {"class_index", "probability"}
    served: dict[str, Any]
    difference: Difference
    num_images_in_request: int
    protocol: str = "grpc"

    def to_json(self) -> dict[str, Any]:
        """The entry of replay.json; null stands for what is not a number."""
        return {
            "filename": self.filename,
            "expected": _without_nan(self.expected),
            "served": _without_nan(self.served),
            "difference": finite_or_none(self.difference.probability),
            "num_images_in_request": self.num_images_in_request,
            "protocol": self.protocol,
        }

    def sentence(self, tolerance: float) -> str:
        """What happened, for a message."""
        by = "" if self.protocol == "grpc" else f" by {self.protocol.upper()}"
        return (
            f"{self.filename} was evaluated as class {_text(self.expected)} and is served as class "
            f"{_text(self.served)}{by}: the probabilities differ by up to "
            f"{self.difference.probability:.3g}, {tolerance:g} is allowed"
        )


def difference_of(
    expected: Expected,
    class_indices: Sequence[int],
    probabilities: Sequence[float],
    tolerance: float,
) -> Difference:
    """Compares the served best classes, by falling probability, with the offline prediction."""
    if not class_indices or len(class_indices) != len(probabilities):
        return Difference(math.nan, is_same_class=False)
    offline = [_offline(expected, index) for index in class_indices]
    differences = [abs(p - q) for p, q in zip(probabilities, offline, strict=True)]
    best = _offline(expected, expected.class_index)
    is_same_class = class_indices[0] == expected.class_index or best - offline[0] <= tolerance
    # max() would drop a NaN, depending on its place.
    largest = math.nan if any(map(math.isnan, differences)) else max(differences)
    return Difference(largest, is_same_class)


def repeat_difference(
    first: tuple[Sequence[int], Sequence[float]], second: tuple[Sequence[int], Sequence[float]]
) -> float:
    """Largest difference of a probability between two answers to one image.

    Args:
        first: Class indices and their probabilities.
        second: The same of the second answer.

    Returns:
        What one answer lacks counts as 0 there; NaN where a probability is not a number.
    """
    by_class = [dict(zip(*answer, strict=True)) for answer in (first, second)]
    differences = [
        abs(by_class[0].get(index, 0.0) - by_class[1].get(index, 0.0))
        for index in {*by_class[0], *by_class[1]}
    ]
    return math.nan if any(map(math.isnan, differences)) else max(differences, default=0.0)


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _offline(expected: Expected, class_index: int) -> float:
    if 0 <= class_index < len(expected.probabilities):
        return float(expected.probabilities[class_index])
    return math.nan


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {k: finite_or_none(v) if isinstance(v, float) else v for k, v in values.items()}


def _text(answer: dict[str, Any]) -> str:
    return f"{answer['class_index']} with {answer['probability']:.4f}"
