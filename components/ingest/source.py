"""Walking class folders: which files belong to which class, and what is left out.

Rules. The class of a file is the first folder below the source; folders below that belong to the
same class. Left out silently: names that start with a dot and what systems leave behind
(`SYSTEM_NAMES`), and sidecars: a file with one of `SIDECAR_SUFFIXES` next to an image of the same
stem (`a.xmp` or `a.jpg.json` beside `a.jpg`). Files directly in the source have no class and are
reported. Everything else is offered to the image check, which names what it sets aside.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.examples.image_formats import READ_SUFFIXES

SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r", "lost+found"}
)
SIDECAR_SUFFIXES = frozenset({".xmp", ".xml", ".json", ".txt", ".csv", ".aae", ".thm"})
# Those that cannot be read count as images too: they are rejected by name, not passed over.
IMAGE_SUFFIXES = READ_SUFFIXES | (
    {".avif", ".heic", ".heif", ".ico", ".psd", ".svg", ".jxl", ".eps", ".pdf"}
)
_SPLIT_WORDS = frozenset(
    {"train", "training", "val", "valid", "validation", "eval", "test", "testing"}
)
_ARRANGE = "Put the images of each class into a folder of their own, such as {source}/cats/1.jpg."


@dataclasses.dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as the file system tells it, unopened.

    Attributes:
        path: Relative to the source, as the system spells it (undecodable bytes as surrogates).
        class_name: Name of the class folder, in Unicode's composed form.
        size: Bytes; -1 where the file cannot be looked at.
        mtime_ns: Time of the last change, nanoseconds.
        is_regular: False for a broken link, a pipe, a socket or a device.
    """

    path: str
    class_name: str
    size: int
    mtime_ns: int
    is_regular: bool = True


@dataclasses.dataclass(frozen=True)
class SourceListing:
    """What a source holds. `digest` changes with any file's name, size or time of change."""

    class_names: tuple[str, ...]
    files: tuple[SourceFile, ...]
    digest: str
    ignored: tuple[str, ...]  # files without a class
    warnings: tuple[str, ...]

    @property
    def class_sizes(self) -> Counter[str]:
        """Number of files by class name."""
        return Counter(file.class_name for file in self.files)


def display_name(path: str) -> str:
    r"""Printable form of a path: undecodable bytes become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _sidecars(names: Iterable[str]) -> set[str]:
    names = list(names)
    images = {name for name in names if _is_image_name(name)}
    owners = images | {os.path.splitext(name)[0] for name in images}
    return {
        name
        for name in names
        if os.path.splitext(name)[1].lower() in SIDECAR_SUFFIXES
        and os.path.splitext(name)[0] in owners
    }


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not _is_left_out(entry.name)]
    except OSError as error:
        raise DataError(
            f"{display_name(folder)} cannot be read: {error.strerror}.",
            f"Make it readable: chmod u+rx '{display_name(folder)}'"
            if isinstance(error, PermissionError)
            else "Check the disk or the network share that it is on, then run again.",
        ) from error
    return sorted(kept, key=lambda entry: os.fsencode(entry.name))


def _describe(entry: os.DirEntry[str], source: str, class_name: str) -> SourceFile:
    path = os.path.relpath(entry.path, source)
    try:
        status = entry.stat()
    except OSError:  # a link to nothing, or a file deleted a moment ago: named by the image check
        return SourceFile(path, class_name, -1, 0, is_regular=False)
    return SourceFile(path, class_name, status.st_size, status.st_mtime_ns, entry.is_file())


def _walk(folder: str, source: str, class_name: str, above: frozenset[str]) -> Iterator[SourceFile]:
    """Yields the files below `folder`; `above` holds the real paths on the way down."""
    real = os.path.realpath(folder)
    if real in above:
        return  # a link back up: following it would never end
    entries = _scan(folder)
    sidecars = _sidecars(entry.name for entry in entries)
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, source, class_name, above | {real})
        elif entry.name not in sidecars:
            yield _describe(entry, source, class_name)


def _class_name(entry: os.DirEntry[str]) -> str:
    name = unicodedata.normalize("NFC", display_name(entry.name))
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise DataError(
            f"The class folder {name!r} has a control character in its name.",
            "Rename the folder: labels.txt holds one class name a line.",
        )
    return name


def _holds(folder: str, paths: Sequence[str]) -> bool:
    real = os.path.realpath(folder)
    return any(os.path.commonpath([real, os.path.realpath(path)]) == real for path in paths)


def _class_folders(
    source: str, own_folders: Sequence[str], warnings: list[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns (class name, path) of each class folder, and the files beside them."""
    folders, loose_files = [], []
    for entry in _scan(source):
        if not entry.is_dir():
            loose_files.append(display_name(entry.name))
        elif _holds(entry.path, own_folders):
            warnings.append(
                f"The folder {display_name(entry.name)!r} holds SlimWorks' own files: it is not "
                "taken for a class."
            )
        else:
            folders.append((_class_name(entry), entry.path))
    if loose_files:
        warnings.append(f"{len(loose_files)} files outside of class folders are ignored.")
    return folders, loose_files


