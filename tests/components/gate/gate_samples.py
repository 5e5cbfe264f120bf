"""Answers of two models with known numbers of right, fixed and broken images."""

import numpy as np

from slimworks.components.gate.bounds import Answers

CLASS_NAMES = ("daisy", "rose", "tulip")


def answers(predicted, true, class_names=CLASS_NAMES, ids=None):
    ids = [f"{index:064x}" for index in range(len(true))] if ids is None else ids
    return Answers(
        tuple(class_names),
        np.array(ids, dtype=np.str_),
        np.array(true, np.int64),
        np.array(predicted, np.int64),
    )


def truth(num_images, num_classes=3):
    return np.arange(num_images) % num_classes


def right(num_images, num_correct, class_names=CLASS_NAMES):
    """A model that is right on the first `num_correct` images."""
    true = truth(num_images, len(class_names))
    predicted = np.where(np.arange(num_images) < num_correct, true, (true + 1) % len(class_names))
    return answers(predicted, true, class_names)


def pair(both, fixed, broken, neither):
    """Candidate and baseline with these counts of images that each answers right."""
    total = both + fixed + broken + neither
    true = truth(total)
    kind = np.repeat(np.arange(4), [both, fixed, broken, neither])
    candidate = np.where(kind <= 1, true, (true + 1) % 3)
    baseline = np.where((kind == 0) | (kind == 2), true, (true + 1) % 3)
    return answers(candidate, true), answers(baseline, true)


def metrics_of(model):
    """What the evaluator writes about these answers."""
    return {
        "num_images": len(model),
        "num_nan": model.num_nan,
        "accuracy": float(model.correct.mean()) if len(model) else None,
    }
