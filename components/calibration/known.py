"""Is this an image of the kind that was trained on? A score for each image, higher for known ones.

Measured with flower classifiers and photos of blood cells, digits, noise and other things
(docs/calibration.md has the figures): the distance to the class means after scaling embeddings to
length one tells best of what costs next to nothing in a graph. Unscaled distances, and
Mahalanobis's too, fail: unknown images have short embeddings, which lie close to every mean.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import special

Method = Literal["probability", "energy", "distance"]
METHODS: tuple[Method, ...] = ("probability", "energy", "distance")

SMALLEST_SQUARE = 1e-12  # below it, an embedding has no direction; the graph takes the same


def energy(logits: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials: [N, K] -> [N]. Liu et al., Energy-based OOD Detection, 2020.

    Their free energy at temperature 1 with the sign turned, so that known images have more.
    """
    return np.asarray(special.logsumexp(logits.astype(np.float64), axis=1))


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Each row scaled to length one, [N, D] -> float64 [N, D]; rows of zeros stay."""
    values = embeddings.astype(np.float64)
    squares = np.sum(values**2, axis=1, keepdims=True)
    return np.asarray(values / np.sqrt(np.maximum(squares, SMALLEST_SQUARE)))


def class_means(embeddings: np.ndarray, class_index: np.ndarray) -> np.ndarray:
    """Mean direction of each class that has an image.

    Args:
        embeddings: Of training images, [N, D].
        class_index: int64 [N].

    Returns:
        float32 [K, D], of the K classes that occur.
    """
    directions = unit_length(embeddings)
    means = [directions[class_index == index].mean(axis=0) for index in np.unique(class_index)]
    return np.stack(means).astype(np.float32)


def distance(embeddings: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Euclidean distance of each embedding's direction to the nearest class mean, float64 [N].

    Args:
        embeddings: [N, D].
        means: Of `class_means`, [K, D].
    """
    directions, centres = unit_length(embeddings), means.astype(np.float64)
    # Not as differences: [N, K, D] of a thousand classes is gigabytes.
    squares = (
        np.sum(directions**2, axis=1)[:, None]
        - 2 * directions @ centres.T
        + np.sum(centres**2, axis=1)
    )
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)))


def lowest_kept(scores: np.ndarray, known_rate: float) -> float:
    """The largest threshold that at least `known_rate` of the images reach.

    Args:
        scores: Higher for known images, [N], at least one.
        known_rate: In (0, 1].

    Returns:
        A hair below that image's own score, so that rounding in another order of operations does
        not decide about it. Of N scores, a new image of the same kind falls below with a
        probability of at least 1 / (N + 1).
    """
    ranked = np.sort(scores.astype(np.float64))
    # The small number: (1 - 0.9) * 10 is less than one in floating point.
    num_dropped = int((1 - known_rate) * len(ranked) + 1e-9)
    kept = ranked[min(num_dropped, len(ranked) - 1)]
    return float(kept - 1e-4 * max(abs(kept), 1e-2))
