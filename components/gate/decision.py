"""The verdict on a candidate. Every edge case has its line in docs/gate.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS, LabelMap
from slimworks.components.gate import bounds, comparison, intervals
from slimworks.components.gate.bounds import Answers, Bound
from slimworks.components.gate.config import GateConfig

DECISION_FORMAT = 1
# They say that the evidence is sound, not that the model is good: no reason to pass.
SOUNDNESS = {
    "finite_probabilities",
    "consistent_metrics",
    "class_names",
    "label_map",
    "baseline_images",
}


@dataclasses.dataclass(frozen=True)
class Decision:
    """Outcome of the gate.

    Attributes:
        verdict: "pass", "fail" or "inconclusive".
        blessed: Whether the candidate may be pushed.
        on_inconclusive: "refuse", "keep" or "push", as configured.
        reasons: One sentence per bound that made the verdict.
        bounds: All bounds in the order of evaluation.
        candidate: Accuracy of the candidate with its interval, and counts.
        baseline: The same of the baseline with the paired counts; None when not compared.
    """

    verdict: str
    blessed: bool
    on_inconclusive: str
    reasons: list[str]
    bounds: list[Bound]
    candidate: dict[str, Any]
    baseline: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Content of decision.json."""
        return {"format": DECISION_FORMAT, **dataclasses.asdict(self)}


def decide(
    metrics: Mapping[str, Any],
    candidate: Answers,
    baseline: Answers | None,
    label_map: LabelMap,
    config: GateConfig,
) -> Decision:
    """Judges a candidate on its answers to the test split.

    Args:
        metrics: Content of metrics.json; must agree with `candidate`.
        candidate: Answers of the candidate.
        baseline: Answers of the last blessed model to the same images; None on the first run.
        label_map: The label map of this run.
        config: Thresholds.

    Returns:
        The decision: any failed bound fails; else any inconclusive one is inconclusive; else
        it passes.
    """
    measured = [
        bounds.finite_probabilities(candidate),
        bounds.consistent_metrics(metrics, candidate),
        _class_names_bound(candidate, label_map),
    ]
    facts = None
    if not len(candidate):
        measured.append(bounds.check("test_images", False, "There is no test image.", 0.0))
    elif measured[-1].verdict == PASS:
        measured += _thresholds(candidate, label_map, config)
        against, facts = _against_baseline(candidate, baseline, label_map, config)
        measured += against
    verdict = combine(measured)
    return Decision(
        verdict=verdict,
        blessed=verdict == PASS or (verdict == INCONCLUSIVE and config.on_inconclusive == "push"),
        on_inconclusive=config.on_inconclusive,
        reasons=_reasons(measured, verdict),
        bounds=measured,
        candidate=_candidate_facts(candidate, config),
        baseline=facts,
    )


def combine(measured: Sequence[Bound]) -> str:
    """Verdict of all bounds together: the worst one; no bound at all fails."""
    verdicts = {bound.verdict for bound in measured}
    for verdict in (FAIL, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return PASS if verdicts == {PASS} else FAIL


def _thresholds(candidate: Answers, label_map: LabelMap, config: GateConfig) -> list[Bound]:
    measured = []
    if config.min_accuracy is not None:
        measured.append(bounds.accuracy(candidate, config.min_accuracy, config))
    if config.min_class_recall is not None:
        measured += bounds.class_recalls(
            candidate, config.min_class_recall, config, label_map.merged_since(0)
        )
    return measured


def _against_baseline(
    candidate: Answers, baseline: Answers | None, label_map: LabelMap, config: GateConfig
) -> tuple[list[Bound], dict[str, Any] | None]:
    if baseline is not None:
        return comparison.compare_with_baseline(candidate, baseline, label_map, config)
    majority = bounds.better_than_majority(candidate, config)
    if not config.require_baseline:
        return [majority], None
    reason = "There is no blessed model to compare with, and gate.require_baseline is true."
    return [majority, bounds.check("baseline", False, reason)], None


def _class_names_bound(candidate: Answers, label_map: LabelMap) -> Bound:
    if candidate.class_names != label_map.class_names:
        reason = (
            f"The model was trained for {bounds.describe_names(candidate.class_names)}; the label "
            f"map names {bounds.describe_names(label_map.class_names)}."
        )
        return bounds.check("class_names", False, reason)
    if candidate.label_map_version not in (0, label_map.version):
        reason = (
            f"The model was trained with version {candidate.label_map_version} of the label map, "
            f"the test images have their classes by version {label_map.version}."
        )
        return bounds.check("class_names", False, reason)
    return bounds.check("class_names", True, "The model's classes are those of the label map.")


def _candidate_facts(candidate: Answers, config: GateConfig) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "num_images": len(candidate),
        "num_correct": int(candidate.correct.sum()),
        "num_nan": candidate.num_nan,
        "num_classes": len(candidate.class_names),
        "accuracy": None,
        "low": None,
        "high": None,
    }
    if len(candidate):
        interval = intervals.wilson(facts["num_correct"], len(candidate), config.confidence)
        facts.update(accuracy=interval.value, low=interval.low, high=interval.high)
    return facts


def _reasons(measured: Sequence[Bound], verdict: str) -> list[str]:
    decisive = [
        bound
        for bound in measured
        if bound.verdict == verdict and not (verdict == PASS and bound.name in SOUNDNESS)
    ]
    # What holds for all images goes before what holds for one class.
    decisive.sort(key=lambda bound: bound.name.startswith("class_recall/"))
    return [bound.reason for bound in decisive]
