"""Bounds on one model's answers: each is measured, compared with its threshold and explained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS, LabelMap
from slimworks.components.gate import intervals
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Bound:
    """One rule with what was measured, and why it passes or not.

    Attributes:
        name: Unique but for rules that were given twice: "accuracy", "class_recall/rose",
            "accuracy_change[camera=old]".
        value: Of the candidate, or candidate minus baseline; None where nothing was measured.
        low: Lower limit of the interval.
        high: Upper limit.
        threshold: What value and interval are compared with.
        verdict: "pass", "fail" or "inconclusive".
        reason: One or two sentences.
        metric: What was measured; None of checks that are no matter of chance.
        slice: Values that the images share; None: all images.
        class_name: The class that it is about; None: all.
        support: Images behind it.
        baseline: The baseline's own value, of changes.
        sign: ">=" or ">" or "<=": how the value has to compare with the threshold.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    verdict: str
    reason: str
    metric: str | None = None
    slice: Mapping[str, str] | None = None
    class_name: str | None = None
    support: int | None = None
    baseline: float | None = None
    sign: str = ">="

    def as_json(self) -> dict[str, Any]:
        """The entry of decision.json."""
        value = dataclasses.asdict(self)
        value["class"] = value.pop("class_name")
        return value


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


# Rounding in other orders gives 1e-5; benchmarks/gate_faults.py says what faults give.
MAX_EXPORT_DIFFERENCE = 0.01


def as_trained(metrics: Mapping[str, Any]) -> list[Bound]:
    """Fails where the export answers otherwise than the network did when its training ended.

    No bound where the evaluation could not compare: the model is older, or not of our trainer.
    """
    found = metrics.get("as_trained")
    if found is None:
        return []
    largest, total = found["max_probability_difference"], found["num_images"]
    holds = largest is not None and largest <= MAX_EXPORT_DIFFERENCE
    if holds:
        reason = f"The export answers {total} images as the trained network did."
    else:
        by = "in what is no number" if largest is None else f"by up to {largest:.3g}"
        reason = (
            f"The export does not answer as the trained network did: on {total} images "
            f"probabilities differ {by}, and {found['num_other_answers']} answers. Its weights, "
            "image preparation or class order are others."
        )
    return [check("as_trained", holds, reason, largest)]


def every_class(answers: Answers, label_map: LabelMap, config: GateConfig) -> list[Bound]:
    """Inconclusive where a class that is in use has no test image: nothing is known of it."""
    counts = np.bincount(answers.class_index, minlength=label_map.num_classes)
    merged = label_map.merged_since(0)
    untested = [
        name
        for index, name in enumerate(label_map.class_names)
        if counts[index] == 0 and index not in merged
    ]
    if not config.require_every_class:
        return []
    if not untested:
        return [check("every_class", True, "Every class has test images.")]
    reason = (
        f"No test image is of {describe_names(untested)}: nothing is known of the model there. Add "
        "images, merge the class (data.merge_classes), or accept it: gate.require_every_class "
        "false."
    )
    return [dataclasses.replace(check("every_class", False, reason), verdict=INCONCLUSIVE)]


def better_than_majority(answers: Answers, config: GateConfig) -> Bound:
    """The candidate against always guessing the test split's most frequent class."""
    total = len(answers)
    counts = np.bincount(answers.class_index)
    rate = int(counts.max()) / total
    interval = intervals.wilson(int(answers.correct.sum()), total, config.confidence)
    class_name = answers.class_names[int(counts.argmax())]
    if rate == 1.0:
        reason = f"All {total} test images are of the class {class_name}: they prove nothing."
        return _majority_bound(interval, rate, total, INCONCLUSIVE, reason)
    guess = f"always guessing {class_name} ({rate:.3f})"
    if interval.value <= rate:
        reason = f"Accuracy {interval.value:.3f} is not better than {guess}."
        return _majority_bound(interval, rate, total, FAIL, reason)
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
        measured = measured_range(interval, total)
        reason = f"Accuracy {measured}: that may be no better than {guess}. {advice}"
        return _majority_bound(interval, rate, total, INCONCLUSIVE, reason)
    reason = f"Accuracy {measured_range(interval, total)}: better than {guess}."
    bound = _majority_bound(interval, rate, total, PASS, reason)
    return with_support(bound, total, config)


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


def _majority_bound(
    interval: Interval, rate: float, total: int, verdict: str, reason: str
) -> Bound:
    return Bound(
        "better_than_majority", interval.value, interval.low, interval.high, rate, verdict, reason,
        metric="accuracy", support=total, sign=">",
    )  # fmt: skip


def measured_range(interval: Interval, total: int) -> str:
    """Value, number of images and limits, for a reason."""
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
