"""Does a probability of 0.8 mean that four of five such answers are right?"""

from __future__ import annotations

from typing import Any

import numpy as np

NUM_BINS = 15  # as in Guo et al. 2017


def bin_numbers(confidence: np.ndarray) -> np.ndarray:
    """Bin of each confidence in [0, 1]: NUM_BINS bins of equal width, (low, high], [N] int64.

    The first bin holds 0 as well.
    """
    numbers = np.ceil(np.nan_to_num(confidence) * NUM_BINS).astype(np.int64) - 1
    return np.clip(numbers, 0, NUM_BINS - 1)


def expected_calibration_error(confidence: np.ndarray, is_correct: np.ndarray) -> float | None:
    """Mean over the images of |accuracy - mean confidence| of their bin; None without images.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3, over `bin_numbers`.

    Args:
        confidence: [N] float, probability of each answer, finite.
        is_correct: [N] bool.
    """
    if not len(confidence):
        return None
    gaps = np.bincount(bin_numbers(confidence), is_correct - confidence, NUM_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def diagram(confidence: np.ndarray, is_correct: np.ndarray) -> dict[str, Any]:
    """Reliability diagram: {"ece", "bins": [{"low", "high", "count", "confidence", "accuracy"}]}.

    Mean confidence and accuracy of a bin are null where it is empty. Arguments as above.
    """
    numbers = bin_numbers(confidence)
    counts = np.bincount(numbers, minlength=NUM_BINS)
    confidences = np.bincount(numbers, confidence, NUM_BINS)
    corrects = np.bincount(numbers, is_correct, NUM_BINS)
    bins = [
        {
            "low": number / NUM_BINS,
            "high": (number + 1) / NUM_BINS,
            "count": int(count),
            "confidence": float(confidences[number] / count) if count else None,
            "accuracy": float(corrects[number] / count) if count else None,
        }
        for number, count in enumerate(counts)
    ]
    return {"ece": expected_calibration_error(confidence, is_correct), "bins": bins}
