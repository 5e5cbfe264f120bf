"""What more images would give: a power law through the accuracies of earlier models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize

MIN_POINTS = 3  # as many as the curve has parameters
_EXPONENTS = np.linspace(0.05, 2.0, 79)


@dataclasses.dataclass(frozen=True)
class Point:
    """One earlier model.

    Attributes:
        num_train_images: That it was trained on.
        accuracy: On the test split.
        num_test_images: Behind that accuracy.
    """

    num_train_images: int
    accuracy: float
    num_test_images: int


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """error(n) = floor + scale * n^-exponent."""

    floor: float
    scale: float
    exponent: float

    def error(self, num_train_images: int) -> float:
        """Expected share of wrong answers."""
        return float(self.floor + self.scale * num_train_images**-self.exponent)

    def gain(self, num_before: int, num_now: int) -> float:
        """Expected rise of the accuracy."""
        return self.error(num_before) - self.error(num_now)


def fit(points: Sequence[Point]) -> LearningCurve | None:
    """Fits the power law of learning curves (Cortes et al. 1994) by weighted least squares.

    For each exponent the other two are linear and not negative; the best exponent of a grid is
    taken. Of several models with as many images, the last counts.

    Returns:
        The curve, or None with fewer than MIN_POINTS different numbers of images.
    """
    last = {point.num_train_images: point for point in points if point.num_test_images > 0}
    if len(last) < MIN_POINTS:
        return None
    used = list(last.values())
    sizes = np.array([point.num_train_images for point in used], np.float64)
    errors = np.array([1 - point.accuracy for point in used])
    tested = np.array([point.num_test_images for point in used], np.float64)
    # By the binomial spread of each accuracy; half an image more keeps a perfect one from
    # weighing infinitely much.
    smoothed = (errors * tested + 0.5) / (tested + 1)
    weights = 1 / np.sqrt(smoothed * (1 - smoothed) / tested)
    best: tuple[float, LearningCurve] | None = None
    for exponent in _EXPONENTS:
        design = np.stack([np.ones_like(sizes), sizes**-exponent], axis=1) * weights[:, None]
        (floor, scale), residual = optimize.nnls(design, errors * weights)
        if best is None or residual < best[0]:
            best = residual, LearningCurve(float(floor), float(scale), float(exponent))
    return best[1] if best else None
