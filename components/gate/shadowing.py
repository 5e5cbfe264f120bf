"""Bounds on what the candidate answers to requests that clients sent: no test image is so real."""

from __future__ import annotations

import os
from pathlib import Path

from slimworks.components import contracts
from slimworks.components.contracts import FAIL, INCONCLUSIVE, PASS
from slimworks.components.errors import SlimWorksError
from slimworks.components.gate import intervals
from slimworks.components.gate.bounds import Bound, check
from slimworks.components.gate.config import GateConfig, ShadowRule
from slimworks.components.shadow import shadow
from slimworks.components.shadow.shadow import Place
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, ShadowResult

# Below it a ratio is the machine's noise, or nobody's concern; the replay has the same.
LATENCY_FLOOR_MS = 250.0


def shadow_bounds(
    model_dir: str | os.PathLike[str],
    baseline_dir: str | os.PathLike[str] | None,
    output_dir: str | os.PathLike[str],
    config: GateConfig,
) -> list[Bound]:
    """Sends logged requests to the candidate, and to the baseline beside it.

    Both are served from their artifacts, so that the figures are of no other model.

    Args:
        model_dir: Model artifact of the candidate.
        baseline_dir: That of the baseline; None: the answers in the log stand for it.
        output_dir: Receives shadow.json and shadow.html.
        config: With `require_shadow`; without it there is no bound.
    """
    rule = config.require_shadow
    if rule is None:
        return []
    places = [
        None if folder is None else Place(str(Path(folder) / contracts.SAVED_MODEL_FOLDER))
        for folder in (model_dir, baseline_dir)
    ]
    assert places[0] is not None
    try:
        report = shadow.shadow_of_log(
            rule.log, places[0], places[1], output_dir, max_requests=rule.max_requests
        )
    except SlimWorksError as error:  # what was asked for and is missing is no pass
        return [check("shadow", False, f"The shadow could not run: {error.cause}")]
    return judged(report.result, rule, config.confidence, has_baseline=baseline_dir is not None)


def judged(
    result: ShadowResult, rule: ShadowRule, confidence: float, *, has_baseline: bool
) -> list[Bound]:
    """Number of requests, agreement and latency, as bounds of the gate."""
    found = [_requests(result, rule)]
    if result.num_images:
        found.append(_agreement(result, rule, confidence, has_baseline))
    if has_baseline and rule.max_latency_ratio is not None:
        found.append(_latency(result, rule.max_latency_ratio))
    return found


def _requests(result: ShadowResult, rule: ShadowRule) -> Bound:
    wanted = rule.min_requests
    reason = (
        f"The candidate answered {result.num_requests:,} logged requests; "
        f"gate.require_shadow.min_requests is {wanted:,}."
    )
    holds = result.num_requests >= wanted
    return check("shadow_requests", holds, reason, float(result.num_requests))


def _agreement(
    result: ShadowResult, rule: ShadowRule, confidence: float, has_baseline: bool
) -> Bound:
    total, wanted = result.num_images, rule.min_agreement
    interval = intervals.wilson(result.num_agreeing, total, confidence)
    verdict = PASS if interval.low >= wanted else FAIL if interval.high < wanted else INCONCLUSIVE
    whose = "the baseline" if has_baseline else "the logged answers"
    failed = sum(result.errors[CANDIDATE].values())
    errors = f" The candidate failed on {failed:,} requests." if failed else ""
    reason = (
        f"On {total:,} logged images the candidate agrees with {whose} in {interval.value:.3f} "
        f"({interval.low:.3f} to {interval.high:.3f}); gate.require_shadow.min_agreement is "
        f"{wanted:g}.{errors}"
    )
    return Bound(
        "shadow_agreement", interval.value, interval.low, interval.high, wanted, verdict, reason,
        metric="agreement", support=total,
    )  # fmt: skip


def _latency(result: ShadowResult, limit: float) -> Bound:
    figures = [result.latency_ms[side].get("p99") for side in (CANDIDATE, PRIMARY)]
    if result.latency_ratio is None:
        return check("shadow_latency_ratio", False, "The latency of the two was not measured.")
    own, other = (f"{value:.1f} ms" for value in figures)
    is_quick = figures[0] is not None and figures[0] <= LATENCY_FLOOR_MS
    reason = (
        f"Logged requests take {own} (p99), the baseline's {other}; at most {limit:g} times that, "
        f"or {LATENCY_FLOOR_MS:g} ms, is allowed (gate.require_shadow.max_latency_ratio)."
    )
    holds = result.latency_ratio <= limit or is_quick
    return check("shadow_latency_ratio", holds, reason, result.latency_ratio)
