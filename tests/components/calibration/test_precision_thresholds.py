"""Thresholds that keep a precision."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from slimworks.components.calibration.thresholds import (
    num_needed,
    precision_thresholds,
    wilson_lower_bound,
)


def answered(best: np.ndarray, is_right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: every answer is class 0 with these probabilities."""
    return np.stack([best, 1 - best], axis=1), np.where(is_right, 0, 1)


def test_threshold_lies_where_the_bound_is_reached_last() -> None:
    best = np.linspace(0.999, 0.51, 200)
    is_right = np.arange(200) < 100  # the surer half is right
    (threshold, other) = precision_thresholds(*answered(best, is_right), 0.9)
    assert other is None, "class 1 is never answered"
    assert threshold is not None
    kept = int((best >= threshold).sum())
    interval = stats.binomtest(min(kept, 100), kept).proportion_ci(0.9, "wilson")
    assert interval.low >= 0.9
    one_more = stats.binomtest(100, kept + 1).proportion_ci(0.9, "wilson")
    assert one_more.low < 0.9
    assert best[kept] < threshold < best[kept - 1]


def test_class_that_is_always_right_needs_no_threshold() -> None:
    best = np.linspace(0.51, 0.99, 60)
    assert precision_thresholds(*answered(best, np.ones(60, bool)), 0.9) == [0.0, None]


def test_too_few_answers_are_no_evidence() -> None:
    needed = num_needed(0.9)
    assert needed == 25
    enough, too_few = (
        precision_thresholds(*answered(np.linspace(0.6, 0.9, n), np.ones(n, bool)), 0.9)[0]
        for n in (needed, needed - 1)
    )
    assert enough == 0.0
    assert too_few is None


def test_sure_answers_that_are_wrong_leave_no_threshold() -> None:
    best = np.linspace(0.99, 0.51, 100)
    assert precision_thresholds(*answered(best, np.arange(100) >= 50), 0.9)[0] is None


def test_equal_probabilities_are_taken_together() -> None:
    best = np.repeat([0.9, 0.6], [60, 60])
    is_right = np.arange(120) < 90  # half of the less sure ones
    (threshold, _) = precision_thresholds(*answered(best, is_right), 0.9)
    assert threshold == pytest.approx(0.75)


def test_no_answer_at_all() -> None:
    assert precision_thresholds(np.zeros((0, 3)), np.zeros(0, np.int64), 0.9) == [None] * 3


def test_wilson_bound_is_scipys() -> None:
    right, images = np.array([0, 3, 10, 97]), np.array([5, 10, 10, 100])
    expected = [
        stats.binomtest(int(k), int(n)).proportion_ci(0.9, "wilson").low
        for k, n in zip(right, images, strict=True)
    ]
    np.testing.assert_allclose(wilson_lower_bound(right, images), expected, atol=1e-12)


def test_new_images_keep_the_precision() -> None:
    """Answers are right as often as they are sure; fresh ones are measured, over 200 seeds."""
    num_kept = num_above = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        best = generator.uniform(0.5, 1.0, 300)
        is_right = generator.random(300) < best
        threshold = precision_thresholds(*answered(best, is_right), 0.8)[0]
        if threshold is not None:
            num_kept += 1
            num_above += (max(threshold, 0.5) + 1) / 2 >= 0.8  # their true precision
    assert num_kept > 150
    assert num_above / num_kept > 0.9
