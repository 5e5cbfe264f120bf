"""Temperature scaling: one number that makes probabilities as sure as they are right.

Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2: the logits are divided by
T, which changes no answer, only how sure it is.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

# Networks of use lie between 0.5 and 5; what reaches a bound has told us nothing.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of logits divided by a temperature: [N, K] -> float64 [N, K]."""
    probabilities: np.ndarray = special.softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities


def log_loss(logits: np.ndarray, class_index: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log softmax(logits / temperature)[true class], in nats, of at least one image.

    Args:
        logits: [N, K].
        class_index: True classes, int64 [N].
        temperature: T.
    """
    scaled = logits.astype(np.float64) / temperature
    of_truth = np.take_along_axis(scaled, class_index[:, None], axis=1)[:, 0]
    return float(np.mean(special.logsumexp(scaled, axis=1) - of_truth))


def fit_temperature(logits: np.ndarray, class_index: np.ndarray) -> float:
    """The temperature in [MIN_TEMPERATURE, MAX_TEMPERATURE] with the smallest log loss.

    The loss is convex in 1 / T, so that the root of its slope is the minimum; where there is no
    root in between, the better bound. An answer that is right everywhere has no minimum (the loss
    falls as T does): do not ask then.

    Args:
        logits: [N, K], finite, of at least one image.
        class_index: True classes, int64 [N].
    """
    values = logits.astype(np.float64)
    of_truth = np.take_along_axis(values, class_index[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        expected = np.sum(special.softmax(values * inverse, axis=1) * values, axis=1)
        return float(np.mean(expected - of_truth))

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if slope(low) >= 0:
        return MAX_TEMPERATURE
    if slope(high) <= 0:
        return MIN_TEMPERATURE
    return 1 / float(optimize.brentq(slope, low, high, xtol=1e-9))
