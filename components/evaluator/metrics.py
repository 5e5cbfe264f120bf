"""Metrics of a classifier with intervals, computed from one set of scores.

`metrics.json`, written by `summarize` and the evaluation around it (docs/evaluation.md has the
formulas and the edge cases):

    {
      "format": 2,
      "split": "test",
      "confidence": 0.95,              coverage of every interval below
      "bootstrap": {"samples": 2000, "seed": 0},
      "as_trained": null | {"num_images", "num_other_answers", "max_probability_difference"},
                                       the export against the training's own answers
      "num_images": 400,
      "num_nan": 0,                    images with a probability that is NaN or infinite; they
                                       count as wrong and are in no column of the matrix
      "num_classes": 5,
      "accuracy": 0.91 | null,         null without an image; "accuracy_interval": [0.88, 0.94],
                                       and so for every metric: X and X_interval, null together
      "top5_accuracy": 0.99 | null,    null with five classes or fewer
      "majority_class_rate": 0.24,     accuracy of always guessing the most frequent class
      "macro_f1", "weighted_f1", "macro_recall",
      "log_loss": 0.31 | null,         nats; this, "brier" and "ece" are null as soon as one
      "brier", "ece",                  row is NaN
      "worst_class": null | {"class_index", "class_name", "support", "recall",
                             "recall_interval"},
      "classes": [
        {"class_index": 0, "class_name": "daisy", "support": 80, "num_predicted": 78,
         "precision": 0.95 | null,     null when never predicted
         "recall": 0.93 | null,        null without images
         "f1": 0.94 | null, "ap": 0.97 | null}
      ],
      "confusion_matrix": [[76, 4, ...], ...],   rows: true class, columns: predicted class
      "reliability": {"ece", "bins": [{"low", "high", "count", "confidence", "accuracy"}]},
      "reliability_before": null | {"ece", "log_loss", "bins"},   of softmax(logits), where the
                                       served probabilities are something else
      "slices": [{"slice": {"camera": "old"}, "num_images", "num_nan", "num_classes",
                  ... the keys from "accuracy" to "worst_class",
                  "classes" (up to 50 classes)}],
      "unsliced_columns": ["serial"],  metadata columns of too many values to slice by
      "baseline": null | {"class_names": [...], "num_unknown_class": 0,
                          ... the keys from "num_images" to "unsliced_columns"}
    }

The baseline is measured on the images of the classes that it knows; "num_unknown_class"
counts the others. Where classes were merged since it was trained, its answers count as the class
that took the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slimworks.components import contracts, formats
from slimworks.components.calibration import reliability
from slimworks.components.evaluator import average_precision, confusion
from slimworks.components.evaluator.average_precision import Ranking
from slimworks.components.evaluator.confusion import MEANS, ClassRates, Confusion
from slimworks.components.evaluator.intervals import Interval, Resampling, wilson
from slimworks.components.evaluator.scores import TOP_K, Scores

METRICS_FORMAT = formats.NEWEST[contracts.EVALUATION_METRICS_FILE]


def summarize(
    scores: Scores,
    class_names: Sequence[str],
    rankings: Sequence[Ranking] | None,
    resampling: Resampling,
) -> dict[str, Any]:
    """Metrics of one set of images: "num_images" to "classes" of the module's docstring.

    Args:
        scores: Of the images.
        class_names: By class index.
        rankings: Of the same images, by class index; None: no average precision.
        resampling: How intervals are made.
    """
    counts = confusion.count(scores, len(class_names))
    num_images, support = len(scores), counts.support
    rates = confusion.class_rates(counts)
    samples = confusion.resampled(counts, resampling) if num_images else None
    classes = [
        _class_metrics(counts, rates, samples, index, name, resampling)
        for index, name in enumerate(class_names)
    ]
    for entry, ranking in zip(classes, rankings or (), strict=rankings is not None):
        value = average_precision.average_precision(ranking)
        entry |= _entry("ap", value, average_precision.interval(ranking, resampling))
    return {
        "num_images": num_images,
        "num_nan": int((~scores.is_finite).sum()),
        "num_classes": len(class_names),
        **proportion("accuracy", int(counts.correct.sum()), num_images, resampling.confidence),
        # With five classes or fewer it is always one: no trial, no figure.
        **proportion(
            "top5_accuracy",
            int(scores.is_top_k.sum()),
            num_images if len(class_names) > TOP_K else 0,
            resampling.confidence,
        ),
        "majority_class_rate": int(support.max()) / num_images if num_images else None,
        **_means_of_classes(rates, samples, resampling),
        **_means_of_images(scores, resampling),
        "worst_class": _worst_class(classes),
        "classes": classes,
    }


def proportion(name: str, successes: int, trials: int, confidence: float) -> dict[str, Any]:
    """Entries `name` and `name_interval` with the Wilson score interval; null without a trial."""
    value = successes / trials if trials else None
    return _entry(name, value, wilson(successes, trials, confidence))


def _entry(name: str, value: float | None, interval: Interval | None) -> dict[str, Any]:
    return {name: value, f"{name}_interval": None if value is None else interval}


def _class_metrics(
    counts: Confusion,
    rates: ClassRates,
    samples: ClassRates | None,
    index: int,
    class_name: str,
    resampling: Resampling,
) -> dict[str, Any]:
    correct, support = int(counts.correct[index]), int(counts.support[index])
    num_predicted, confidence = int(counts.num_predicted[index]), resampling.confidence
    return {
        "class_index": index,
        "class_name": class_name,
        "support": support,
        "num_predicted": num_predicted,
        **proportion("precision", correct, num_predicted, confidence),
        **proportion("recall", correct, support, confidence),
        **_f1(float(rates.f1[0, index]), samples, index, resampling),
    }


def _f1(
    value: float, samples: ClassRates | None, index: int, resampling: Resampling
) -> dict[str, Any]:
    if samples is None or np.isnan(value):
        return _entry("f1", None, None)
    return _entry("f1", value, resampling.percentile(samples.f1[:, index], value))


def _means_of_classes(
    rates: ClassRates, samples: ClassRates | None, resampling: Resampling
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, mean in MEANS.items():
        if samples is None:
            found |= _entry(name, None, None)
        else:
            value = float(mean(rates)[0])
            found |= _entry(name, value, resampling.percentile(mean(samples), value))
    return found


def _means_of_images(scores: Scores, resampling: Resampling) -> dict[str, Any]:
    """Log loss, Brier score and calibration error: null without images or with a NaN."""
    if not len(scores) or not scores.is_finite.all():
        return {
            key: None for name in ("log_loss", "brier", "ece") for key in _entry(name, None, None)
        }
    log_loss, brier = float(scores.log_loss.mean()), float(scores.brier.mean())
    ece = reliability.expected_calibration_error(scores.confidence, scores.is_correct) or 0.0
    samples = _resampled_means(scores, resampling)
    return {
        **_entry("log_loss", log_loss, resampling.percentile(samples[:, 0], log_loss)),
        **_entry("brier", brier, resampling.percentile(samples[:, 1], brier)),
        # Every gap counts as positive: noise only raises it.
        **_entry("ece", ece, resampling.reflected(np.abs(samples[:, 2:]).sum(axis=1), ece)),
    }


def _resampled_means(scores: Scores, resampling: Resampling) -> np.ndarray:
    """[S, 2 + NUM_BINS] float64: log loss, Brier score, and the gap of each bin.

    A resample is a weight for each image; the means of all resamples are one matrix product.
    """
    num_images = len(scores)
    gaps = np.zeros((num_images, reliability.NUM_BINS))
    numbers = reliability.bin_numbers(scores.confidence)
    gaps[np.arange(num_images), numbers] = scores.is_correct - scores.confidence
    values = np.column_stack([np.ones(num_images), scores.log_loss, scores.brier, gaps])
    sums = resampling.weighted_sums(values)
    with np.errstate(invalid="ignore"):  # no image drawn: NaN, not defined
        return np.asarray(sums[:, 1:] / sums[:, :1])


def _worst_class(classes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The class of the lowest recall; of equal ones that with the most images."""
    with_images = [entry for entry in classes if entry["support"]]
    if not with_images:
        return None
    worst = min(with_images, key=lambda entry: (entry["recall"], -entry["support"]))
    keys = ("class_index", "class_name", "support", "recall", "recall_interval")
    return {key: worst[key] for key in keys}
