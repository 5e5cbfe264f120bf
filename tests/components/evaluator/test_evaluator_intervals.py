"""Intervals: against other formulas, against every resample, and how often they hold the truth."""

import numpy as np
import pytest
from evaluator_samples import generated
from scipy import stats

from slimworks.components.evaluator import average_precision, confusion, metrics, scores
from slimworks.components.evaluator.intervals import Resampling, wilson

RESAMPLING = Resampling(samples=1_000)
BOOTSTRAPPED = ("macro_f1", "weighted_f1", "macro_recall", "log_loss", "brier", "ece")


def summarized(class_index, probabilities, resampling=RESAMPLING):
    names = [str(index) for index in range(probabilities.shape[1])]
    return metrics.summarize(scores.score(class_index, probabilities), names, None, resampling)


def test_wilson_equals_scipy_and_stays_in_range():
    for successes in range(21):
        expected = stats.binomtest(successes, 20).proportion_ci(0.9, method="wilson")
        low, high = wilson(successes, 20, 0.9)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0.0 <= low <= successes / 20 <= high <= 1.0
    assert wilson(0, 0, 0.9) is None


def test_every_interval_holds_its_value():
    for seed in range(5):
        result = summarized(*generated(40, 3, seed))
        for name in ("accuracy", *BOOTSTRAPPED):
            low, high = result[f"{name}_interval"]
            assert low <= result[name] <= high
            assert low < high


def test_same_seed_gives_the_same_intervals_and_another_one_others():
    class_index, probabilities = generated(200, 3)
    first = summarized(class_index, probabilities)
    assert summarized(class_index, probabilities) == first
    other = summarized(class_index, probabilities, Resampling(samples=1_000, seed=1))
    for name in BOOTSTRAPPED:
        assert other[name] == first[name]
        assert other[f"{name}_interval"] != first[f"{name}_interval"]


def test_intervals_of_means_are_those_of_the_normal_approximation_with_many_images():
    class_index, probabilities = generated(4_000, 3)
    scored = scores.score(class_index, probabilities)
    result = summarized(class_index, probabilities)
    for name, values in (("log_loss", scored.log_loss), ("brier", scored.brier)):
        error = values.std() / np.sqrt(len(values))
        expected = [values.mean() - 1.96 * error, values.mean() + 1.96 * error]
        assert result[f"{name}_interval"] == pytest.approx(expected, abs=0.25 * error)


def test_means_of_classes_are_resampled_as_image_by_image():
    class_index, probabilities = generated(300, 4)
    probabilities[::30] = np.nan
    scored = scores.score(class_index, probabilities)
    counts = confusion.count(scored, 4)
    drawn = confusion.resampled(counts, RESAMPLING)
    rng = np.random.default_rng(1)
    by_image = [
        confusion.class_rates(confusion.count(scored.where(rng.integers(0, 300, 300)), 4))
        for _ in range(1_000)
    ]
    for mean in confusion.MEANS.values():
        expected = np.concatenate([mean(rates) for rates in by_image])
        found = mean(drawn)
        assert found.mean() == pytest.approx(expected.mean(), abs=0.005)
        assert found.std() == pytest.approx(expected.std(), rel=0.15)


@pytest.mark.parametrize("num_images", [60, 1_500])
def test_average_precision_is_resampled_as_image_by_image(num_images):
    class_index, probabilities = generated(num_images, 3, margin=1.0)
    values, is_positive = probabilities[:, 0].astype(np.float64), class_index == 0
    low, high = average_precision.interval(
        average_precision.rank(values, is_positive), Resampling(samples=4_000)
    )
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(1_000):
        rows = rng.integers(0, num_images, num_images)
        ranking = average_precision.rank(values[rows], is_positive[rows])
        drawn.append(average_precision.average_precision(ranking))
    expected = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.1 * (expected[1] - expected[0]))


def test_class_without_images_in_some_resamples_still_has_an_interval():
    class_index = np.array([0, 0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    ranking = average_precision.rank(probabilities[:, 1], class_index == 1)
    low, high = average_precision.interval(ranking, RESAMPLING)
    assert low <= 1.0 == high
    assert summarized(class_index, probabilities)["classes"][1]["f1_interval"] == [0.0, 0.0]


def test_intervals_hold_the_truth_about_as_often_as_they_claim():
    truth = summarized(*generated(100_000, 3, seed=99), Resampling(samples=100))
    held = dict.fromkeys(("accuracy", "macro_f1", "log_loss", "brier"), 0)
    for seed in range(200):
        result = summarized(*generated(150, 3, seed), Resampling(samples=200))
        for name in held:
            low, high = result[f"{name}_interval"]
            held[name] += low <= truth[name] <= high
    # 190 are expected of each; 179 and fewer happen once in a thousand.
    assert all(180 <= count <= 199 for count in held.values()), held


def test_calibration_error_of_calibrated_answers_may_be_zero():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(50):
        probabilities = rng.dirichlet([1.0, 1.0, 1.0], 300)
        drawn = (rng.random((300, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        result = summarized(np.minimum(drawn, 2), probabilities, Resampling(samples=200))
        low, high = result["ece_interval"]
        held += low <= 0.02
        assert result["ece"] > 0.02, "noise alone raises it"
        assert high < 0.2
    assert held >= 40
