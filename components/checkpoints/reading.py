"""Opening a checkpoint of either format, whatever way it is named."""

from __future__ import annotations

import dataclasses
import glob
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from slimworks.components.checkpoints import save
from slimworks.components.checkpoints.foreign import identify_foreign, is_file, is_table
from slimworks.components.errors import ConfigError

Shape = tuple[int, ...]

CHECKPOINT_SETTING = "train.checkpoint_path"

_INDEX_SUFFIX = ".index"
_ALL_SHARDS = "-?????-of-"  # what Saver(sharded=True) appends to a V1 checkpoint's name, as glob
_SHARD_OF_V1 = re.compile(r"-\d{5}-of-(\d{5})$")
_FILE_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_MOST_PACKED = 64
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # marks checkpoints of TF2's objects
# What TensorFlow's reader raises for damaged files; IndexError for data that ends too early.
_NOT_READABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint.

    Attributes:
        path: As the user gave it.
        prefix: What TensorFlow calls it: without suffix.
        version: V1 is one table (or one a shard), V2 an index with data files.
        shapes: By stored name.
    """

    path: str
    prefix: str
    version: Literal["V1", "V2"]
    shapes: Mapping[str, Shape]
    _reader: Any = dataclasses.field(repr=False)

    def read(self, name: str) -> np.ndarray:
        """Returns one stored value.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return np.asarray(self._reader.get_tensor(name))
        except _NOT_READABLE as error:
            raise _unreadable(self.prefix, error) from error


def open_checkpoint(path: str | os.PathLike[str], setting: str = CHECKPOINT_SETTING) -> Checkpoint:
    """Opens a checkpoint given by prefix, by one of its files, or by folder (its newest one).

    Args:
        path: Of a V1 or V2 checkpoint, in one file or in shards; on this machine, or where else
            TensorFlow reads, such as "gs://BUCKET/model.ckpt".
        setting: What messages call the path's origin.

    Raises:
        ConfigError: There is none, it is damaged, or it is no checkpoint of named variables.
    """
    prefix = resolve(path, setting)
    version: Literal["V1", "V2"] = "V2" if tf.io.gfile.exists(prefix + _INDEX_SUFFIX) else "V1"
    _check_files(prefix, version)
    try:
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    except _NOT_READABLE as error:
        raise _unreadable(prefix, error) from error
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    if _OBJECT_GRAPH in shapes:
        raise ConfigError(
            f"{prefix} holds TensorFlow 2 objects (names that end in /.ATTRIBUTES/VARIABLE_VALUE), "
            "not named variables.",
            "Give a checkpoint with TF1 names: one of TF-Slim, of tf.compat.v1.train.Saver, or of "
            "`slimworks train` (its folder checkpoints/).",
        )
    _check_sizes(prefix, version, shapes)
    return Checkpoint(os.fspath(path), prefix, version, shapes, reader)


def resolve(path: str | os.PathLike[str], setting: str = CHECKPOINT_SETTING) -> str:
    """Returns the prefix of a checkpoint given by prefix, by one of its files, or by folder.

    Raises:
        ConfigError: There is none, or TensorFlow cannot look there.
    """
    try:
        return _resolve(os.fspath(path), setting)
    except tf.errors.OpError as error:
        raise ConfigError(
            f"{setting} is {path}, where TensorFlow cannot read: {_reason(error)}.",
            "Check the path and the right to read it, or copy the checkpoint to this machine.",
        ) from error


