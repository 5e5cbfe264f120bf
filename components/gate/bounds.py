"""Bounds on one model's answers: each is measured, compared with its threshold and explained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS
from slimworks.components.gate import intervals
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one model answered on the test split, row by row.

    Attributes:
        class_names: The model's classes by class index.
        image_ids: [N] texts, unique.
        class_index: [N] int64, the true class by the label map of this run.
        predicted_index: [N] int64 by `class_names`; -1 where a probability was not finite.
        label_map_version: That the model was trained with; 0 unknown.
    """

    class_names: tuple[str, ...]
    image_ids: np.ndarray
    class_index: np.ndarray
    predicted_index: np.ndarray
    label_map_version: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def correct(self) -> np.ndarray:
        """[N] bool: the answer is the true class; -1 never is."""
        return self.predicted_index == self.class_index

    @property
    def num_nan(self) -> int:
        """Images without a usable answer."""
        return int((self.predicted_index < 0).sum())

    def where(self, mask: np.ndarray) -> Answers:
        """The rows that `mask` ([N] bool or indices) selects."""
        return dataclasses.replace(
            self,
            image_ids=self.image_ids[mask],
            class_index=self.class_index[mask],
            predicted_index=self.predicted_index[mask],
        )


@dataclasses.dataclass(frozen=True)
class Bound:
    """One rule with what was measured, and why it passes or not."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    verdict: str
    reason: str


def check(name: str, holds: bool, reason: str, value: float | None = None) -> Bound:
    """A bound that is not a matter of chance: it holds or it fails."""
    return Bound(name, value, None, None, None, PASS if holds else FAIL, reason)


def finite_probabilities(answers: Answers) -> Bound:
    """Fails as soon as one probability is NaN or infinite."""
    num_nan = answers.num_nan
    reason = (
        f"{num_nan} of {len(answers)} test images got a probability that is NaN or infinite."
        if num_nan
        else "Every probability is finite."
    )
    return check("finite_probabilities", num_nan == 0, reason, float(num_nan))


def consistent_metrics(metrics: Mapping[str, Any], answers: Answers) -> Bound:
    """Fails when metrics.json lacks what the gate needs or disagrees with the predictions."""
    found = {key: metrics.get(key) for key in ("num_images", "num_nan", "accuracy")}
    computed = {
        "num_images": len(answers),
        "num_nan": answers.num_nan,
        "accuracy": float(answers.correct.mean()) if len(answers) else None,
    }
    problems = [
        f"{key} is {_shown(found[key])}, the predictions give {_shown(computed[key])}"
        for key in found
        if not _equal(found[key], computed[key])
    ]
    if len(np.unique(answers.image_ids)) != len(answers):
        problems.append("an image occurs twice")
    reason = (
        f"The evaluation contradicts itself: {'; '.join(problems)}."
        if problems
        else "The metrics agree with the predictions."
    )
    return check("consistent_metrics", not problems, reason)


def accuracy(answers: Answers, threshold: float, config: GateConfig) -> Bound:
    """Accuracy over all test images against `gate.min_accuracy`."""
    correct = answers.correct
    counts = int(correct.sum()), len(correct)
    return proportion("accuracy", "Accuracy", *counts, threshold, config)


def class_recalls(
    answers: Answers, threshold: float, config: GateConfig, merged: Collection[int] = ()
) -> list[Bound]:
    """Recall of each class, but for merged ones, against `gate.min_class_recall`."""
    bounds = []
    for index, class_name in enumerate(answers.class_names):
        if index in merged:
            continue
        correct = answers.where(answers.class_index == index).correct
        counts = int(correct.sum()), len(correct)
        name, subject = f"class_recall/{class_name}", f"Recall of {class_name}"
        bounds.append(proportion(name, subject, *counts, threshold, config))
    return bounds


def better_than_majority(answers: Answers, config: GateConfig) -> Bound:
    """The candidate against always guessing the test split's most frequent class."""
    name, total = "better_than_majority", len(answers)
    counts = np.bincount(answers.class_index)
    rate = int(counts.max()) / total
    interval = intervals.wilson(int(answers.correct.sum()), total, config.confidence)
    class_name = answers.class_names[int(counts.argmax())]
    if rate == 1.0:
        reason = f"All {total} test images are of the class {class_name}: they prove nothing."
        return _bound(name, interval, rate, INCONCLUSIVE, reason)
    guess = f"always guessing {class_name} ({rate:.3f})"
    if interval.value <= rate:
        reason = f"Accuracy {interval.value:.3f} is not better than {guess}."
        return _bound(name, interval, rate, FAIL, reason)
    if interval.low <= rate:
        advice = settled_by(
            lambda factor: (
                intervals.wilson(
                    factor * interval.value * total, factor * total, config.confidence
                ).low
                > rate
            ),
            total,
        )
        reason = f"Accuracy {_range(interval, total)}: that may be no better than {guess}. {advice}"
        return _bound(name, interval, rate, INCONCLUSIVE, reason)
    reason = f"Accuracy {_range(interval, total)}: better than {guess}."
    return with_support(_bound(name, interval, rate, PASS, reason), total, config)


