"""Running a function over images in batches of one size, as models of a fixed batch need."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from slimworks.components.calibration import temperature as calibrated

BATCH_SIZE = 8


def in_batches(
    pixels: np.ndarray,
    run: Callable[[np.ndarray], np.ndarray],
    batch_size: int | None = None,
) -> np.ndarray:
    """Applies `run` to [B, ...] at a time and returns the rows [N, K].

    Args:
        pixels: [N, ...].
        run: [B, ...] -> [B, K].
        batch_size: B; the last batch is filled up with the last row. None: BATCH_SIZE.
    """
    return answers_in_batches(pixels, lambda batch: {"rows": run(batch)}, batch_size)["rows"]


def answers_in_batches(
    inputs: np.ndarray,
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """As `in_batches`, of a function with several named answers, [B, ...] each."""
    size = batch_size or BATCH_SIZE
    num_missing = -len(inputs) % size
    filled = np.concatenate([inputs, np.repeat(inputs[-1:], num_missing, axis=0)])
    answers = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    return {
        name: np.concatenate([answer[name] for answer in answers])[: len(inputs)]
        for name in answers[0]
    }


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of logits divided by a temperature: [N, K] -> float32 [N, K]."""
    return calibrated.softmax(logits, temperature).astype(np.float32)
