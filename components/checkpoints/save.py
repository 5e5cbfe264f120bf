"""Writing TF1-named checkpoints so that a kill at any moment leaves a loadable one."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from slimworks.components import files
from slimworks.components.checkpoints.foreign import is_file, is_table

_LOGGER = logging.getLogger(__name__)

STATE_FILE = "checkpoint"  # TensorFlow's name
_INDEX_SUFFIX = ".index"
_DATA_SUFFIX = ".data-00000-of-00001"  # SaveV2 writes one shard

StrPath = str | os.PathLike[str]


def save(variables: Mapping[str, Any], prefix: StrPath) -> None:
    """Writes a V2 checkpoint that `tf.compat.v1.train.Saver` and TF-Slim's scripts load.

    The files get their names when they are complete and on disk, the index, without which no
    reader looks at the data, last. An older checkpoint of the same prefix is gone from the moment
    the new one is complete: save under a new step number to keep the old one until then.

    Args:
        variables: Variables or tensors by the name that they are stored under.
        prefix: Path without suffix, such as "DIR/model.ckpt-100".
    """
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    temporary = prefix.with_name(f".{prefix.name}.{uuid.uuid4().hex}")
    try:
        tf.raw_ops.SaveV2(
            prefix=str(temporary),
            tensor_names=list(variables),
            shape_and_slices=[""] * len(variables),
            tensors=[tf.convert_to_tensor(variable) for variable in variables.values()],
        )
        for suffix in (_DATA_SUFFIX, _INDEX_SUFFIX):
            files.fsync_file(_with(temporary, suffix))
        _with(prefix, _INDEX_SUFFIX).unlink(missing_ok=True)
        for suffix in (_DATA_SUFFIX, _INDEX_SUFFIX):
            os.replace(_with(temporary, suffix), _with(prefix, suffix))
    finally:
        for leftover in prefix.parent.glob(f"{temporary.name}*"):
            leftover.unlink()
    files.fsync_folder(prefix.parent)


def update_state(folder: StrPath, prefix: StrPath) -> None:
    """Names `prefix` as the newest in the folder's `checkpoint` file, atomically.

    The names are relative, so that the folder can be moved. The file lists, besides, the
    numbered checkpoints of the folder, oldest first, as TensorFlow does.
    """
    newest = Path(prefix).name
    names = [name for name in _numbered(Path(folder)) if name != newest]
    state = tf.compat.v1.train.generate_checkpoint_state_proto(
        "", newest, all_model_checkpoint_paths=[*names, newest]
    )
    files.write_text(Path(folder) / STATE_FILE, text_format.MessageToString(state))


def latest_checkpoint(folder: StrPath) -> str | None:
    """Returns the prefix of a folder's newest checkpoint, or None.

    The folder's `checkpoint` file decides, of what is in the folder. Where it is missing, or names
    nothing that exists (an unpacked archive, a kill at the wrong moment), the newest index or V1
    file does; of several of one second the one of the highest step.

    Args:
        folder: On this machine, or where else TensorFlow reads, such as "gs://BUCKET/DIR".
    """
    folder = os.fspath(folder)
    state = tf.train.get_checkpoint_state(folder)
    named = [*state.all_model_checkpoint_paths, state.model_checkpoint_path] if state else []
    for prefix in reversed(named):
        # A copied folder may name the place that it was copied from; one that came by mail, any.
        own = [os.path.join(folder, os.path.basename(prefix))]
        for candidate in [prefix, *own] if _is_below(prefix, folder) else own:
            if tf.io.gfile.exists(candidate + _INDEX_SUFFIX) or is_file(candidate):
                return candidate
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    found = [path for path in paths if is_table(path)]
    return max(found, key=_age).removesuffix(_INDEX_SUFFIX) if found else None


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/") and ".." not in path.split("/")


def _age(path: str) -> tuple[int, int, str]:
    """Grows with time, in seconds; then with the step in the name."""
    step = re.search(r"-(\d+)$", path.removesuffix(_INDEX_SUFFIX))
    return tf.io.gfile.stat(path).mtime_nsec, int(step[1]) if step else -1, path


def keep_newest(folder: StrPath, n: int) -> None:
    """Deletes numbered checkpoints, "STEM-NUMBER", but for the n highest numbers of each stem.

    The checkpoint that the folder's `checkpoint` file names as newest always stays.
    """
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1.")
    folder = Path(folder)
    latest = latest_checkpoint(folder)
    if latest is None:
        return
    by_stem: dict[str, list[str]] = {}
    for name in _numbered(folder):
        by_stem.setdefault(name.rpartition("-")[0], []).append(name)
    doomed = {name for names in by_stem.values() for name in names[:-n]} - {Path(latest).name}
    for name in sorted(doomed):
        # The index first: what is left without it is no checkpoint.
        _with(folder / name, _INDEX_SUFFIX).unlink()
        _with(folder / name, _DATA_SUFFIX).unlink(missing_ok=True)
    if doomed:
        update_state(folder, latest)
        _LOGGER.info("Deleted %d checkpoints from %s, kept %s.", len(doomed), folder, latest)


def _with(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _numbered(folder: Path) -> list[str]:
    """Names of the complete checkpoints called STEM-NUMBER, lowest number first."""
    names = [path.name.removesuffix(_INDEX_SUFFIX) for path in folder.glob(f"*{_INDEX_SUFFIX}")]
    numbered = [name for name in names if re.fullmatch(r"[^.].*-\d+", name)]
    return sorted(numbered, key=lambda name: (int(name.rpartition("-")[2]), name))
