"""The verdict on a candidate. Every edge case has its line in docs/gate.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components import contracts, formats
from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS, LabelMap
from slimworks.components.gate import bounds, comparison, intervals, judgement, measures
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.bounds import Bound
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.judgement import Evidence

DECISION_FORMAT = formats.NEWEST[contracts.DECISION_FILE]
# They say whether the figures can be believed at all: `--force` does not override them.
EVIDENCE = {
    "finite_probabilities",
    "consistent_metrics",
    "class_names",
    "test_images",
    "as_trained",
    "unseen_images",
    "candidate_predictions",
}
# They say that the evidence is sound, not that the model is good: no reason to pass.
SOUNDNESS = EVIDENCE | {
    "label_map",
    "baseline_images",
    "baseline_predictions",
    "signatures",
    "every_class",
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
        forced: Who pushes past the verdict, and why: {"by", "reason"}; None where nobody has to.
    """

    verdict: str
    blessed: bool
    on_inconclusive: str
    reasons: list[str]
    bounds: list[Bound]
    candidate: dict[str, Any]
    baseline: dict[str, Any] | None
    forced: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Content of decision.json."""
        value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        value["bounds"] = [bound.as_json() for bound in self.bounds]
        value["bootstrap"] = {"samples": measures.NUM_SAMPLES, "seed": measures.SEED}
        return {"format": DECISION_FORMAT, **value}

    def forced_by(self, force: Mapping[str, str] | None) -> Decision:
        """The same with somebody's word for it, where that is needed and can be taken.

        Evidence that cannot be believed is overridden by nobody: what would be pushed is unknown.

        Args:
            force: {"by", "reason"}, or None.
        """
        if force is None or self.blessed:
            return self
        unsound = [b.name for b in self.bounds if b.name in EVIDENCE and b.verdict != PASS]
        if unsound:
            note = f"--force does not override {', '.join(unsound)}: the figures are not sound."
            return dataclasses.replace(self, reasons=[*self.reasons, note])
        return dataclasses.replace(self, blessed=True, forced=dict(force))


def decide(
    metrics: Mapping[str, Any],
    candidate: Answers,
    baseline: Answers | None,
    label_map: LabelMap,
    config: GateConfig,
    checks: Sequence[Bound] = (),
) -> Decision:
    """Judges a candidate on its answers to the test split.

    Args:
        metrics: Content of metrics.json; must agree with `candidate`.
        candidate: Answers of the candidate.
        baseline: Answers of the last blessed model to the same images; None on the first run.
        label_map: The label map of this run.
        config: Rules.
        checks: Bounds on what answers do not show: signatures, images seen in training.

    Returns:
        The decision: any failed bound fails; else any inconclusive one is inconclusive; else
        it passes.
    """
    measured = [
        bounds.finite_probabilities(candidate),
        bounds.consistent_metrics(metrics, candidate),
        *checks,
        _class_names_bound(candidate, label_map),
    ]
    facts = None
    if not len(candidate):
        measured.append(bounds.check("test_images", False, "There is no test image.", 0.0))
    elif measured[-1].verdict == PASS:
        found, facts = _measured(metrics, candidate, baseline, label_map, config)
        measured += found
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


def _measured(
    metrics: Mapping[str, Any],
    candidate: Answers,
    baseline: Answers | None,
    label_map: LabelMap,
    config: GateConfig,
) -> tuple[list[Bound], dict[str, Any] | None]:
    """All bounds on the model itself, with the facts of the comparison."""
    evidence = Evidence(
        candidate,
        merged=frozenset(label_map.merged_since(0)),
        declared=_declared_slices(metrics),
    )
    absolute = [rule for rule in config.rules if not rule.is_change]
    found = judgement.apply_rules(absolute, evidence, config)
    found += bounds.every_class(candidate, label_map, config)
    if baseline is None:
        return [*found, *_first_run(candidate, config)], None
    against, paired = comparison.compare_with_baseline(candidate, baseline, label_map, config)
    found += against
    if paired is None:
        return found, None
    evidence = dataclasses.replace(
        evidence,
        known=paired.candidate,
        baseline=paired.baseline,
        is_merged_since=bool(label_map.merged_since(baseline.label_map_version)),
    )
    changes = [rule for rule in config.rules if rule.is_change]
    return [*found, *judgement.apply_rules(changes, evidence, config)], paired.facts


def _declared_slices(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Dimensions that the evaluation sliced by, each combination once."""
    return [
        list(names)
        for names in dict.fromkeys(tuple(s["slice"]) for s in metrics.get("slices") or ())
    ]


def _first_run(candidate: Answers, config: GateConfig) -> list[Bound]:
    majority = bounds.better_than_majority(candidate, config)
    if not config.require_baseline:
        return [majority]
    reason = "There is no blessed model to compare with, and gate.require_baseline is true."
    return [majority, bounds.check("baseline", False, reason)]


def combine(measured: Sequence[Bound]) -> str:
    """Verdict of all bounds together: the worst one; no bound at all fails."""
    verdicts = {bound.verdict for bound in measured}
    for verdict in (FAIL, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return PASS if verdicts == {PASS} else FAIL


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
    # What holds for all images goes before what holds for one class or slice.
    decisive.sort(key=_is_part)
    if verdict == PASS:
        decisive = [bound for bound in decisive if not _is_part(bound)] or decisive
    return [bound.reason for bound in decisive]


def _is_part(bound: Bound) -> bool:
    return bound.class_name is not None or bound.slice is not None
