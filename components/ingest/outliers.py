"""Images that are far darker, brighter or more blurred than the others of their set."""

from __future__ import annotations

import dataclasses

import numpy as np

# Modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993.
_MIN_SCORE = 3.5
_SIGMAS_IN_MAD = 1.4826  # of a normal distribution
# Where nearly all images are alike, a difference that nobody sees is many deviations.
_MIN_LOG_ODDS = 1.0  # of brightness: 0.27 or 0.73 where 0.5 is typical
_MIN_LOG_RATIO = np.log(4.0)  # of sharpness: half the contrast of details
_EDGE = 1.0 / 512  # half a level of 255: black and white have finite log-odds
# Variance of the Laplacian that rounding to 255 levels makes: below, all is equally blurred.
_SHARPNESS_OF_ROUNDING = 20 / 12


@dataclasses.dataclass(frozen=True)
class Outlier:
    """One image. index: among those given. typical: the median of the set, as `value`."""

    index: int
    kind: str
    value: float
    typical: float


def find_outliers(
    brightness: np.ndarray, sharpness: np.ndarray, max_outliers: int = 100
) -> list[Outlier]:
    """Finds images 3.5 robust deviations from the median, the farthest first.

    Brightness is compared by its log-odds, in which 0.02 is as far from 0.1 as 0.1 from 0.36;
    sharpness by its logarithm. A set that varies much has few outliers, a uniform one none.

    Args:
        brightness: [N], mean luma in [0, 1].
        sharpness: [N], variance of the Laplacian, of `perceptual.describe`.
        max_outliers: Of each kind.

    Returns:
        Outliers of the kinds "dark", "bright" and "blurred", in this order.
    """
    if brightness.shape != sharpness.shape or brightness.ndim != 1:
        raise ValueError(f"brightness {brightness.shape} and sharpness {sharpness.shape}")
    if not len(brightness):
        return []
    inside = np.clip(brightness, _EDGE, 1 - _EDGE)
    light = np.log(inside / (1 - inside))
    detail = np.log(sharpness + _SHARPNESS_OF_ROUNDING)
    return [
        *_above("dark", -light, _MIN_LOG_ODDS, brightness, max_outliers),
        *_above("bright", light, _MIN_LOG_ODDS, brightness, max_outliers),
        *_above("blurred", -detail, _MIN_LOG_RATIO, sharpness, max_outliers),
    ]


def _above(
    kind: str, scale: np.ndarray, min_difference: float, values: np.ndarray, max_outliers: int
) -> list[Outlier]:
    """The images that lie far above the median of `scale`."""
    difference = scale - np.median(scale)
    deviation = _SIGMAS_IN_MAD * float(np.median(np.abs(difference)))
    limit = max(min_difference, _MIN_SCORE * deviation)
    order = np.argsort(-difference, kind="stable")
    typical = float(np.median(values))
    return [
        Outlier(int(index), kind, float(values[index]), typical)
        for index in order[:max_outliers]
        if difference[index] > limit
    ]
