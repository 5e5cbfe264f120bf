"""Pictures of an evaluation, drawn without a plotting library: uint8 [H, W, 3]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 480  # pixels of a picture; a confusion matrix of more classes has a pixel for each
MARGIN = 24

_FULL = np.array([8, 48, 107])  # a row's whole share; white: nothing of it
_GREY, _BLUE, _WHITE = (160, 160, 160), (8, 48, 107), (255, 255, 255)


def confusion_picture(matrix: Sequence[Sequence[int]]) -> np.ndarray:
    """True classes are rows, answers are columns; the darker, the larger the share of its row.

    Args:
        matrix: [K, K] counts.

    Returns:
        uint8 [S, S, 3], S the multiple of K that is next to SIDE from below, at least K.
    """
    counts = np.asarray(matrix, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    cells = np.rint(255 + shares[..., None] * (_FULL - 255)).astype(np.uint8)
    scale = max(1, SIDE // len(counts))
    return cells.repeat(scale, axis=0).repeat(scale, axis=1)


def reliability_picture(bins: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Accuracy (up) by confidence (right), both from 0 to 1; the grey diagonal is calibrated.

    Args:
        bins: Of `reliability` in metrics.json; empty ones are left out.

    Returns:
        uint8 [SIDE, SIDE, 3].
    """
    image = Image.new("RGB", (SIDE, SIDE), _WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle([_place(0, 1), _place(1, 0)], outline=_GREY)
    draw.line([_place(0, 0), _place(1, 1)], fill=_GREY, width=2)
    points = [_place(b["confidence"], b["accuracy"]) for b in bins if b["count"]]
    if len(points) > 1:
        draw.line(points, fill=_BLUE, width=3)
    for x, y in points:
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=_BLUE)
    return np.asarray(image)


def _place(confidence: float, accuracy: float) -> tuple[int, int]:
    inner = SIDE - 1 - 2 * MARGIN
    return MARGIN + round(confidence * inner), MARGIN + round((1 - accuracy) * inner)
