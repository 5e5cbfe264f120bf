"""Checkpoints of small sets of variables, and layouts of real networks."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from slimworks.components.checkpoints.save import save

Shapes = dict[str, tuple[int, ...]]


def write_checkpoint(folder: Path, shapes: Mapping[str, tuple[int, ...]], value: float = 1) -> Path:
    """Writes variables that hold `value` everywhere; returns the prefix."""
    prefix = folder / "model.ckpt-1"
    save({name: tf.fill(shape, float(value)) for name, shape in shapes.items()}, prefix)
    return prefix


def zeros(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tf.Variable]:
    """Variables that hold zeros."""
    return {name: tf.Variable(tf.zeros(shape)) for name, shape in shapes.items()}


def read_layout(shared: Path, net: str) -> Shapes:
    """Shapes by name of TF-Slim's own network, at the published class count."""
    with (shared / "nets" / "layout" / f"{net}.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {row["name"]: tuple(int(n) for n in row["shape"].split("x") if n) for row in rows}
