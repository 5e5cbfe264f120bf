"""Checkpoints that tests make themselves, with answers that depend on the image."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_CLASSES = 7


def value_of(
    name: str, shape: tuple[int, ...], variance: tuple[float, float] = (0.3, 0.5)
) -> np.ndarray:
    """float32, the same for the same name.

    With the default variance images stay different through MobileNet's 27 layers, and rounding
    stays small; other networks make large differences of rounding and need a larger one.
    """
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.rpartition("/")[2]
    if leaf == "moving_variance":
        values = generator.uniform(*variance, shape)
    elif leaf == "gamma":
        values = generator.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        values = generator.normal(0, 0.1, shape)
    else:
        fan_in = shape[0] * shape[1] if leaf == "depthwise_weights" else np.prod(shape[:-1])
        values = generator.normal(0, (2 / fan_in) ** 0.5, shape)
    return values.astype(np.float32)


def write_checkpoint(
    folder: Path,
    net: str,
    image_size: int,
    *,
    num_channels: int = 3,
    num_classes: int = NUM_CLASSES,
    stored_name: Callable[[str], str | None] = str,
    variance: tuple[float, float] = (0.3, 0.5),
) -> Path:
    """Writes a network's checkpoint and returns its prefix.

    Args:
        folder: Where to.
        net: Registered name.
        image_size: In pixels.
        num_channels: Of the input.
        num_classes: Of the head.
        stored_name: Name -> name in the checkpoint; None leaves the variable out.
        variance: Range of the moving variances.
    """
    from slimworks.components.checkpoints.save import save
    from slimworks.components.nets.layout import build_graph

    graph = build_graph(net, num_classes, image_size, num_channels, is_training=True)
    values = {
        stored: value_of(variable.name, variable.shape, variance)
        for variable in graph.variables
        if (stored := stored_name(variable.name)) is not None
    }
    prefix = folder / f"{net}.ckpt"
    save({**values, "global_step": np.int64(3)}, prefix)
    return prefix
