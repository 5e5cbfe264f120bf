"""Walking local folders one entry at a time: memory does not grow with the number of files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

from slimworks.components.ingest.sources import names
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.sources.opening import unreadable


def scan(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yields the entries of one folder, less hidden and system files.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not names.is_left_out(entry.name):
                    yield entry
    except OSError as error:
        raise unreadable(folder, error) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:
        return False


@dataclasses.dataclass
class _Level:
    """One folder on the way down."""

    entries: Iterator[os.DirEntry[str]]
    prefix: str  # of the names of what lies in it
    real: str


def _open_level(folder: str, prefix: str, real: str) -> _Level:
    return _Level(names.without_sidecars(lambda: scan(folder), _name), prefix, real)


def _name(entry: os.DirEntry[str]) -> str:
    # A folder is nobody's sidecar: the slash leaves its name without a suffix.
    return f"{entry.name}/" if is_folder(entry) else entry.name


def walk(
    folder: str, prefix: str, class_name: str, split: str | None, root: str
) -> Iterator[SourceItem]:
    """Yields the files below a class folder as items; follows links, but not back up.

    Args:
        folder: Absolute path of the class folder.
        prefix: Its own name, which the items' names start with.
        class_name: Class of every file.
        split: Split of every file where the user decided it.
        root: Real path of the source.
    """
    levels = [_open_level(folder, prefix, os.path.realpath(folder))]
    if _leads_up(levels[0].real, [root]):
        return
    while levels:
        level = levels[-1]
        entry = next(level.entries, None)
        if entry is None:
            levels.pop()
            continue
        name = f"{level.prefix}/{entry.name}"
        if not is_folder(entry):
            yield _item(entry, name, class_name, split)
            continue
        real = os.path.join(level.real, entry.name)
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if _leads_up(real, [root, *(above.real for above in levels)]):
                continue  # following it would never end
        levels.append(_open_level(entry.path, name, real))


def _leads_up(real: str, above: Sequence[str]) -> bool:
    """Whether a folder is one of those above, or holds one."""
    return any(path == real or path.startswith(real.rstrip("/") + "/") for path in above)


def _item(entry: os.DirEntry[str], name: str, class_name: str, split: str | None) -> SourceItem:
    try:
        status = entry.stat()
    except PermissionError as error:
        if not entry.is_symlink():  # its folder may be listed, but not entered
            raise unreadable(os.path.dirname(entry.path), error) from error
        return SourceItem(name, class_name, entry.path, is_regular=False, split=split)
    except OSError:  # a link to nothing, or a file deleted a moment ago: named by the image check
        return SourceItem(name, class_name, entry.path, is_regular=False, split=split)
    return SourceItem(
        name, class_name, entry.path, size=status.st_size, version=str(status.st_mtime_ns),
        is_regular=entry.is_file(), split=split,
    )  # fmt: skip


def real_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths without links."""
    return tuple(map(os.path.realpath, paths))


def holds_any(folder: str, real: Sequence[str]) -> bool:
    """Whether one of some real paths lies in a folder, or is it."""
    return bool(real) and _leads_up(os.path.realpath(folder), real)