def _resolve(path: str, setting: str) -> str:
    if os.path.basename(path) == save.STATE_FILE and is_file(path):
        path = os.path.dirname(path) or "."
    if tf.io.gfile.isdir(path):
        path = _newest_of(path, setting)
    stem = _FILE_SUFFIX.sub("", path)
    for candidate in dict.fromkeys((stem, path)):
        if tf.io.gfile.exists(candidate + _INDEX_SUFFIX):
            return candidate
    if tf.io.gfile.exists(path) and stem == path:
        return _SHARD_OF_V1.sub(rf"{_ALL_SHARDS}\1", path) if is_table(path) else path
    for pattern in (path, f"{path}{_ALL_SHARDS}?????"):
        shards = [match for match in sorted(tf.io.gfile.glob(pattern)) if is_table(match)]
        if shards:
            return _SHARD_OF_V1.sub(rf"{_ALL_SHARDS}\1", shards[0])
    if tf.io.gfile.exists(path):
        raise ConfigError(
            f"{setting} is {path}, but {stem}{_INDEX_SUFFIX}, which belongs to it, does not exist.",
            "Copy all files of the checkpoint: .index and every .data file.",
        )
    raise ConfigError(
        f"{setting} is {path}, but neither {path} nor {path}{_INDEX_SUFFIX} exists.",
        "Give an unpacked checkpoint: the path before `.index`, a V1 file, or their folder.",
    )


def _newest_of(folder: str, setting: str) -> str:
    if tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise ConfigError(
            f"{setting} is {folder}, a SavedModel.",
            "Give the checkpoint that it was exported from; `slimworks train` keeps it in the "
            f"folder checkpoints/. Of a TF1 SavedModel give {folder}/variables/variables.",
        )
    newest = save.latest_checkpoint(folder)
    if newest is None:
        raise ConfigError(
            f"{setting} is {folder}, a folder without a checkpoint.",
            "Give the folder that holds the .index file, or the path before `.index`.",
        )
    return newest


def _check_files(prefix: str, version: str) -> None:
    """Finds files that are no checkpoint, or half of one, before TensorFlow words it."""
    if version == "V1":
        if is_file(prefix) and not is_table(prefix):
            foreign = identify_foreign(prefix)
            raise ConfigError(
                f"{prefix} is no readable TensorFlow checkpoint: it is {foreign.what}.", foreign.fix
            )
        stem, is_sharded, num_shards = prefix.partition(_ALL_SHARDS)
        if is_sharded:
            _check_shards(prefix, stem, int(num_shards))
    else:
        found = sorted(tf.io.gfile.glob(glob.escape(prefix) + ".data-*-of-*"))
        num_shards = found[0].rpartition("-")[2] if found else "00001"
        _check_shards(prefix, f"{prefix}.data", int(num_shards))


def _check_shards(prefix: str, stem: str, num_shards: int) -> None:
    for number in range(num_shards):
        shard = f"{stem}-{number:05d}-of-{num_shards:05d}"
        if not tf.io.gfile.exists(shard):
            raise _incomplete(prefix, f"{os.path.basename(shard)} does not exist")


def _check_sizes(prefix: str, version: str, shapes: Mapping[str, Shape]) -> None:
    """Before memory is taken for what an index only claims; a stored value has a byte at least."""
    pattern = glob.escape(prefix) + (".data-*-of-*" if version == "V2" else "")
    if version == "V1" and _ALL_SHARDS in prefix:
        stem, _, num_shards = prefix.partition(_ALL_SHARDS)
        pattern = f"{glob.escape(stem)}{_ALL_SHARDS}{num_shards}"
    num_bytes = sum(tf.io.gfile.stat(path).length for path in tf.io.gfile.glob(pattern))
    num_values = sum(math.prod(shape) for shape in shapes.values())
    # V1 may be packed by Snappy, which makes zeros twenty times smaller.
    if num_values > num_bytes * (_MOST_PACKED if version == "V1" else 1):
        raise _incomplete(
            prefix, f"it names {num_values} values, and its files hold {num_bytes} bytes"
        )


def _incomplete(prefix: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{prefix} is no readable TensorFlow checkpoint: {reason}.",
        "Download or copy it again, with its .index and .data files complete and unpacked.",
    )


def _unreadable(prefix: str, error: Exception) -> ConfigError:
    return _incomplete(prefix, _reason(error))


def _reason(error: Exception) -> str:
    text = str(error.message if isinstance(error, tf.errors.OpError) else error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
