"""Applies rules to answers: each rule becomes one bound, or one for each slice or class."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS
from slimworks.components.errors import ConfigError, nearest
from slimworks.components.evaluator import slices
from slimworks.components.gate import bounds, estimates, measures
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.bounds import Bound
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.estimates import Estimate
from slimworks.components.gate.rules import EACH, BoundRule

_NAMES = {
    "accuracy": "Accuracy",
    "top5_accuracy": "Top-5 accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "macro_recall": "Mean recall",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1",
}
_OF_SCORES = ("top5_accuracy", "log_loss", "brier", "ece")
HOLDS, BROKEN, OPEN = "holds", "broken", "open"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What rules are applied to.

    Attributes:
        candidate: All its answers.
        known: Those to images whose class the baseline knows; None without a baseline.
        baseline: The baseline's answers to the same images in the same order.
        merged: Class indices that were merged away: they have no images any more.
        is_merged_since: Classes were merged since the baseline was trained.
        declared: Dimensions of the slices of this evaluation.
    """

    candidate: Answers
    known: Answers | None = None
    baseline: Answers | None = None
    merged: frozenset[int] = frozenset()
    is_merged_since: bool = False
    declared: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True)
class _Target:
    """What one bound is about."""

    rule: BoundRule
    slice: Mapping[str, str] | None
    rows: np.ndarray
    class_index: int | None
    class_name: str | None

    @property
    def name(self) -> str:
        """Of the bound."""
        kind = self.rule.metric if self.class_name is None else f"class_{self.rule.metric}"
        name = kind + ("_change" if self.rule.is_change else "")
        if self.class_name is not None:
            name += f"/{self.class_name}"
        return name if self.slice is None else f"{name}[{shown_slice(self.slice)}]"

    @property
    def subject(self) -> str:
        """Of the reason's sentence."""
        text = _NAMES[self.rule.metric]
        if self.class_name is not None:
            text += f" of {self.class_name}"
        return text if self.slice is None else f"{text} where {shown_slice(self.slice)}"

    def bound(self, verdict: str, reason: str, support: int | None = None) -> Bound:
        """A bound without a measurement."""
        return Bound(
            self.name, None, None, None, self.rule.threshold, verdict, reason,
            metric=self.rule.metric, slice=self.slice, class_name=self.class_name,
            support=support, sign="<=" if self.rule.is_upper else ">=",
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A target with its estimate."""

    target: _Target
    estimate: Estimate
    baseline: float | None
    same_answers: bool

    @property
    def state(self) -> str:
        """What the interval alone says."""
        interval, rule = self.estimate.interval, self.target.rule
        if rule.is_upper:
            is_broken, holds = interval.low > rule.threshold, interval.high <= rule.threshold
        else:
            is_broken, holds = interval.high < rule.threshold, interval.low >= rule.threshold
        if holds or self.same_answers:
            return HOLDS
        return BROKEN if is_broken else OPEN

    @property
    def p_value(self) -> float:
        """One-sided, of the hypothesis that the rule holds."""
        rule, estimate = self.target.rule, self.estimate
        p_of = estimate.p_above if rule.is_upper else estimate.p_below
        return p_of(rule.threshold)


def shown_slice(values: Mapping[str, str]) -> str:
    """A slice for people: `camera=old, size=small`."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def apply_rules(rules: Iterable[BoundRule], evidence: Evidence, config: GateConfig) -> list[Bound]:
    """Bounds of all rules, in their order; changes are left out where there is no baseline."""
    found: list[Bound] = []
    for rule in rules:
        if rule.is_change and evidence.baseline is None:
            continue
        found += _apply(rule, evidence, config)
    return found


def _apply(rule: BoundRule, evidence: Evidence, config: GateConfig) -> list[Bound]:
    ours = evidence.known if rule.is_change and evidence.known is not None else evidence.candidate
    targets = _targets(rule, ours, evidence)
    if isinstance(targets, Bound):
        return [targets]
    measured = [_measure(target, ours, evidence, config) for target in targets]
    figures = [item for item in measured if isinstance(item, _Measured)]
    refuted = [True] * len(figures)
    if rule.is_each:
        alpha = (1 - config.confidence) / 2  # the intervals have two sides, the claim has one
        refuted = estimates.holm([item.p_value for item in figures], alpha)
    said = dict(zip(map(id, figures), refuted, strict=True))
    return [
        item if isinstance(item, Bound) else _judged(item, said[id(item)], len(figures), config)
        for item in measured
    ]


def _targets(rule: BoundRule, ours: Answers, evidence: Evidence) -> list[_Target] | Bound:
    everything = np.ones(len(ours), bool)
    whole = _Target(rule, None, everything, None, None)
    cuts: list[tuple[Mapping[str, str] | None, np.ndarray]] = [(None, everything)]
    if isinstance(rule.slice, str):  # each
        found = slices.find(_columns(ours), ours.class_names, evidence.declared)
        cuts = [(cut.values, cut.rows) for cut in found]
    elif rule.slice is not None:
        target = dataclasses.replace(whole, slice=rule.slice, class_name=rule.class_name)
        try:
            rows = slices.rows_of(_columns(ours), ours.class_names, rule.slice)
        except ConfigError as error:  # the gate fails closed, and says which bound
            return target.bound(FAIL, error.cause)
        if not rows.any():
            reason = f"{target.subject}: there is no such test image."
            return target.bound(INCONCLUSIVE, reason, support=0)
        cuts = [(rule.slice, rows)]
    names = list(ours.class_names)
    if rule.class_name is None:
        return [_Target(rule, values, rows, None, None) for values, rows in cuts]
    if rule.class_name == EACH:
        indices = [
            index
            for index in range(len(names))
            if index not in evidence.merged and _is_known(index, rule, evidence)
        ]
    elif rule.class_name in names:
        indices = [names.index(rule.class_name)]
    else:
        target = dataclasses.replace(whole, class_name=rule.class_name)
        reason = f"The model has no class {rule.class_name!r}.{nearest(rule.class_name, names)}"
        return target.bound(FAIL, reason)
    return [
        _Target(rule, values, rows, index, names[index])
        for values, rows in cuts
        for index in indices
    ]


def _is_known(class_index: int, rule: BoundRule, evidence: Evidence) -> bool:
    """Whether the baseline can be compared with on a class."""
    baseline = evidence.baseline
    return not rule.is_change or baseline is None or class_index < len(baseline.class_names)


def _columns(answers: Answers) -> dict[str, np.ndarray]:
    return {**answers.columns, "class_index": answers.class_index}


def _measure(
    target: _Target, ours: Answers, evidence: Evidence, config: GateConfig
) -> _Measured | Bound:
    rule = target.rule
    if rule.metric in _OF_SCORES and not ours.scores:
        reason = f"{target.subject}: the predictions hold no probabilities."
        return target.bound(FAIL, reason)
    if rule.is_change and rule.metric in _OF_SCORES and evidence.is_merged_since:
        reason = (
            f"{target.subject}: classes were merged since the baseline was trained, so its "
            "probabilities are of other classes."
        )
        return target.bound(INCONCLUSIVE, reason)
    rows = ours.where(target.rows)
    total = measures.num_counted(rule.metric, rows, target.class_index)
    if total == 0:
        what = (
            "the model never gives it"
            if rule.metric == "precision"
            else "there is no such test image"
        )
        verdict = PASS if rule.when_open == "pass" else INCONCLUSIVE
        return target.bound(verdict, f"{target.subject}: {what}.", support=0)
    if not rule.is_change or evidence.baseline is None:
        estimate = measures.measure(rule.metric, rows, target.class_index, config.confidence)
        return _defined(target, _Measured(target, estimate, None, same_answers=False))
    theirs = evidence.baseline.where(target.rows)
    estimate, value = measures.measure_change(
        rule.metric, rows, theirs, target.class_index, config.confidence
    )
    same = bool((rows.predicted_index == theirs.predicted_index).all())
    same = same and rule.metric not in _OF_SCORES
    return _defined(target, _Measured(target, estimate, value, same))


def _defined(target: _Target, measured: _Measured) -> _Measured | Bound:
    if math.isfinite(measured.estimate.interval.value):
        return measured
    reason = f"{target.subject} is not defined for both models."
    return target.bound(INCONCLUSIVE, reason, support=measured.estimate.total)


def _judged(measured: _Measured, refuted: bool, num_tests: int, config: GateConfig) -> Bound:
    target, estimate = measured.target, measured.estimate
    rule, interval = target.rule, estimate.interval
    state = measured.state
    note = ""
    if state == BROKEN and not refuted:
        state, note = OPEN, f" Among {num_tests} bounds, that may be chance (Holm)."
    verdict = {HOLDS: PASS, BROKEN: FAIL, OPEN: INCONCLUSIVE}[state]
    # Three equal answers rule out nothing: say what was seen.
    claim = "the same answers." if measured.same_answers else _claim(rule, state)
    reason = f"{_figures(measured)}: {claim}"
    if state == OPEN and rule.when_open == "pass":
        verdict = PASS
    elif state == OPEN:
        reason += f" {bounds.settled_by(lambda factor: _settles(measured, factor), estimate.total)}"
    wanted = rule.min_support or config.min_support
    if state == HOLDS and estimate.total < wanted and rule.when_open != "pass":
        verdict = INCONCLUSIVE
        reason = _too_few(target, estimate.total, wanted)
    return dataclasses.replace(
        target.bound(verdict, reason + note, support=estimate.total),
        value=interval.value,
        low=interval.low,
        high=interval.high,
        baseline=measured.baseline,
    )


def _too_few(target: _Target, total: int, wanted: int) -> str:
    images = "test image is" if total == 1 else "test images are"
    key = "gate.min_support" if target.rule.min_support is None else "min_support"
    subject = "" if target.class_name is None and target.slice is None else f"{target.subject}: "
    return f"{subject}{total} {images} fewer than {key} ({wanted})."


def _figures(measured: _Measured) -> str:
    target, estimate = measured.target, measured.estimate
    if not target.rule.is_change:
        return f"{target.subject} {bounds.measured_range(estimate.interval, estimate.total)}"
    interval = estimate.interval
    images = "image" if estimate.total == 1 else "images"
    return (
        f"{target.subject} {interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f}) "
        f"against the baseline on {estimate.total:,} {images}"
    )


def _claim(rule: BoundRule, state: str) -> str:
    limit = f"{abs(rule.threshold):g}"
    if rule.is_change:
        change = "rise" if rule.is_upper else "drop"
        if state == HOLDS:
            return f"a {change} beyond {limit} is ruled out."
        if state == BROKEN:
            return f"a {change} of more than {limit}."
        shown = "not shown" if rule.when_open == "pass" else "neither shown nor ruled out"
        return f"a {change} of more than {limit} is {shown}."
    if state == HOLDS:
        return f"{limit} is not exceeded." if rule.is_upper else f"{limit} is reached."
    if state == BROKEN:
        return f"above {limit}." if rule.is_upper else f"below {limit}."
    return f"that neither proves nor rules out {limit}."


def _settles(measured: _Measured, factor: float) -> bool:
    interval, rule = measured.estimate.with_more(factor), measured.target.rule
    if rule.is_upper:
        return interval.high <= rule.threshold or interval.low > rule.threshold
    return interval.low >= rule.threshold or interval.high < rule.threshold
