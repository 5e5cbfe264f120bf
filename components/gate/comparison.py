"""The candidate against the baseline, on the same images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS, LabelMap
from slimworks.components.gate import bounds, intervals, measures
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.bounds import Bound
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.intervals import Interval

BETTER, NOT_WORSE, WORSE, UNCLEAR = "better", "not worse", "worse", "unclear"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Paired evidence on the images whose class both models know.

    Attributes:
        total: Images compared.
        fixed: Images that only the candidate answers right.
        broken: Images that only the baseline answers right.
        same_answers: Both models name the same class on every image.
        baseline_correct: Images that the baseline answers right.
        interval: Accuracy of the candidate minus that of the baseline.
        p_value: Exact McNemar test of fixed against broken.
    """

    total: int
    fixed: int
    broken: int
    same_answers: bool
    baseline_correct: int
    interval: Interval
    p_value: float

    def as_facts(self, relation: str, confidence: float) -> dict[str, Any]:
        """The baseline's entry in decision.json."""
        accuracy = intervals.wilson(self.baseline_correct, self.total, confidence)
        return {
            "num_images": self.total,
            "num_correct": self.baseline_correct,
            "accuracy": accuracy.value,
            "low": accuracy.low,
            "high": accuracy.high,
            "fixed": self.fixed,
            "broken": self.broken,
            "p_value": self.p_value,
            "relation": relation,
        }


@dataclasses.dataclass(frozen=True)
class Paired:
    """Answers of both models to the images whose class both know, row by row, and their facts.

    Attributes:
        candidate: Its answers.
        baseline: Its answers to the same images in the same order, merged classes counted as their
            targets.
        facts: The baseline's entry in decision.json.
    """

    candidate: Answers
    baseline: Answers
    facts: dict[str, Any]


def compare_with_baseline(
    candidate: Answers, baseline: Answers, label_map: LabelMap, config: GateConfig
) -> tuple[list[Bound], Paired | None]:
    """Bounds of the comparison, and what was compared (None when nothing could be)."""
    meaning = label_map_bound(baseline, label_map)
    coverage = coverage_bound(candidate, baseline)
    if FAIL in (meaning.verdict, coverage.verdict):
        return [meaning, coverage], None
    known = candidate.where(candidate.class_index < len(baseline.class_names))
    if not len(known):
        reason = "No test image is of a class that the baseline knows."
        change = Bound("accuracy_change", None, None, None, None, INCONCLUSIVE, reason)
        return [meaning, coverage, change], None
    answers = with_merges(aligned(baseline, known), label_map)
    comparison = compare(known, answers, config.confidence)
    relation, change = accuracy_change(comparison, config)
    if changes := declared_changes(baseline, label_map):
        change = dataclasses.replace(change, reason=f"{change.reason} {changes}")
    facts = comparison.as_facts(relation, config.confidence)
    is_merged = bool(label_map.merged_since(baseline.label_map_version))
    facts["changes"] = _changes(known, answers, config.confidence, with_scores=not is_merged)
    return [meaning, coverage, change], Paired(known, answers, facts)


def _changes(
    candidate: Answers, baseline: Answers, confidence: float, with_scores: bool
) -> dict[str, Any]:
    """Paired bootstrap of what is no proportion: candidate minus baseline, for people."""
    metrics = ["macro_f1"]
    if with_scores and candidate.scores and baseline.scores:
        metrics += ["log_loss", "ece"]
    found = {}
    for metric in metrics:
        estimate, _ = measures.measure_change(metric, candidate, baseline, None, confidence)
        interval = estimate.interval
        if math.isfinite(interval.value):
            found[metric] = dataclasses.asdict(interval)
    return found


def label_map_bound(baseline: Answers, label_map: LabelMap) -> Bound:
    """Passes when no class index changed its meaning: what changed must have been declared."""
    old, new = baseline.class_names, label_map.class_names
    silent = [i for i, name in enumerate(old) if not label_map.has_meant(i, name)]
    if not silent:
        reason = declared_changes(baseline, label_map) or "The classes are those of the baseline."
        return bounds.check("label_map", True, reason)
    if silent[0] == len(new):
        change = f"{bounds.describe_names(old[len(new) :])} removed"
    elif sorted(old) == sorted(new):
        change = "the same names in another order"
    else:
        change = "renamed or removed"
    index = silent[0]
    example = (
        f": index {index} meant {old[index]!r} and now means {new[index]!r}"
        if index < len(new)
        else ""
    )
    reason = f"Class indices changed their meaning ({change}){example}. Clients would misread them."
    return bounds.check("label_map", False, reason)


def declared_changes(baseline: Answers, label_map: LabelMap) -> str:
    """What changed in the label map since the baseline, in sentences; empty where nothing did."""
    old, new = baseline.class_names, label_map.class_names
    sentences = []
    if added := new[len(old) :]:
        names = bounds.describe_names(added)
        sentences.append(f"Classes were appended ({names}): compared on the {len(old)} known ones.")
    renamed = [f"{a} is {b} now" for a, b in zip(old, new, strict=False) if a != b]
    if renamed:
        names = bounds.describe_names(renamed)
        sentences.append(f"Classes were renamed ({names}): compared by class index.")
    merged = [
        f"{new[index]} as {new[into]}"
        for index, into in label_map.merged_since(baseline.label_map_version).items()
        if index < len(old)
    ]
    if merged:
        names = bounds.describe_names(merged)
        sentences.append(f"Classes were merged: the baseline's answers count ({names}).")
    return " ".join(sentences)


