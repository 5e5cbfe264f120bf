"""Folders on their way in and out: below a name that model servers ignore, on the same volume."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger
from slimworks.components.pusher.manifest import MANIFESTS_FOLDER, SAVED_MODEL_FILE

STAGING_FOLDER = "staging"
_VERSION = re.compile(r"[+-]?[0-9]+", re.ASCII)
_MAX_VERSION = 2**63 - 1  # versions are int64 on the wire


def next_version(base_path: Path) -> int:
    """A number above every one on disk (files named by a number count) and in the ledger.

    Raises:
        ConfigError: The largest number is taken.
    """
    return number_above(
        ledger.made_by(ledger.history(base_path)), os.listdir(base_path), str(base_path)
    )


def number_above(versions: Iterable[int], names: Iterable[str], base_path: str) -> int:
    """The lowest number above all versions, and above all names that are numbers.

    Raises:
        ConfigError: The largest number is taken.
    """
    taken = [0, *versions]
    for name in names:
        if _VERSION.fullmatch(name) and int(name) <= _MAX_VERSION:
            taken.append(int(name))
    if max(taken) == _MAX_VERSION:
        raise ConfigError(
            f"{base_path} holds version {_MAX_VERSION}, the largest there is.",
            "Rename that folder to a smaller number.",
        )
    return max(taken) + 1


@contextlib.contextmanager
def staged(
    source: Path,
    base_path: Path,
    transfer: Callable[[Path, Path], None],
    additions: Mapping[str, bytes] = types.MappingProxyType({}),
) -> Iterator[Path]:
    """Yields a durable duplicate of `source` that only has to be renamed; gone if it was not.

    Args:
        source: SavedModel folder.
        base_path: Decides the volume.
        transfer: Makes one file from another: `copy_file` or `link_file`.
        additions: More files by relative name, in place of those of `source`.
    """
    parent = ledger.state_folder(base_path) / STAGING_FOLDER
    parent.mkdir(exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix="in-", dir=parent))
    try:
        target = holder / "model"
        _duplicate(source, target, transfer)
        for name, content in additions.items():
            files.write_bytes(target / name, content)
        files.fsync_tree(target)
        yield target
    finally:
        shutil.rmtree(holder, ignore_errors=True)  # if it cannot be now: the next publisher does


def copy_file(source: Path, target: Path) -> None:
    """Copies content only: an artifact's own mode may keep the server from reading it."""
    shutil.copyfile(source, target)


def link_file(source: Path, target: Path) -> None:
    """Gives a file a second name; copies where the volume has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        copy_file(source, target)


def remove(folder: Path, base_path: Path) -> None:
    """Takes a version out of the servers' sight by one rename, then deletes it."""
    parent = ledger.state_folder(base_path) / STAGING_FOLDER
    parent.mkdir(exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix="out-", dir=parent))
    os.rename(folder, holder / folder.name)
    files.fsync_folder(base_path)
    shutil.rmtree(holder)


def pending_file(base_path: Path) -> Path:
    """The intention of a publisher at work: the ledger line that it is going to write."""
    return ledger.state_folder(base_path) / STAGING_FOLDER / "pending.json"


def manifest_file(base_path: Path, version: int) -> Path:
    """Digests of a version's files."""
    return ledger.state_folder(base_path) / MANIFESTS_FOLDER / f"{version}.json"


def clear(base_path: Path) -> int:
    """Deletes what killed publishers left, but not an intention; returns how many pieces.

    The caller holds the publishing lock.
    """
    pending = pending_file(base_path)
    leftovers = sorted(pending.parent.iterdir()) if pending.parent.is_dir() else []
    leftovers = [path for path in leftovers if path != pending]
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return len(leftovers)


def _duplicate(source: Path, target: Path, transfer: Callable[[Path, Path], None]) -> None:
    target.mkdir()
    last: list[Path] = []
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir():
            (target / relative).mkdir()
        elif relative.as_posix() == SAVED_MODEL_FILE:
            # saved_model.pb goes last: on volumes whose rename is not atomic, TF Serving loads a
            # version as soon as it appears (tensorflow/serving#1086).
            last.append(path)
        else:
            transfer(path, target / relative)
    for path in last:
        transfer(path, target / SAVED_MODEL_FILE)
