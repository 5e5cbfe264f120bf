"""Starting a network from a checkpoint, by TF-Slim's rules."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import tensorflow as tf

from slimworks.components.checkpoints.misfit import Misfit
from slimworks.components.checkpoints.names import (
    AVERAGE_SUFFIX,
    parse_name_map,
    stored_by_variable,
    values_to_read,
    variables_among,
)
from slimworks.components.checkpoints.reading import Checkpoint, open_checkpoint, resolve
from slimworks.components.errors import ConfigError

__all__ = ["RestoreReport", "resolve", "restore"]

_LOGGER = logging.getLogger(__name__)

AUTO: Literal["auto"] = "auto"


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What `restore` did, in names of variables.

    Attributes:
        checkpoint_path: The checkpoint that was read (a directory is resolved to its newest).
        restored: Variables that have the checkpoint's values now.
        averaged: Those of them that have the value of their moving average.
        excluded: Variables left at their initial values because of their scope.
        missing: Variables left at their initial values because the checkpoint lacks them.
        unexpected: Names in the checkpoint that no variable asked for, without optimizer slots.
    """

    checkpoint_path: str
    restored: tuple[str, ...]
    averaged: tuple[str, ...]
    excluded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def restore(
    variables: Mapping[str, tf.Variable],
    checkpoint_path: str | os.PathLike[str],
    *,
    exclude_scopes: Sequence[str] | Literal["auto"] = AUTO,
    head_scopes: Sequence[str] = (),
    ignore_missing_vars: bool = False,
    name_map: Mapping[str, str] | None = None,
    prefer_averages: bool = True,
) -> RestoreReport:
    """Assigns a checkpoint's values to variables of the same names.

    Nothing is assigned unless everything fits. Shapes have to agree, dtypes not: a value is cast
    to its variable's dtype. float16 and bfloat16 become float32 without a loss; float64 is
    rounded.

    Args:
        variables: By TF1 name: a network's model variables.
        checkpoint_path: A checkpoint (prefix, V1 or V2 format) or a folder (its newest one).
        exclude_scopes: Prefixes of the names to leave alone: plain text, so "a/Logits" also
            excludes "a/Logits2/biases". "auto" excludes each of `head_scopes` of which the
            checkpoint lacks a variable or has it in another shape.
        head_scopes: Prefixes of the variables that depend on the class count.
        ignore_missing_vars: Leaves variables that the checkpoint lacks alone, with a warning;
            unless it lacks all.
        name_map: Stored name -> the variables' name, where they differ: prefixes, or regular
            expressions marked "re:"; see `names.Pair`.
        prefer_averages: Takes `<name>/ExponentialMovingAverage` instead of `<name>`, for each
            variable for which the checkpoint has it.

    Raises:
        ConfigError: There is no checkpoint, it does not fit, or nothing is left to restore.
    """
    pairs = parse_name_map(name_map or {})
    checkpoint = open_checkpoint(checkpoint_path)
    shapes = {name: tuple(variable.shape.as_list()) for name, variable in variables.items()}
    stored_names = variables_among(checkpoint.shapes)
    stored = stored_by_variable(stored_names, shapes, pairs, checkpoint.prefix)
    sources = values_to_read(stored, checkpoint.shapes, prefer_averages)
    fits = {n: n in sources and checkpoint.shapes[sources[n]] == shapes[n] for n in variables}
    scopes = _scopes_to_exclude(exclude_scopes, head_scopes, fits)
    excluded = tuple(name for name in variables if name.startswith(scopes))
    if len(excluded) == len(variables):
        raise _nothing_left(scopes, checkpoint_path)
    wanted = [name for name in variables if not name.startswith(scopes)]
    missing = tuple(name for name in wanted if name not in sources)
    known = set(stored.values())
    unexpected = tuple(sorted(name for name in stored_names if name not in known))
    # A checkpoint of which nothing is left is an error even then: it was not named for nothing.
    ignore_missing = ignore_missing_vars and len(missing) < len(wanted)
    misfit = Misfit(
        checkpoint_path=str(checkpoint_path),
        shapes=shapes,
        checkpoint_shapes=checkpoint.shapes,
        missing=() if ignore_missing else missing,
        unexpected=unexpected,
        reshaped={n: sources[n] for n in wanted if n in sources and not fits[n]},
        head_scopes=head_scopes,
        excluded_scopes=scopes,
    )
    if misfit.names:
        raise misfit.error()
    restored = {name: sources[name] for name in wanted if name in sources}
    _assign(variables, restored, checkpoint)
    averaged = tuple(n for n, source in restored.items() if source.endswith(AVERAGE_SUFFIX))
    report = RestoreReport(
        checkpoint.prefix, tuple(restored), averaged, excluded, missing, unexpected
    )
    _log(report, scopes)
    return report


def _log(report: RestoreReport, scopes: Sequence[str]) -> None:
    for name in report.missing:
        _LOGGER.warning(
            "%s is not in %s: it keeps its initial value.", name, report.checkpoint_path
        )
    _LOGGER.info(
        "Restored %d variables from %s, %d of them from moving averages; %d excluded (%s), "
        "%d missing, %d unexpected.",
        len(report.restored),
        report.checkpoint_path,
        len(report.averaged),
        len(report.excluded),
        ", ".join(scopes) or "no scope",
        len(report.missing),
        len(report.unexpected),
    )


def _nothing_left(scopes: Sequence[str], checkpoint_path: str | os.PathLike[str]) -> ConfigError:
    return ConfigError(
        f"train.checkpoint_exclude_scopes {list(scopes)} leaves nothing to restore from "
        f"{checkpoint_path}.",
        "Name fewer scopes, or leave train.checkpoint_path out to train from scratch.",
    )


def _scopes_to_exclude(
    exclude_scopes: Sequence[str] | Literal["auto"],
    head_scopes: Sequence[str],
    fits: Mapping[str, bool],
) -> tuple[str, ...]:
    if exclude_scopes == AUTO:
        return tuple(
            scope
            for scope in head_scopes
            if not all(fit for name, fit in fits.items() if name.startswith(scope))
        )
    return tuple(scope.strip() for scope in exclude_scopes if scope.strip())


def _assign(
    variables: Mapping[str, tf.Variable], restored: Mapping[str, str], checkpoint: Checkpoint
) -> None:
    """Reads everything before it assigns; casts to the variables' dtypes."""
    values = {name: checkpoint.read(source) for name, source in restored.items()}
    for name, value in values.items():
        variables[name].assign(value)
