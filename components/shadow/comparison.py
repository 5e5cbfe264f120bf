"""One image, answered by the model that serves and by the one that would."""

from __future__ import annotations

import dataclasses
import math

from slimworks.components.serving.logged import Answer


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the candidate's answer is from the primary's.

    Attributes:
        is_same_class: Whether the best class has the same name.
        probability: Largest difference of a probability, at least: a class that one answer
            leaves out has there the probability of its last class at most. NaN where one is
            not a number.
    """

    is_same_class: bool
    probability: float


def compare(primary: Answer, candidate: Answer) -> Difference:
    """Compares by class name: an index may mean another class in another version."""
    sides = [
        dict(zip(answer.class_names, answer.probabilities, strict=True))
        for answer in (primary, candidate)
    ]
    differences = [_difference(name, *sides) for name in {**sides[0], **sides[1]}]
    # max() would drop a NaN, depending on its place.
    largest = math.nan if any(map(math.isnan, differences)) else max(differences, default=math.nan)
    is_same = primary.class_names[:1] == candidate.class_names[:1] and bool(primary.class_names)
    return Difference(is_same, largest)


def _difference(name: str, first: dict[str, float], second: dict[str, float]) -> float:
    if name in first and name in second:
        return abs(first[name] - second[name])
    given, other = (first, second) if name in first else (second, first)
    beyond = given[name] - min(other.values(), default=0.0)
    return beyond if math.isnan(beyond) else max(0.0, beyond)  # max() may drop a NaN