def _digest(files: Iterable[SourceFile]) -> str:
    digest = hashlib.sha256()
    for file in files:
        name = file.path.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s %d %d\n" % (len(name), name, file.size, file.mtime_ns))
    return digest.hexdigest()


def _require_source(source: str) -> None:
    if os.path.isdir(source):
        return
    if os.path.exists(source):
        raise ConfigError(
            f"The data source {source} is a file, not a folder.",
            "Give the folder that holds one folder per class: --data DIR",
        )
    parent = Path(source).absolute().parent
    siblings = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    raise ConfigError(
        f"The data source {source} does not exist.{nearest(Path(source).name, siblings)}",
        "Give the folder that holds one folder per class: --data DIR",
    )


def _require_classes(source: str, sizes: Counter[str], loose_files: Sequence[str]) -> None:
    arrange = _ARRANGE.format(source=source)
    if not sizes and not loose_files:
        raise DataError(f"The data source {source} is empty.", arrange)
    if not sizes:
        raise DataError(
            f"The data source {source} has {len(loose_files)} files but no class folder with files "
            "in it.",
            arrange,
        )
    if len(sizes) == 1:
        raise _single_class(source, next(iter(sizes)), arrange)
    if {name.lower() for name in sizes} <= _SPLIT_WORDS:
        names = ", ".join(sorted(sizes))
        raise DataError(
            f"{source} is split already ({names}): these would be taken for classes.",
            f"Give one of them, such as --data {source}/{min(sizes)}; the split is made anew.",
        )


def _single_class(source: str, name: str, arrange: str) -> DataError:
    inner = os.path.join(source, name)
    has_folders = os.path.isdir(inner) and any(entry.is_dir() for entry in _scan(inner))
    hint = f"If the classes are the folders inside it, give --data '{inner}'" if has_folders else ""
    return DataError(
        f"{source} holds one class only, {name!r}: a classifier needs at least two.",
        hint or arrange,
    )


def _require_known(names: Iterable[str], known: Iterable[str]) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"data.exclude_classes names {name!r}, which is no class folder."
                f"{nearest(name, known)}",
                f"Known classes: {', '.join(known)}.",
            )


def list_source(
    source: str, *, exclude_classes: Sequence[str] = (), own_folders: Sequence[str] = ()
) -> SourceListing:
    """Lists the files of every class, sorted by path, without opening one.

    Args:
        source: Folder that holds one folder per class.
        exclude_classes: Class names to leave out.
        own_folders: Folders that SlimWorks writes to: a first-level folder that holds one of them
            is not a class, so that a run root inside the data does no harm.

    Raises:
        ConfigError: The source does not exist or is no folder; an excluded class is unknown.
        DataError: No file, no class folder, fewer than two classes, or an unreadable folder.
    """
    _require_source(source)
    warnings: list[str] = []
    folders, loose_files = _class_folders(source, own_folders, warnings)
    _require_known(exclude_classes, {name for name, _ in folders})
    files: list[SourceFile] = []
    for name, folder in folders:
        if name in exclude_classes:
            continue
        found = list(_walk(folder, source, name, frozenset({os.path.realpath(source)})))
        if not found:
            warnings.append(f"The folder {name!r} is empty: it is not taken for a class.")
        files.extend(found)
    files.sort(key=lambda file: os.fsencode(file.path))
    sizes = Counter(file.class_name for file in files)
    _require_classes(source, sizes, loose_files)
    return SourceListing(
        tuple(sorted(sizes)), tuple(files), _digest(files), tuple(loose_files), tuple(warnings)
    )


def require_class_sizes(sizes: Counter[str], minimum: int, source: str) -> None:
    """Raises DataError where a class has fewer than `minimum` images; names the smallest."""
    small = sorted((count, name) for name, count in sizes.items() if count < minimum)
    if not small:
        return
    count, name = small[0]
    others = f" ({len(small) - 1} more classes are too small)" if len(small) > 1 else ""
    raise DataError(
        f"The class {name!r} has {count} usable image{'s' * (count != 1)}, fewer than "
        f"data.min_images_per_class = {minimum}{others}.",
        f"Add {minimum - count} or more photos to '{os.path.join(source, name)}', or leave the "
        f"class out: --set 'data.exclude_classes=[\"{name}\"]'",
    )
