"""Denser feature maps from the same weights: atrous (dilated) convolutions instead of strides."""

from __future__ import annotations

from collections.abc import Iterable


def strides_and_rates(strides: Iterable[int], output_stride: int | None) -> list[tuple[int, int]]:
    """Returns (stride, rate) of each layer: strides beyond `output_stride` become atrous rates.

    Args:
        strides: Of the layers, in their order.
        output_stride: Input over output resolution; None for the product of all strides. It is
            missed where no layer ends at it: check the product of the returned strides.
    """
    current_stride, rate, result = 1, 1, []
    for stride in strides:
        if current_stride == output_stride:
            result.append((1, rate))
            rate *= stride
        else:
            result.append((stride, 1))
            current_stride *= stride
    return result