def proportion(
    name: str, subject: str, successes: int, total: int, threshold: float, config: GateConfig
) -> Bound:
    """A Wilson interval against a threshold: above, below, or on both sides of it."""
    if total == 0:
        reason = f"{subject}: there is no such test image."
        return Bound(name, None, None, None, threshold, INCONCLUSIVE, reason)
    interval = intervals.wilson(successes, total, config.confidence)
    measured = f"{subject} {_range(interval, total)}"
    if interval.high < threshold:
        return _bound(name, interval, threshold, FAIL, f"{measured}: below {threshold:g}.")
    if interval.low >= threshold:
        bound = _bound(name, interval, threshold, PASS, f"{measured}: {threshold:g} is reached.")
        return with_support(bound, total, config)

    def is_settled(factor: float) -> bool:
        more = intervals.wilson(factor * successes, factor * total, config.confidence)
        return more.low >= threshold or more.high < threshold

    reason = (
        f"{measured}: that neither proves nor rules out {threshold:g}. "
        f"{settled_by(is_settled, total)}"
    )
    return _bound(name, interval, threshold, INCONCLUSIVE, reason)


def with_support(bound: Bound, total: int, config: GateConfig) -> Bound:
    """The bound itself, or inconclusive where a pass would rest on too few images."""
    if bound.verdict != PASS or total >= config.min_support:
        return bound
    reason = f"{total} test images are fewer than gate.min_support ({config.min_support})."
    return dataclasses.replace(bound, verdict=INCONCLUSIVE, reason=reason)


def settled_by(is_settled: Callable[[float], bool], total: int) -> str:
    """Says about how many test images would settle a bound (two figures are honest)."""
    needed = intervals.images_needed(is_settled, total)
    if needed is None:
        return "No test set of a practical size would settle it."
    digits = max(len(str(needed)) - 2, 0)
    rounded = math.ceil(needed / 10**digits) * 10**digits
    return f"About {rounded:,} such test images would settle it."


def _bound(name: str, interval: Interval, threshold: float, verdict: str, reason: str) -> Bound:
    return Bound(name, interval.value, interval.low, interval.high, threshold, verdict, reason)


def _range(interval: Interval, total: int) -> str:
    images = "image" if total == 1 else "images"
    return (
        f"{interval.value:.3f} on {total:,} {images} means {interval.low:.3f} to "
        f"{interval.high:.3f}"
    )


def _equal(found: Any, computed: float | None) -> bool:
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if computed is None or not is_number:
        return False
    return math.isclose(found, computed, abs_tol=1e-9)  # NaN is close to nothing


def _shown(value: Any) -> str:
    return "missing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def describe_names(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
