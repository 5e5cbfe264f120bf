"""A measured value with what chance allows: interval, p-values, and what more images would say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import special

from slimworks.components.gate import intervals
from slimworks.components.gate.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric, or the difference of a metric between two models.

    Attributes:
        interval: Value and limits.
        total: Images behind it.
        p_below: By a threshold, the one-sided p-value of the hypothesis that the truth reaches it:
            small where the truth is below. Agrees with the interval's upper limit.
        p_above: The same for the hypothesis that the truth does not exceed it.
        with_more: The interval if there were so many times more images of the same kind.
    """

    interval: Interval
    total: int
    p_below: Callable[[float], float]
    p_above: Callable[[float], float]
    with_more: Callable[[float], Interval]


def of_proportion(successes: int, total: int, confidence: float) -> Estimate:
    """Wilson's interval and the score test that it inverts."""

    def p_below(threshold: float) -> float:
        return float(special.ndtr(_score(successes, total, threshold)))

    return Estimate(
        interval=intervals.wilson(successes, total, confidence),
        total=total,
        p_below=p_below,
        p_above=lambda threshold: 1 - p_below(threshold),
        with_more=lambda factor: intervals.wilson(factor * successes, factor * total, confidence),
    )


def of_paired_proportions(fixed: int, broken: int, total: int, confidence: float) -> Estimate:
    """Tango's interval of a difference and the score test that it inverts."""

    def p_below(threshold: float) -> float:
        return float(special.ndtr(intervals.paired_score(threshold, fixed, broken, total)))

    return Estimate(
        interval=intervals.paired_difference(fixed, broken, total, confidence),
        total=total,
        p_below=p_below,
        p_above=lambda threshold: 1 - p_below(threshold),
        with_more=lambda factor: intervals.paired_difference(
            factor * fixed, factor * broken, factor * total, confidence
        ),
    )


def of_samples(value: float, samples: np.ndarray, total: int, confidence: float) -> Estimate:
    """Percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

    Args:
        value: Of all images.
        samples: [B] values of resamples of the images, finite; none where the value is not: then
            the interval is not either.
        total: Images.
        confidence: Coverage.
    """
    if not len(samples) or not math.isfinite(value):
        nothing = Interval(math.nan, math.nan, math.nan)
        return Estimate(nothing, total, lambda _: 1.0, lambda _: 1.0, lambda _: nothing)
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    # A resample of all images alike has no spread, and rounding none either.
    interval = Interval(value, min(float(low), value), max(float(high), value))

    def with_more(factor: float) -> Interval:
        scale = 1 / math.sqrt(factor)
        return Interval(
            value,
            value - scale * (value - interval.low),
            value + scale * (interval.high - value),
        )

    def p_of(reaching: np.ndarray) -> float:
        return (1 + int(np.count_nonzero(reaching))) / (1 + len(samples))

    return Estimate(
        interval=interval,
        total=total,
        p_below=lambda threshold: p_of(samples >= threshold),
        p_above=lambda threshold: p_of(samples <= threshold),
        with_more=with_more,
    )


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected so that any false rejection has a risk of alpha (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _score(successes: int, total: int, threshold: float) -> float:
    spread = math.sqrt(max(threshold * (1 - threshold), 0.0) / total)
    gap = successes / total - threshold
    return gap / spread if spread else math.copysign(math.inf, gap) if gap else 0.0
