"""Metrics of answers, and their change between two models, with what chance allows.

Proportions of a fixed number of images have exact intervals: Wilson's, and Tango's for a change.
All else is resampled: images with replacement, for both models the same ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from slimworks.components.calibration.reliability import NUM_BINS, bin_numbers
from slimworks.components.gate import estimates
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.estimates import Estimate

NUM_SAMPLES = 2_000  # the 2.5 % quantile then rests on fifty samples
SEED = 20_240_117
_CHUNK = 50  # resamples at a time: 4 MB for 10,000 images

MEANS = ("log_loss", "brier")
Metric = Callable[[Answers, np.ndarray], float]


def measure(metric: str, answers: Answers, class_index: int | None, confidence: float) -> Estimate:
    """Estimates one metric over rows.

    Args:
        metric: A name of `rules.BoundRule.metric`.
        answers: Rows of a model, at least one that the metric counts (see `num_counted`).
        class_index: Of the metrics of one class.
        confidence: Coverage.
    """
    outcome = _proportion(metric, answers, class_index)
    if outcome is not None:
        return estimates.of_proportion(int(outcome.sum()), len(outcome), confidence)
    (samples,) = _resampled(metric, [answers], class_index)
    drawn = samples[1:][np.isfinite(samples[1:])]  # a resample may lack the class
    if metric == "ece":
        # Every resample adds spread that the gaps of the bins count as error: the resamples lie
        # above the value as far as the value lies above the truth (basic bootstrap).
        drawn = np.clip(2 * samples[0] - drawn, 0.0, 1.0)
    return estimates.of_samples(float(samples[0]), drawn, len(answers), confidence)


def measure_change(
    metric: str,
    candidate: Answers,
    baseline: Answers,
    class_index: int | None,
    confidence: float,
) -> tuple[Estimate, float]:
    """Estimates candidate minus baseline over the same rows; the second is the baseline's value.

    Args:
        metric: A name of `rules.BoundRule.metric`.
        candidate: Rows, as for `measure`.
        baseline: The same images in the same order.
        class_index: Of the metrics of one class.
        confidence: Coverage.
    """
    ours = _proportion(metric, candidate, class_index)
    theirs = _proportion(metric, baseline, class_index)
    if metric != "precision" and ours is not None and theirs is not None:
        fixed, broken = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        change = estimates.of_paired_proportions(fixed, broken, len(ours), confidence)
        return change, float(theirs.mean())
    first, second = _resampled(metric, [candidate, baseline], class_index)
    both = np.isfinite(first) & np.isfinite(second)
    change = estimates.of_samples(
        float(first[0] - second[0]),
        (first - second)[1:][both[1:]],
        len(candidate),
        confidence,
    )
    return change, float(second[0])


def num_counted(metric: str, answers: Answers, class_index: int | None) -> int:
    """Images that a metric rests on: of a class those of it; of precision those called it."""
    if metric == "precision":
        return int((answers.predicted_index == class_index).sum())
    if class_index is not None:
        return int((answers.class_index == class_index).sum())
    return len(answers)


def _proportion(metric: str, answers: Answers, class_index: int | None) -> np.ndarray | None:
    """[M] bool: of which images the metric is the share; None where it is no such share."""
    if metric == "accuracy":
        return answers.correct
    if metric == "top5_accuracy":
        return answers.scores["top5"] > 0
    if metric == "recall":
        return answers.correct[answers.class_index == class_index]
    if metric == "precision":
        return answers.correct[answers.predicted_index == class_index]
    return None


def _resampled(metric: str, models: list[Answers], class_index: int | None) -> list[np.ndarray]:
    """Of each model the metric, [1 + B]: of all rows, then of each resample."""
    if metric in MEANS:
        return _resampled_means([model.scores[metric] for model in models])
    if metric == "ece":
        return [_resampled_calibration_error(model) for model in models]
    return _resampled_counts(metric, models, class_index)


def _choices(total: int) -> list[np.ndarray]:
    """Row numbers of the resamples, [chunk, N] each: all rows themselves, then random ones."""
    rng = np.random.default_rng(SEED)
    chunks = [np.arange(total)[None, :]]
    for start in range(0, NUM_SAMPLES, _CHUNK):
        size = min(_CHUNK, NUM_SAMPLES - start)
        chunks.append(rng.integers(0, total, (size, total), dtype=np.int32))
    return chunks


def _resampled_means(columns: list[np.ndarray]) -> list[np.ndarray]:
    chunks = [
        [column[rows].mean(axis=1) for column in columns] for rows in _choices(len(columns[0]))
    ]
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def _resampled_calibration_error(answers: Answers) -> np.ndarray:
    """Expected calibration error (calibration/reliability.py) of all rows and of resamples."""
    confidence = answers.scores["confidence"]
    bins = bin_numbers(confidence)
    gaps = answers.correct - confidence
    parts = []
    for rows in _choices(len(answers)):
        places = bins[rows] + NUM_BINS * np.arange(len(rows))[:, None]
        sums = np.bincount(places.ravel(), gaps[rows].ravel(), NUM_BINS * len(rows))
        parts.append(np.abs(sums.reshape(len(rows), NUM_BINS)).sum(axis=1) / len(answers))
    return np.concatenate(parts)


def _resampled_counts(
    metric: str, models: list[Answers], class_index: int | None
) -> list[np.ndarray]:
    """Metrics of the confusion matrix.

    Images with the same class and the same answers are one cell: how often a resample takes a cell
    is multinomial, which is the same as drawing images and much less work.
    """
    true = models[0].class_index
    kinds = np.stack([true, *(model.predicted_index for model in models)], axis=1)
    cells, counts = np.unique(kinds, axis=0, return_counts=True)
    total = int(counts.sum())
    draws = np.random.default_rng(SEED).multinomial(total, counts / total, size=NUM_SAMPLES)
    weights = np.concatenate([counts[None, :], draws]).astype(np.float64)
    num_classes = int(cells.max()) + 1
    found = []
    for place in range(1, cells.shape[1]):
        is_right = cells[:, 0] == cells[:, place]
        right = _by_class(weights, cells[:, 0], is_right, num_classes)
        support = _by_class(weights, cells[:, 0], np.ones(len(cells), bool), num_classes)
        answered = _by_class(weights, cells[:, place], cells[:, place] >= 0, num_classes)
        found.append(_of_counts(metric, right, support, answered, class_index))
    return found


def _by_class(
    weights: np.ndarray, classes: np.ndarray, counted: np.ndarray, num_classes: int
) -> np.ndarray:
    """Sums weights [B, M] of the counted cells by class: [B, K]."""
    cells = np.flatnonzero(counted)
    shape = (len(classes), num_classes)
    chosen = sparse.csr_matrix((np.ones(len(cells)), (cells, classes[cells])), shape=shape)
    return np.asarray((chosen.T @ weights.T).T)


def _of_counts(
    metric: str,
    right: np.ndarray,
    support: np.ndarray,
    answered: np.ndarray,
    class_index: int | None,
) -> np.ndarray:
    """The metric [B] of counts [B, K]; NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "precision":
            return right[:, class_index] / answered[:, class_index]
        f1 = np.where(support + answered > 0, 2 * right / (support + answered), np.nan)
        if metric == "f1":
            return np.asarray(f1[:, class_index])
        value = right / support if metric == "macro_recall" else f1
    weight = support if metric == "weighted_f1" else (support > 0).astype(np.float64)
    return np.asarray((np.where(support > 0, value, 0.0) * weight).sum(axis=1) / weight.sum(axis=1))
