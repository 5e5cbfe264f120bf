"""Metrics of a classifier, computed from counts that are summed over batches of predictions.

`metrics.json`, written by `summarize` and the evaluation around it:

    {
      "format": 1,
      "split": "test",
      "confidence": 0.95,              coverage of every interval below
      "num_examples": 400,
      "num_nan": 0,                    rows with a probability that is NaN or infinite; they
                                       count as wrong and are in no column of the matrix
      "num_classes": 5,
      "accuracy":      {"value": 0.91, "low": 0.88, "high": 0.94},    Wilson interval
      "top5_accuracy": {"value", "low", "high"} | null,     null with five classes or fewer
      "majority_class_rate": 0.24,     accuracy of always guessing the most frequent class
      "macro_f1": 0.90 | null,         mean F1 of the classes that have examples
      "log_loss": 0.31 | null,         nats; null as soon as one row is NaN
      "classes": [
        {"class_index": 0, "class_name": "daisy", "support": 80, "num_predicted": 78,
         "precision": {"value", "low", "high"} | null,      null when never predicted
         "recall":    {"value", "low", "high"} | null,      null without examples
         "f1": 0.91 | null}
      ],
      "confusion_matrix": [[76, 4, ...], ...],   rows: true class, columns: predicted class
      "baseline": null | {"num_unknown_class": 0, ... the keys from "num_examples" on,
                          "class_names": [...]}
    }

The baseline is measured on the examples of the classes that it knows; "num_unknown_class"
counts the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

METRICS_FORMAT = 1
TOP_K = 5
# Keras and TFMA clip at the same value: one confident mistake costs 16 nats, not infinity.
LOG_LOSS_CLIP = 1e-7


@dataclasses.dataclass(frozen=True)
class Counts:
    """What all metrics are computed from; the sum over batches is the count of the whole.

    Attributes:
        confusion: [C, C] int64, rows true class, columns predicted class, rows of NaN left out.
        nan_by_class: [C] int64, examples of each true class whose probabilities are not finite.
        top_k_correct: Examples whose true class is among the TOP_K most probable.
        log_loss_sum: Sum of -log p(true class) over the finite rows, nats.
    """

    confusion: np.ndarray
    nan_by_class: np.ndarray
    top_k_correct: int
    log_loss_sum: float

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.confusion + other.confusion,
            self.nan_by_class + other.nan_by_class,
            self.top_k_correct + other.top_k_correct,
            self.log_loss_sum + other.log_loss_sum,
        )


def empty_counts(num_classes: int) -> Counts:
    """Counts of no example."""
    return Counts(
        np.zeros((num_classes, num_classes), np.int64), np.zeros(num_classes, np.int64), 0, 0.0
    )


def finite_rows(probabilities: np.ndarray) -> np.ndarray:
    """True for each row without NaN or infinity. probabilities: [N, C] float -> [N] bool."""
    return np.isfinite(probabilities).all(axis=1)


def predicted_indices(probabilities: np.ndarray) -> np.ndarray:
    """Most probable class of each row, -1 where a probability is not finite.

    [N, C] float -> [N] int64. Of equal probabilities the smallest class index wins.
    """
    finite = finite_rows(probabilities)
    safe = np.where(finite[:, None], probabilities, 0.0)
    return np.where(finite, safe.argmax(axis=1), -1).astype(np.int64)


def ranks_of_true_class(class_index: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Number of classes placed before the true one; ties by class index, as argmax does.

    class_index: [N] int64, probabilities: [N, C] finite -> [N] int64, 0 = most probable.
    """
    true = probabilities[np.arange(len(class_index)), class_index][:, None]
    before = np.arange(probabilities.shape[1])[None, :] < class_index[:, None]
    return ((probabilities > true) | ((probabilities == true) & before)).sum(axis=1)


def count(class_index: np.ndarray, probabilities: np.ndarray) -> Counts:
    """Counts of one batch. class_index: [N] int64 in [0, C), probabilities: [N, C] float."""
    num_classes = probabilities.shape[1]
    finite = finite_rows(probabilities)
    true, rows = class_index[finite], probabilities[finite].astype(np.float64)
    cells = true * num_classes + rows.argmax(axis=1) if len(rows) else true
    confusion = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    likelihood = np.clip(rows[np.arange(len(true)), true], LOG_LOSS_CLIP, 1.0)
    return Counts(
        confusion=confusion.astype(np.int64),
        nan_by_class=np.bincount(class_index[~finite], minlength=num_classes).astype(np.int64),
        top_k_correct=int((ranks_of_true_class(true, rows) < TOP_K).sum()),
        log_loss_sum=float(-np.log(likelihood).sum()),
    )


def wilson(successes: int, trials: int, confidence: float) -> dict[str, float] | None:
    """Proportion with its Wilson score interval (Wilson 1927); None without a trial."""
    if trials == 0:
        return None
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return {
        "value": successes / trials,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def summarize(counts: Counts, class_names: Sequence[str], confidence: float) -> dict[str, Any]:
    """Metrics of one model, in the layout of `metrics.json` (see the module's docstring)."""
    support = counts.confusion.sum(axis=1) + counts.nan_by_class
    num_examples, num_nan = int(support.sum()), int(counts.nan_by_class.sum())
    classes = [
        _class_metrics(counts, index, name, confidence) for index, name in enumerate(class_names)
    ]
    f1_scores = [entry["f1"] for entry in classes if entry["support"]]
    return {
        "num_examples": num_examples,
        "num_nan": num_nan,
        "num_classes": len(class_names),
        "accuracy": wilson(int(np.trace(counts.confusion)), num_examples, confidence),
        "top5_accuracy": wilson(counts.top_k_correct, num_examples, confidence)
        if len(class_names) > TOP_K
        else None,
        "majority_class_rate": int(support.max()) / num_examples if num_examples else None,
        "macro_f1": float(np.mean(f1_scores)) if f1_scores else None,
        "log_loss": counts.log_loss_sum / num_examples if num_examples and not num_nan else None,
        "classes": classes,
        "confusion_matrix": counts.confusion.tolist(),
    }


def _class_metrics(
    counts: Counts, index: int, class_name: str, confidence: float
) -> dict[str, Any]:
    correct = int(counts.confusion[index, index])
    support = int(counts.confusion[index].sum() + counts.nan_by_class[index])
    num_predicted = int(counts.confusion[:, index].sum())
    return {
        "class_index": index,
        "class_name": class_name,
        "support": support,
        "num_predicted": num_predicted,
        "precision": wilson(correct, num_predicted, confidence),
        "recall": wilson(correct, support, confidence),
        # 2TP / (2TP + FP + FN): defined as soon as the class occurs or is predicted.
        "f1": 2 * correct / (support + num_predicted) if support + num_predicted else None,
    }
