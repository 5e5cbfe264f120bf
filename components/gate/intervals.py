"""Intervals and tests on counts of right and wrong answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from scipy import special, stats

from slimworks.components.evaluator import intervals as evaluator_intervals

# Where the search for a sufficient number of images gives up: "no test set would settle it".
MAX_IMAGES = 10_000_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """Estimate with its lower and upper confidence limit."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, confidence: float) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927).

    Counts may be fractional, which answers "what if there were more images like these".

    Raises:
        ValueError: There is no trial.
    """
    if trials <= 0:
        raise ValueError("an interval needs at least one trial")
    found = evaluator_intervals.wilson(successes, trials, confidence)
    assert found is not None  # there is a trial
    return Interval(successes / trials, *found)


def mcnemar_p(fixed: int, broken: int) -> float:
    """Two-sided exact p-value that as many answers were fixed as broken (McNemar 1947)."""
    if fixed + broken == 0:
        return 1.0
    return float(stats.binomtest(min(fixed, broken), fixed + broken).pvalue)


def paired_difference(fixed: float, broken: float, total: float, confidence: float) -> Interval:
    """Tango's score interval of the difference of two paired proportions.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17. Unlike Wald's and Newcombe's it keeps
    its coverage when few or no answers changed.

    Args:
        fixed: Images that only the candidate answers right; may be fractional.
        broken: Images that only the baseline answers right.
        total: All images, > 0.
        confidence: Coverage.

    Returns:
        Accuracy of the candidate minus accuracy of the baseline, in [-1, 1].

    Raises:
        ValueError: There is no image.
    """
    if total <= 0:
        raise ValueError("an interval needs at least one image")
    z = _z(confidence)
    value = (fixed - broken) / total

    def score(difference: float) -> float:
        return paired_score(difference, fixed, broken, total)

    return Interval(
        value,
        low=_boundary(lambda difference: score(difference) > z, -1.0, value),
        high=_boundary(lambda difference: score(difference) > -z, value, 1.0),
    )


def images_needed(is_settled: Callable[[float], bool], total: int) -> int | None:
    """Smallest number of images, of the kind seen, with which a bound would be settled.

    Args:
        is_settled: Says for a factor whether the same rates over `factor * total` images settle
            the bound; once true, it stays true.
        total: Images now.

    Returns:
        The number, or None when MAX_IMAGES would not be enough.
    """
    most = MAX_IMAGES / total
    enough = 1.0
    while not is_settled(enough):
        if enough >= most:
            return None
        enough = min(2 * enough, most)
    too_few = enough / 2
    while (enough - too_few) * total > 1:
        middle = (too_few + enough) / 2
        if is_settled(middle):
            enough = middle
        else:
            too_few = middle
    return math.ceil(enough * total)


def _z(confidence: float) -> float:
    return float(special.ndtri(0.5 + confidence / 2))


def paired_score(difference: float, fixed: float, broken: float, total: float) -> float:
    """Score statistic of the hypothesis that the true difference is `difference`.

    It falls from +infinity to -infinity as the difference grows.
    """
    numerator = fixed - broken - total * difference
    # Under the hypothesis the most likely rate of broken answers is the larger root of
    # 2 total q^2 + linear q + constant = 0 (the likelihood's derivative, set to zero).
    linear = (2 * total - fixed + broken) * difference - fixed - broken
    constant = -broken * difference * (1 - difference)
    root = math.sqrt(max(linear * linear - 8 * total * constant, 0.0))
    rate_broken = (root - linear) / (4 * total)
    variance = total * (2 * rate_broken + difference * (1 - difference))
    if numerator == 0:
        return 0.0
    if variance <= 0:
        return math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def _boundary(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Point in [low, high] where a claim that holds at the left stops holding, by bisection."""
    for _ in range(60):  # more than the 53 bits of a float
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2
