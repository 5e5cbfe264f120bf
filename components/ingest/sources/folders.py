"""Class folders, and class folders inside train, val and test folders; local or remote.

Rules. The class of a file is the first folder below the source (below the split folder, where the
source is split); folders below that belong to the same class. Left out silently: names that start
with a dot, what systems leave behind (`names.SYSTEM_NAMES`), and sidecars: a file with one of
`names.SIDECAR_SUFFIXES` next to an image of the same stem. Files outside of class folders have no
class and are reported. Everything else is offered to the image check, which names what it sets
aside.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.sources import classes, names, walking
from slimworks.components.ingest.sources.items import (
    SourceItem,
    SourceNotes,
    SourceUnit,
    display_name,
    is_uri,
    quoted_name,
)
from slimworks.components.ingest.storage import access


def arrange_fix(location: str) -> str:
    """What to type where images are not in class folders."""
    example = f"{location}/cats/1.jpg"
    return f"Put the images of each class into a folder of their own, such as {example}."


class FolderSource:
    """One folder for each class; with `is_split`, inside one folder for each split."""

    images_are_files = True

    def __init__(
        self,
        location: str,
        own_folders: Sequence[str] = (),
        *,
        is_split: bool = False,
    ) -> None:
        """Opens nothing yet.

        Args:
            location: Absolute path or URI of the folder.
            own_folders: Folders that SlimWorks writes to: a folder that holds one of them is no
                class, so that a run root inside the data does no harm.
            is_split: Whether the first folders are splits.
        """
        self.location = location
        self.format = "split_folders" if is_split else "folders"
        self.declared_classes: tuple[str, ...] = ()
        self.notes = SourceNotes()
        self._own_folders = walking.real_paths(own_folders)
        self._is_split = is_split

    def containers(self) -> Iterator[SourceUnit]:
        """None."""
        return iter(())

    def items(self) -> Iterator[SourceItem]:
        """Yields the images of one class after the other (remote: as the store lists them)."""
        self.notes.clear()
        sizes: Counter[str] = Counter()
        seen: dict[str | None, set[str]] = {}
        found = self._remote() if is_uri(self.location) else self._local()
        for item in found:
            sizes[item.class_name] += 1
            seen.setdefault(item.split, set()).add(item.class_name)
            yield item
        self.notes.warn_of_ignored("outside of class folders")
        self._require_classes(sizes)
        self._compare_splits(seen)

    def _local(self) -> Iterator[SourceItem]:
        root = os.path.realpath(self.location)
        for prefix, folder, class_name, split in self._class_folders():
            is_empty = True
            for item in walking.walk(folder, prefix, class_name, split, root):
                is_empty = False
                yield item
            if is_empty:
                self.notes.warnings.append(
                    f"The folder {display_name(prefix)!r} is empty: it is not taken for a class."
                )

    def _class_folders(self) -> Iterator[tuple[str, str, str, str | None]]:
        """Yields name, path, class and split of each class folder, sorted by name."""
        if not self._is_split:
            for entry in self._folders_in(self.location):
                yield entry.name, entry.path, _class_name(entry.name), None
            return
        for outer in self._folders_in(self.location, is_outer=True):
            split = names.split_word(outer.name)
            if split is None:
                raise _no_split_folder(self.location, outer.name)
            for entry in self._folders_in(outer.path):
                yield f"{outer.name}/{entry.name}", entry.path, _class_name(entry.name), split

    def _folders_in(self, folder: str, *, is_outer: bool = False) -> list[os.DirEntry[str]]:
        folders = []
        for entry in walking.scan(folder):
            if not walking.is_folder(entry):
                self.notes.ignore(os.path.relpath(entry.path, self.location))
            elif walking.holds_any(entry.path, () if is_outer else self._own_folders):
                self.notes.warnings.append(
                    f"The folder {display_name(entry.name)!r} holds SlimWorks' own files: it is "
                    "not taken for a class."
                )
            else:
                folders.append(entry)
        return sorted(folders, key=lambda entry: os.fsencode(entry.name))

    def _remote(self) -> Iterator[SourceItem]:
        files = names.without_sidecars(lambda: _visible(self.location), lambda file: file.name)
        for file in files:
            above, *rest = file.name.split("/")
            split = names.split_word(above) if self._is_split else None
            if self._is_split and rest:
                if split is None:
                    raise _no_split_folder(self.location, above)
                above, *rest = rest
            if not rest:
                self.notes.ignore(file.name)
                continue
            yield SourceItem(
                file.name, _class_name(above), file.path, size=file.size, version=file.version,
                split=split,
            )  # fmt: skip

    def _require_classes(self, sizes: Counter[str]) -> None:
        fix = arrange_fix(self.location)
        if len(sizes) == 1:
            fix = f"Add a folder with the images of another class beside {next(iter(sizes))!r}."
            inner = f"{self.location}/{next(iter(sizes))}"
            if not self._is_split and _holds_folders(inner):
                fix = f"If the classes are the folders inside it, give --data {quoted_name(inner)}"
        classes.require_two(sizes, self.location, self.notes, "class folder with files in it", fix)

    def _compare_splits(self, seen: dict[str | None, set[str]]) -> None:
        everywhere = set().union(*seen.values())
        for split, found in seen.items():
            missing = sorted(everywhere - found)
            if missing:
                self.notes.warnings.append(
                    f"The {split} folder has no images of: {classes.named(missing)}."
                )


def _visible(location: str) -> Iterator[access.FoundFile]:
    for file in access.walk_files(location):
        if not any(names.is_left_out(part) for part in file.name.split("/")):
            yield file


def _class_name(folder: str) -> str:
    name = names.class_name_of(folder)
    if names.has_control_character(name):
        raise DataError(
            f"The class folder {name!r} has a control character in its name.",
            "Rename the folder: labels.txt holds one class name a line.",
        )
    return name


def _holds_folders(folder: str) -> bool:
    if is_uri(folder):
        return any(is_folder for _, is_folder in access.list_names(folder))
    return os.path.isdir(folder) and any(map(walking.is_folder, walking.scan(folder)))


def _no_split_folder(location: str, name: str) -> ConfigError:
    known = ", ".join(names.SPLIT_WORDS)
    return ConfigError(
        f"{location} holds the folder {display_name(name)!r}, which is no split (known: {known}).",
        "Move or rename it, or take every folder for a class: --set data.format=folders",
    )
