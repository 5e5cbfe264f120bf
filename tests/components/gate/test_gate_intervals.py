import numpy as np
import pytest
from scipy import optimize, stats

from slimworks.components.gate import intervals


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 1), (37, 80), (999, 1000)])
def test_wilson_equals_scipy(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.9, method="wilson")
    interval = intervals.wilson(successes, trials, 0.9)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_intervals_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one trial"):
        intervals.wilson(0, 0, 0.95)
    with pytest.raises(ValueError, match="at least one image"):
        intervals.paired_difference(0, 0, 0, 0.95)


def test_mcnemar_is_the_exact_binomial_test():
    assert intervals.mcnemar_p(0, 0) == 1.0
    assert intervals.mcnemar_p(3, 3) == 1.0
    assert intervals.mcnemar_p(0, 6) == pytest.approx(2 * 0.5**6)
    assert intervals.mcnemar_p(6, 0) == intervals.mcnemar_p(0, 6)


def likelihood_ratio_free_score(difference, fixed, broken, total):
    """Tango's score with the constrained estimate found numerically instead of in closed form."""

    def negative_log_likelihood(rate_broken):
        rates = np.array([rate_broken + difference, rate_broken, 1 - 2 * rate_broken - difference])
        counts = np.array([fixed, broken, total - fixed - broken])
        return -float((counts * np.log(np.maximum(rates, 1e-300))).sum())

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = optimize.minimize_scalar(
        negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    variance = total * (2 * found.x + difference - difference**2)
    return (fixed - broken - total * difference) / np.sqrt(variance)


@pytest.mark.parametrize(
    ("fixed", "broken", "total"), [(12, 5, 100), (2, 9, 60), (30, 30, 500), (1, 0, 40)]
)
def test_paired_interval_ends_where_the_score_test_rejects(fixed, broken, total):
    interval = intervals.paired_difference(fixed, broken, total, 0.95)
    assert interval.value == pytest.approx((fixed - broken) / total)
    score = likelihood_ratio_free_score(interval.low, fixed, broken, total)
    assert score == pytest.approx(1.95996, rel=1e-3)
    score = likelihood_ratio_free_score(interval.high, fixed, broken, total)
    assert score == pytest.approx(-1.95996, rel=1e-3)


def test_paired_interval_without_changes_has_its_closed_form():
    z_squared = stats.norm.ppf(0.975) ** 2
    interval = intervals.paired_difference(0, 0, 50, 0.95)
    assert interval.high == pytest.approx(z_squared / (50 + z_squared))
    assert interval.low == pytest.approx(-interval.high)


def test_paired_interval_stays_in_range_at_the_extremes():
    assert intervals.paired_difference(50, 0, 50, 0.95).high == pytest.approx(1.0)
    assert intervals.paired_difference(0, 50, 50, 0.95).low == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("total", "rate_fixed", "rate_broken"), [(100, 0.05, 0.05), (200, 0.02, 0.06)]
)
def test_paired_interval_covers_the_truth_about_as_often_as_it_says(total, rate_fixed, rate_broken):
    rng = np.random.default_rng(11)
    rates = [rate_fixed, rate_broken, 1 - rate_fixed - rate_broken]
    covered = 0
    for fixed, broken, _ in rng.multinomial(total, rates, size=500):
        interval = intervals.paired_difference(fixed, broken, total, 0.95)
        covered += interval.low <= rate_fixed - rate_broken <= interval.high
    assert 0.92 <= covered / 500 <= 0.98


def test_images_needed_is_the_smallest_sufficient_number():
    def is_settled(factor):
        return intervals.wilson(factor * 19, factor * 20, 0.95).low >= 0.9

    needed = intervals.images_needed(is_settled, 20)
    assert intervals.wilson(0.95 * needed, needed, 0.95).low >= 0.9
    assert intervals.wilson(0.95 * (needed - 2), needed - 2, 0.95).low < 0.9


def test_images_needed_gives_up():
    assert intervals.images_needed(lambda factor: False, 100) is None
