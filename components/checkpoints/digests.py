"""Digests of weights, and how far two checkpoints are apart."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from slimworks.components.checkpoints.reading import CHECKPOINT_SETTING, open_checkpoint

# Says when, not what: two trainings of other lengths may have the same weights.
_NOT_WEIGHTS = ("global_step",)


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one variable is apart in two checkpoints.

    Attributes:
        name: Of the variable.
        largest: Largest absolute difference of an element; infinite where one is not finite, or
            where the shapes or types differ.
        relative: `largest` / the largest absolute value in the first checkpoint.
        detail: What a number cannot say, such as other shapes; else "".
    """

    name: str
    largest: float
    relative: float
    detail: str = ""


def digest_of_checkpoint(path: str | os.PathLike[str], setting: str = CHECKPOINT_SETTING) -> str:
    """Returns sha256 over name, type, shape and bytes of every variable, `global_step` left out.

    The same weights give the same digest in any file format, sharded or not.

    Args:
        path: Prefix, one of the files, or folder, as `open_checkpoint` takes it.
        setting: What messages call the path's origin.

    Raises:
        ConfigError: There is no readable checkpoint.
    """
    checkpoint = open_checkpoint(path, setting)
    return _digest(_weight_names(checkpoint.shapes), checkpoint.read)


def digest_of_variables(variables: Mapping[str, Any]) -> str:
    """Returns the digest that a checkpoint of these variables, by name, would have."""
    return _digest(_weight_names(variables), lambda name: variables[name].numpy())


def compare_checkpoints(
    first: str | os.PathLike[str], second: str | os.PathLike[str]
) -> list[Difference]:
    """Returns the variables that differ, the farthest (relative to its size) first.

    Raises:
        ConfigError: One of them is no readable checkpoint.
    """
    one, other = open_checkpoint(first), open_checkpoint(second)
    names = {*_weight_names(one.shapes), *_weight_names(other.shapes)}
    found = []
    for name in sorted(names):
        if name not in one.shapes or name not in other.shapes:
            which = "second" if name in one.shapes else "first"
            found.append(Difference(name, np.inf, np.inf, f"missing in the {which}"))
        else:
            found.append(_difference(name, one.read(name), other.read(name)))
    differing = [difference for difference in found if difference.largest > 0]
    return sorted(differing, key=lambda difference: -difference.relative)


def _weight_names(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name not in _NOT_WEIGHTS)


def _digest(names: Iterable[str], read: Callable[[str], np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in names:
        value = np.ascontiguousarray(read(name))
        header = f"{name}\0{value.dtype.str}\0{value.shape}\0"
        digest.update(header.encode("utf-8"))
        digest.update(value.tobytes())
    return digest.hexdigest()


def _difference(name: str, first: np.ndarray, second: np.ndarray) -> Difference:
    if first.shape != second.shape or first.dtype != second.dtype:
        detail = f"{first.dtype} {list(first.shape)} and {second.dtype} {list(second.shape)}"
        return Difference(name, np.inf, np.inf, detail)
    if first.tobytes() == second.tobytes():
        return Difference(name, 0.0, 0.0)
    gap = np.abs(first.astype(np.float64) - second.astype(np.float64))
    if not np.isfinite(gap).all():
        return Difference(name, np.inf, np.inf, "not finite")
    size = float(np.abs(first).max())
    largest = _positive(float(gap.max(initial=0.0)))
    return Difference(name, largest, largest / size if size else np.inf)


def _positive(largest: float) -> float:
    """0.0 and -0.0 differ in their bytes, and so in the digest, by no number."""
    return largest or float(np.finfo(np.float64).tiny)
