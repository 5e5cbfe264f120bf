"""How sure an answer must be before it is right often enough: a threshold for each class."""

from __future__ import annotations

import numpy as np
from scipy import stats

CONFIDENCE = 0.95  # of the one-sided bound below


def precision_thresholds(
    probabilities: np.ndarray, class_index: np.ndarray, min_precision: float
) -> list[float | None]:
    """The smallest probability for each class from which on its answers are right often enough.

    Right often enough: the lower Wilson bound (one-sided, 95 %) of their precision reaches
    `min_precision`. Precision itself would not do: the one most probable answer, if it is right,
    has precision 1.

    Args:
        probabilities: As served, [N, K], of images that were not trained on.
        class_index: True classes, int64 [N].
        min_precision: In (0, 1).

    Returns:
        K thresholds. 0: all answers of that class together are right often enough. None: no
        threshold does; `num_needed` says how many images that takes at least.
    """
    answers = probabilities.argmax(axis=1)
    return [
        _threshold(
            probabilities[answers == index, index],
            class_index[answers == index] == index,
            min_precision,
        )
        for index in range(probabilities.shape[1])
    ]


def num_needed(min_precision: float) -> int:
    """Right answers in a row that are evidence for a precision of `min_precision`."""
    z = stats.norm.ppf(CONFIDENCE)
    return int(np.ceil(z**2 * min_precision / (1 - min_precision)))


def _threshold(
    probabilities: np.ndarray, is_right: np.ndarray, min_precision: float
) -> float | None:
    """Of the answers of one class."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    num_taken = np.arange(1, len(ranked) + 1)
    bounds = wilson_lower_bound(np.cumsum(is_right[order]), num_taken)
    # Equal probabilities are taken together.
    is_last = np.append(ranked[:-1] > ranked[1:], True)[: len(ranked)]
    enough = np.flatnonzero(is_last & (bounds >= min_precision))
    if not len(enough):
        return None
    last = int(enough[-1])
    if last == len(ranked) - 1:
        return 0.0
    # Between two images, so that rounding in the exported graph changes neither's answer.
    return float((ranked[last] + ranked[last + 1]) / 2)


def wilson_lower_bound(num_right: np.ndarray, num_images: np.ndarray) -> np.ndarray:
    """Lower bound of a proportion, one-sided. Wilson, Probable Inference, 1927.

    Args:
        num_right: [N].
        num_images: [N], at least 1 each.
    """
    z = stats.norm.ppf(CONFIDENCE)
    share = num_right / num_images
    middle = share + z**2 / (2 * num_images)
    spread = z * np.sqrt(share * (1 - share) / num_images + z**2 / (4 * num_images**2))
    return np.asarray((middle - spread) / (1 + z**2 / num_images))
