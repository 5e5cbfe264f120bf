"""What the reader wants first: what came of the run, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS
from slimworks.components.report import wording
from slimworks.components.report.slices import slice_name

GOOD, BAD, OPEN, NEUTRAL = "good", "bad", "open", "neutral"

TONES = {PASS: GOOD, FAIL: BAD, INCONCLUSIVE: OPEN}
_BOUND_TITLES = {
    "finite_probabilities": "Finite probabilities",
    "consistent_metrics": "Consistent evaluation",
    "class_names": "Classes of the model",
    "test_images": "Test images",
    "accuracy": "Accuracy",
    "better_than_majority": "Better than guessing",
    "baseline": "Baseline",
    "label_map": "Meaning of the classes",
    "baseline_images": "Same test images",
    "accuracy_change": "Against the baseline",
}


# Metrics that are no proportion of images.
_PLAIN_METRICS = {"macro_f1", "weighted_f1", "f1", "ap", "log_loss", "brier", "ece"}
_SIGNS = {">=": "≥", "<=": "≤", ">": ">", "<": "<"}
# Failures come first; a rule for each class and slice can make thousands.
MAX_BOUNDS = 80
# The gate's section has them all.
MAX_SENTENCES = 4


@dataclasses.dataclass(frozen=True)
class Headline:
    """The first thing on the page; `tone` is its colour."""

    tone: str
    label: str
    title: str
    sentences: Sequence[str]
    fix: str = ""

    @property
    def shown(self) -> Sequence[str]:
        """The sentences that fit above the fold."""
        return self.sentences[:MAX_SENTENCES]

    @property
    def num_more(self) -> int:
        """How many are left out."""
        return len(self.sentences) - len(self.shown)


@dataclasses.dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    detail: str


@dataclasses.dataclass(frozen=True)
class BoundRow:
    """One bound of the gate."""

    title: str
    tone: str
    verdict: str
    measured: str
    interval: str
    wanted: str
    reason: str


def headline(
    decision: Mapping[str, Any] | None,
    pushed: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    drift: Mapping[str, Any] | None = None,
) -> Headline:
    """The outcome in one line, then its reasons."""
    reasons = decision["reasons"] if decision else []
    if error is not None:
        cause, fix = str(error["cause"]), str(error.get("fix", ""))
        return Headline(BAD, "stopped", "The run stopped with an error", [cause], fix)
    if decision is None and drift is not None and not drift["retrain"]:
        return Headline(NEUTRAL, "nothing to do", "Nothing was trained", drift["reasons"])
    if decision is None:
        sentences = ["The run did not get as far as the gate."]
        return Headline(NEUTRAL, "no verdict", "Nothing was decided", sentences)
    if pushed is not None:
        title = f"Pushed as version {pushed['version']}"
        if forced := decision.get("forced"):
            first = f"{forced['by']} pushed past the gate: {forced['reason']}"
            return Headline(OPEN, "forced", f"{title} by force", [first, *reasons])
        return Headline(TONES[decision["verdict"]], decision["verdict"], title, reasons)
    label, tone = decision["verdict"], TONES[decision["verdict"]]
    if decision["blessed"]:
        return Headline(tone, label, "The model may be pushed", reasons)
    if decision["verdict"] == FAIL:
        return Headline(tone, label, "The gate refused the model", reasons)
    if decision["on_inconclusive"] == "keep":
        return Headline(tone, label, "The live model stays", reasons)
    return Headline(tone, label, "The evidence does not suffice", reasons)


def tiles(metrics: Mapping[str, Any] | None, decision: Mapping[str, Any] | None) -> list[Tile]:
    """Key figures: accuracy, the weakest class, the change against the baseline."""
    if metrics is None:
        return []
    interval = wording.interval(metrics["accuracy_interval"])
    shown = [
        Tile("Accuracy", wording.percent(metrics["accuracy"]), interval),
        Tile(
            f"{metrics['split'].capitalize()} images",
            wording.count(metrics["num_images"]),
            f"{wording.count(metrics['num_classes'])} classes",
        ),
    ]
    recalls = [entry for entry in metrics["classes"] if entry["recall"] is not None]
    if recalls:
        worst = min(recalls, key=lambda entry: entry["recall"])
        value = wording.percent(worst["recall"])
        shown.append(Tile("Lowest recall", value, worst["class_name"]))
    shown.append(_change_tile(metrics, decision))
    return shown


def _change_tile(metrics: Mapping[str, Any], decision: Mapping[str, Any] | None) -> Tile:
    baseline = decision["baseline"] if decision else None
    if baseline is None:
        guessing = wording.percent(metrics["majority_class_rate"])
        return Tile("Always guessing one class", guessing, "no baseline to compare with")
    change = (baseline["fixed"] - baseline["broken"]) / baseline["num_images"]
    detail = f"points; {baseline['fixed']} fixed, {baseline['broken']} broken"
    return Tile("Against the baseline", wording.points(change), detail)


def bound_rows(decision: Mapping[str, Any] | None) -> list[BoundRow] | None:
    """Bounds of the gate: those that did not pass first, the passed checks as one row."""
    if decision is None:
        return None
    order = {FAIL: 0, INCONCLUSIVE: 1, PASS: 2}
    ranked = sorted(decision["bounds"], key=lambda bound: order.get(bound["verdict"], 0))
    checks = [bound for bound in ranked if bound["verdict"] == PASS and bound["low"] is None]
    judged = [bound for bound in ranked if bound not in checks]
    rows = [_bound_row(bound) for bound in judged[:MAX_BOUNDS]]
    if len(judged) > MAX_BOUNDS:
        more = f"{len(judged) - MAX_BOUNDS} more bounds are in decision.json."
        rows.append(BoundRow("More", NEUTRAL, "", "", "", "", more))
    if checks:
        reasons = " ".join(bound["reason"] for bound in checks)
        rows.append(BoundRow("Sound evidence", GOOD, PASS, "", "", "", reasons))
    return rows


def _bound_row(bound: Mapping[str, Any]) -> BoundRow:
    name, verdict, threshold = bound["name"], bound["verdict"], bound["threshold"]
    is_change = "_change" in name
    number = _number_of(bound, is_change)
    has_interval = bound["low"] is not None
    limits = f"{number(bound['low'])} to {number(bound['high'])}" if has_interval else ""
    unit = " points" if number is wording.points else ""
    # The figures beside it say the same.
    is_plain = verdict == PASS and name.partition("/")[0] in ("accuracy", "class_recall")
    return BoundRow(
        title=_bound_title(bound),
        tone=TONES.get(verdict, NEUTRAL),
        verdict=verdict,
        measured=f"{number(bound['value'])}{unit}" if has_interval else "",
        interval=limits,
        wanted="" if threshold is None else f"{_sign(bound)} {number(threshold)}",
        reason="" if is_plain else bound["reason"],
    )


def _number_of(bound: Mapping[str, Any], is_change: bool) -> Callable[[float | None], str]:
    """How figures of a bound are written: of proportions in percent, of changes with a sign."""
    if bound.get("metric") in _PLAIN_METRICS:
        return wording.change if is_change else wording.decimal
    return wording.points if is_change else wording.percent


def _sign(bound: Mapping[str, Any]) -> str:
    is_beaten = bound["name"] == "better_than_majority"  # of format 1, which has no sign
    return _SIGNS.get(bound.get("sign") or (">" if is_beaten else ">="), "≥")


def _bound_title(bound: Mapping[str, Any]) -> str:
    name = bound["name"]
    kind, _, rest = name.partition("/")
    if name in _BOUND_TITLES:
        return _BOUND_TITLES[name]
    if bound.get("metric") is None:
        return f"Recall of {rest}" if kind == "class_recall" else wording.words(name)
    title = wording.words(bound["metric"])
    if of_class := bound.get("class_name") or bound.get("class"):
        title += f" of {of_class}"
    if bound.get("slice"):
        title += f" where {slice_name(bound['slice'])}"
    return title + (" against the baseline" if "_change" in name else "")
