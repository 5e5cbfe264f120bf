"""Starting a network from a checkpoint, by TF-Slim's rules."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from slimworks.components.checkpoints import save
from slimworks.components.checkpoints.misfit import Misfit, Shape
from slimworks.components.errors import ConfigError

_LOGGER = logging.getLogger(__name__)

AUTO: Literal["auto"] = "auto"

# What TensorFlow's reader raises for damaged files; IndexError for data that ends too early.
_NOT_READABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)
_FILE_SUFFIXES = (".index", ".meta", ".data-00000-of-00001")
_SCALARS = ("global_step", "beta1_power", "beta2_power")  # of the training loop, not of a network


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What `restore` did, in names of variables.

    Attributes:
        checkpoint_path: The checkpoint that was read (a directory is resolved to its newest).
        restored: Variables that have the checkpoint's values now.
        excluded: Variables left at their initial values because of their scope.
        missing: Variables left at their initial values because the checkpoint lacks them.
        unexpected: Names in the checkpoint that no variable asked for, without optimizer slots.
    """

    checkpoint_path: str
    restored: tuple[str, ...]
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
) -> RestoreReport:
    """Assigns a checkpoint's values to variables of the same names.

    Nothing is assigned unless everything fits.

    Args:
        variables: By TF1 name: a network's model variables.
        checkpoint_path: A checkpoint (prefix, V1 or V2 format) or a folder (its newest one).
        exclude_scopes: Prefixes of the names to leave alone: plain text, so "a/Logits" also
            excludes "a/Logits2/biases". "auto" excludes each of `head_scopes` of which the
            checkpoint lacks a variable or has it in another shape.
        head_scopes: Prefixes of the variables that depend on the class count.
        ignore_missing_vars: Leaves variables that the checkpoint lacks alone, with a warning.
        name_map: Prefix in the checkpoint -> prefix of the variables, where they differ.

    Raises:
        ConfigError: There is no checkpoint, it does not fit, or nothing is left to restore.
    """
    prefix = resolve(checkpoint_path)
    reader = _reader(prefix)
    checkpoint_shapes: dict[str, Shape] = {
        name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()
    }
    shapes = {name: tuple(variable.shape.as_list()) for name, variable in variables.items()}
    stored_names = {name: _stored_name(name, name_map or {}) for name in variables}
    fits = {n: checkpoint_shapes.get(s) == shapes[n] for n, s in stored_names.items()}
    scopes = _scopes_to_exclude(exclude_scopes, head_scopes, fits)
    excluded = tuple(name for name in variables if name.startswith(scopes))
    if len(excluded) == len(variables):
        raise _nothing_left(scopes, checkpoint_path)
    left_alone = set(excluded)
    wanted = {name: stored for name, stored in stored_names.items() if name not in left_alone}
    missing = tuple(name for name, stored in wanted.items() if stored not in checkpoint_shapes)
    misfit = Misfit(
        checkpoint_path=str(checkpoint_path),
        shapes=shapes,
        checkpoint_shapes=checkpoint_shapes,
        missing=() if ignore_missing_vars else missing,
        reshaped={n: s for n, s in wanted.items() if s in checkpoint_shapes and not fits[n]},
        head_scopes=head_scopes,
    )
    if misfit.names:
        raise misfit.error()
    restored = {name: stored for name, stored in wanted.items() if stored in checkpoint_shapes}
    _assign(variables, restored, reader, prefix)
    unexpected = _unexpected(checkpoint_shapes, set(stored_names.values()))
    report = RestoreReport(prefix, tuple(restored), excluded, missing, unexpected)
    _log(report)
    return report


def _log(report: RestoreReport) -> None:
    for name in report.missing:
        _LOGGER.warning(
            "%s is not in %s: it keeps its initial value.", name, report.checkpoint_path
        )
    _LOGGER.info(
        "Restored %d variables from %s; %d excluded, %d missing, %d unexpected.",
        len(report.restored),
        report.checkpoint_path,
        len(report.excluded),
        len(report.missing),
        len(report.unexpected),
    )


def _nothing_left(scopes: Sequence[str], checkpoint_path: str | os.PathLike[str]) -> ConfigError:
    return ConfigError(
        f"train.checkpoint_exclude_scopes {list(scopes)} leaves nothing to restore from "
        f"{checkpoint_path}.",
        "Name fewer scopes, or leave train.checkpoint_path out to train from scratch.",
    )


def resolve(checkpoint_path: str | os.PathLike[str]) -> str:
    """Returns the prefix of a checkpoint given by prefix, by one of its files, or by folder.

    Raises:
        ConfigError: There is none.
    """
    path = os.fspath(checkpoint_path)
    if tf.io.gfile.isdir(path):
        latest = save.latest_checkpoint(path)
        if latest is None:
            raise ConfigError(
                f"train.checkpoint_path is {path}, a folder without a checkpoint.",
                "Give the folder that holds the .index file, or the path before `.index`.",
            )
        return latest
    for suffix in _FILE_SUFFIXES:
        if path.endswith(suffix) and tf.io.gfile.exists(path.removesuffix(suffix) + ".index"):
            return path.removesuffix(suffix)
    if tf.io.gfile.exists(f"{path}.index") or tf.io.gfile.exists(path):
        return path
    raise ConfigError(
        f"train.checkpoint_path is {path}, but neither {path} nor {path}.index exists.",
        "Give an unpacked checkpoint: the path before `.index`, a V1 file, or their folder.",
    )


def _reader(prefix: str) -> Any:
    try:
        return tf.train.load_checkpoint(prefix)
    except _NOT_READABLE as error:
        raise _unreadable(prefix, error) from error


def _unreadable(prefix: str, error: Exception) -> ConfigError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ConfigError(
        f"{prefix} is no readable TensorFlow checkpoint: {reason}",
        "Download or copy it again, with its .index and .data files complete and unpacked.",
    )


def _stored_name(name: str, name_map: Mapping[str, str]) -> str:
    for stored_prefix, prefix in name_map.items():
        if name.startswith(prefix):
            return stored_prefix + name.removeprefix(prefix)
    return name


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
    variables: Mapping[str, tf.Variable], restored: Mapping[str, str], reader: Any, prefix: str
) -> None:
    values: dict[str, Any] = {}
    try:
        for name, stored in restored.items():
            values[name] = reader.get_tensor(stored)
    except _NOT_READABLE as error:
        raise _unreadable(prefix, error) from error
    for name, value in values.items():
        variables[name].assign(value)


def _unexpected(checkpoint_shapes: Mapping[str, Shape], known: set[str]) -> tuple[str, ...]:
    # A slot or an average is stored below its variable's name: "a/weights/Momentum".
    return tuple(
        name
        for name in sorted(checkpoint_shapes)
        if name not in known and name not in _SCALARS and name.rpartition("/")[0] not in known
    )
