"""Straight lines through costs at growing sizes, and how far off they are at a size left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

Shape = str  # "n", or "n log2 n" where sorting shows


@dataclasses.dataclass(frozen=True)
class Fit:
    """cost = fixed + each * n, or fixed + each * n * log2 n.

    Attributes:
        shape: What the cost grows with.
        fixed: Cost of nothing.
        each: Cost of one more.
        r2: Share of the variance that the line explains, at the sizes that it was fitted to.
        held_out: Measured over predicted, at the largest size, which it was not fitted to.
        exponent: Of the growth from the second-largest size to the largest; 1 is linear.
    """

    shape: Shape
    fixed: float
    each: float
    r2: float
    held_out: float
    exponent: float

    def at(self, size: float) -> float:
        """Cost of that many."""
        return self.fixed + self.each * float(_basis(np.array([size]), self.shape)[0])


def _basis(sizes: np.ndarray, shape: Shape) -> np.ndarray:
    return sizes * np.log2(np.maximum(sizes, 2)) if shape == "n log2 n" else sizes


def fit(sizes: Sequence[float], costs: Sequence[float], shape: Shape = "n") -> Fit:
    """Fits all sizes but the largest, by relative squares, so that small ones count as much.

    Args:
        sizes: At least three, rising.
        costs: Above 0, of each size.
        shape: "n" or "n log2 n".
    """
    if len(sizes) < 3 or sorted(set(sizes)) != list(sizes) or min(costs) <= 0:
        raise ValueError(f"needs three rising sizes with costs above 0: {sizes}, {costs}")
    size, cost = np.array(sizes, float), np.array(costs, float)
    basis = _basis(size, shape)
    x, y = basis[:-1], cost[:-1]
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    if fixed < 0:  # nothing costs less than nothing
        fixed, each = 0.0, float(np.sum(x / y) / np.sum((x / y) ** 2))
    predicted = fixed + each * basis
    rest = np.sum((y - predicted[:-1]) ** 2)
    spread = np.sum((y - y.mean()) ** 2)
    return Fit(
        shape=shape,
        fixed=float(fixed),
        each=float(each),
        r2=float(1 - rest / spread) if spread else 1.0,
        held_out=float(cost[-1] / predicted[-1]),
        exponent=float(np.log(cost[-1] / cost[-2]) / np.log(size[-1] / size[-2])),
    )