def with_merges(baseline: Answers, label_map: LabelMap) -> Answers:
    """Usable answers of a model from before a merge, a merged class counted as its target."""
    merged = label_map.merged_since(baseline.label_map_version)
    counted_as = np.arange(label_map.num_classes)
    counted_as[list(merged)] = list(merged.values())
    return dataclasses.replace(baseline, predicted_index=counted_as[baseline.predicted_index])


def coverage_bound(candidate: Answers, baseline: Answers) -> Bound:
    """Passes when the baseline has one usable answer, with equal truth, for each test image."""
    covered = np.isin(candidate.image_ids, baseline.image_ids)
    if not covered.all():
        reason = (
            f"The baseline was evaluated on {int(covered.sum())} of {len(candidate)} test images."
        )
    elif len(np.unique(baseline.image_ids)) != len(baseline):
        reason = "An image occurs twice in the predictions of the baseline."
    elif baseline.num_nan:
        reason = f"The baseline has NaN or infinite probabilities on {baseline.num_nan} images."
    elif (aligned(baseline, candidate).class_index != candidate.class_index).any():
        reason = "The true classes differ between the two predictions files."
    else:
        reason = f"Both models answered the same {len(candidate):,} images."
        return bounds.check("baseline_images", True, reason)
    return bounds.check("baseline_images", False, reason)


def aligned(answers: Answers, like: Answers) -> Answers:
    """Rows of `answers` in the order of the images of `like`, all of which it must hold."""
    order = np.argsort(answers.image_ids)
    return answers.where(order[np.searchsorted(answers.image_ids[order], like.image_ids)])


def compare(candidate: Answers, baseline: Answers, confidence: float) -> Comparison:
    """Paired evidence of two models over the same rows."""
    ours, theirs = candidate.correct, baseline.correct
    fixed, broken = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return Comparison(
        total=len(candidate),
        fixed=fixed,
        broken=broken,
        same_answers=bool((candidate.predicted_index == baseline.predicted_index).all()),
        baseline_correct=int(theirs.sum()),
        interval=intervals.paired_difference(fixed, broken, len(candidate), confidence),
        p_value=intervals.mcnemar_p(fixed, broken),
    )


def accuracy_change(comparison: Comparison, config: GateConfig) -> tuple[str, Bound]:
    """Relation of the candidate to the baseline, and the bound that follows from it.

    Worse (a significant McNemar test, or an interval below the margin) fails; better, or an
    interval that stays above the margin, passes; anything between is inconclusive. The same
    answers everywhere are never worse.
    """
    interval, margin = comparison.interval, -config.max_accuracy_drop
    is_significant = comparison.p_value < 1 - config.confidence
    if interval.high < margin or (is_significant and interval.value < 0):
        relation, verdict = WORSE, FAIL
    elif is_significant:
        relation, verdict = BETTER, PASS
    elif comparison.same_answers or interval.low >= margin:
        relation, verdict = NOT_WORSE, PASS
    else:
        relation, verdict = UNCLEAR, INCONCLUSIVE
    bound = Bound(
        name="accuracy_change",
        value=interval.value,
        low=interval.low,
        high=interval.high,
        threshold=margin,
        verdict=verdict,
        reason=_reason(relation, comparison, config),
        metric="accuracy",
        support=comparison.total,
        baseline=comparison.baseline_correct / comparison.total,
    )
    bound = bounds.with_support(bound, comparison.total, config)
    return (relation if bound.verdict == verdict else UNCLEAR), bound


def _reason(relation: str, comparison: Comparison, config: GateConfig) -> str:
    if comparison.same_answers:
        return f"The same answer as the baseline on all {comparison.total:,} images: not worse."
    interval = comparison.interval
    change = (
        f"{comparison.fixed} fixed and {comparison.broken} broken of {comparison.total:,} images "
        f"(exact McNemar p = {comparison.p_value:.2g}), accuracy {interval.value:+.3f} "
        f"({interval.low:+.3f} to {interval.high:+.3f})"
    )
    drop = f"{config.max_accuracy_drop:g}"
    if relation == WORSE:
        return f"Worse than the baseline: {change}."
    if relation == BETTER:
        return f"Better than the baseline: {change}."
    if relation == NOT_WORSE:
        return f"Not worse than the baseline: {change}; a drop beyond {drop} is ruled out."
    advice = bounds.settled_by(
        lambda factor: _is_settled(factor, comparison, config), comparison.total
    )
    return f"{change}: a drop of more than {drop} is neither shown nor ruled out. {advice}"


def _is_settled(factor: float, comparison: Comparison, config: GateConfig) -> bool:
    interval = intervals.paired_difference(
        factor * comparison.fixed,
        factor * comparison.broken,
        factor * comparison.total,
        config.confidence,
    )
    # A limit beyond zero stands for McNemar's test, which needs whole counts.
    return interval.low >= -config.max_accuracy_drop or interval.high < 0
