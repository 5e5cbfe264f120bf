"""Narrower and wider variants of a network."""

from __future__ import annotations

from collections.abc import Callable


def scaled_depth(depth_multiplier: float, min_depth: int) -> Callable[[int], int]:
    """Returns the function that maps a published depth to that of a narrower or wider network.

    Raises:
        ValueError: depth_multiplier is not above 0.
    """
    if depth_multiplier <= 0:
        raise ValueError(f"depth_multiplier is {depth_multiplier}, expected a number above 0.")
    return lambda depth: max(int(depth * depth_multiplier), min_depth)
