"""Metrics of a classifier, computed from counts that are summed over batches of predictions.

`metrics.json`, written by `summarize` and the evaluation around it:

    {
      "format": 1,
      "split": "test",
      "confidence": 0.95,              coverage of every interval below
      "num_images": 400,
      "num_nan": 0,                    rows with a probability that is NaN or infinite; they
                                       count as wrong and are in no column of the matrix
      "num_classes": 5,
      "accuracy": 0.91 | null,         null without an image
      "accuracy_interval": [0.88, 0.94] | null,              Wilson interval, as all below
      "top5_accuracy": 0.99 | null,    null with five classes or fewer
      "top5_accuracy_interval": [0.97, 1.0] | null,
      "majority_class_rate": 0.24,     accuracy of always guessing the most frequent class
      "macro_f1": 0.90 | null,         mean F1 of the classes that have images
      "log_loss": 0.31 | null,         nats; null as soon as one row is NaN
      "classes": [
        {"class_index": 0, "class_name": "daisy", "support": 80, "num_predicted": 78,
         "precision": 0.95 | null, "precision_interval": [...],     null when never predicted
         "recall": 0.93 | null,    "recall_interval": [...],        null without images
         "f1": 0.94 | null}
      ],
      "confusion_matrix": [[76, 4, ...], ...],   rows: true class, columns: predicted class
      "baseline": null | {"class_names": [...], "num_unknown_class": 0,
                          ... the keys from "num_images" to "confusion_matrix"}
    }

The baseline is measured on the images of the classes that it knows; "num_unknown_class"
counts the others. Where classes were merged since it was trained, its answers count as the class
that took the images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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


def counted_as(num_classes: int, merged: Mapping[int, int]) -> np.ndarray:
    """[C] int64: the class that each class counts as, itself unless it was merged since.

    A class merged into one that the model does not know stays: it is no right answer any more.
    """
    return np.array(
        [into if (into := merged.get(i, i)) < num_classes else i for i in range(num_classes)],
        np.int64,
    )


def count(
    class_index: np.ndarray, probabilities: np.ndarray, targets: np.ndarray | None = None
) -> Counts:
    """Counts of one batch.

    Args:
        class_index: [N] int64 in [0, C), the true classes.
        probabilities: [N, C] float.
        targets: [C] int64, the class that an answer counts as; None: itself. The answer is the
            most probable class before merging, as the model's clients read it.
    """
    num_classes = probabilities.shape[1]
    finite = finite_rows(probabilities)
    true, rows = class_index[finite], probabilities[finite].astype(np.float64)
    answers = rows.argmax(axis=1) if len(rows) else true
    if targets is not None:
        answers, rows = targets[answers], _summed(rows, targets)
    cells = true * num_classes + answers
    confusion = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    likelihood = np.clip(rows[np.arange(len(true)), true], LOG_LOSS_CLIP, 1.0)
    return Counts(
        confusion=confusion.astype(np.int64),
        nan_by_class=np.bincount(class_index[~finite], minlength=num_classes).astype(np.int64),
        top_k_correct=int((ranks_of_true_class(true, rows) < TOP_K).sum()),
        log_loss_sum=float(-np.log(likelihood).sum()),
    )


def _summed(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] with those of merged classes added to their targets'."""
    summed = np.zeros_like(probabilities)
    np.add.at(summed.T, targets, probabilities.T)
    return summed


def proportion(name: str, successes: int, trials: int, confidence: float) -> dict[str, Any]:
    """Entries `name` and `name_interval` with the Wilson score interval; null without a trial."""
    if trials == 0:
        return {name: None, f"{name}_interval": None}
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return {
        name: successes / trials,
        f"{name}_interval": [float(interval.low), float(interval.high)],
    }


def summarize(counts: Counts, class_names: Sequence[str], confidence: float) -> dict[str, Any]:
    """Metrics of one model, in the layout of `metrics.json` (see the module's docstring)."""
    support = counts.confusion.sum(axis=1) + counts.nan_by_class
    num_images, num_nan = int(support.sum()), int(counts.nan_by_class.sum())
    classes = [
        _class_metrics(counts, index, name, confidence) for index, name in enumerate(class_names)
    ]
    f1_scores = [entry["f1"] for entry in classes if entry["support"]]
    return {
        "num_images": num_images,
        "num_nan": num_nan,
        "num_classes": len(class_names),
        **proportion("accuracy", int(np.trace(counts.confusion)), num_images, confidence),
        # With five classes or fewer it is always one: no trial, no figure.
        **proportion(
            "top5_accuracy",
            counts.top_k_correct,
            num_images if len(class_names) > TOP_K else 0,
            confidence,
        ),
        "majority_class_rate": int(support.max()) / num_images if num_images else None,
        "macro_f1": float(np.mean(f1_scores)) if f1_scores else None,
        "log_loss": counts.log_loss_sum / num_images if num_images and not num_nan else None,
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
        **proportion("precision", correct, num_predicted, confidence),
        **proportion("recall", correct, support, confidence),
        # 2TP / (2TP + FP + FN): defined as soon as the class occurs or is predicted.
        "f1": 2 * correct / (support + num_predicted) if support + num_predicted else None,
    }
