"""Zip and tar archives with class folders or split folders inside; read in place, never extracted.

Folders around the class folders (`flower_photos/roses/1.jpg`) are found by what all images have in
common, for each archive on its own. An archive with the images of one class only gives that class.
Archives named train.zip, val.zip, test.zip give splits.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources import classes, contents, names
from slimworks.components.ingest.sources.archive_members import Member, list_members
from slimworks.components.ingest.sources.items import (
    SourceItem,
    SourceNotes,
    SourceUnit,
    display_name,
)
from slimworks.components.ingest.sources.opening import unit_of_file
from slimworks.components.ingest.sources.seen import SeenNames, seen_names
from slimworks.components.ingest.sources.unpacking import cache_folder, unpacked


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """How an archive is laid out.

    Attributes:
        root: Folders around the class folders, or around the split folders.
        is_split: Whether the folders in `root` are splits.
    """

    root: tuple[str, ...]
    is_split: bool


class ArchiveSource:
    """One or more archives."""

    format = "archive"
    images_are_files = False

    def __init__(self, location: str, archives: Sequence[str], config: DataConfig) -> None:
        """Opens nothing yet.

        Args:
            location: The file or folder that the user gave.
            archives: Paths or URIs of the archives.
            config: The `data` section.
        """
        self.location = location
        self.declared_classes: tuple[str, ...] = ()
        self.notes = SourceNotes()
        self._archives = archives
        self._cache = cache_folder(config.download_dir)

    def containers(self) -> Iterator[SourceUnit]:
        """The archives."""
        return map(unit_of_file, self._archives)

    def items(self) -> Iterator[SourceItem]:
        """Yields the images of one archive after the other, in the order of their members."""
        self.notes.clear()
        sizes: Counter[str] = Counter()
        manifests: list[str] = []
        with seen_names() as seen:
            for archive in self._archives:
                for item in self._items_of(archive, seen, manifests):
                    sizes[item.class_name] += 1
                    yield item
        self.notes.warn_of_ignored("outside of class folders")
        shown = display_name(self.location)
        if len(sizes) < 2 and manifests:
            raise _manifest_inside(shown, manifests[0])
        classes.require_two(
            sizes, shown, self.notes, "class folder with files in it",
            "Pack one folder for each class, such as cats/1.jpg and dogs/1.jpg.",
        )  # fmt: skip

    def _items_of(
        self, archive: str, seen: SeenNames, manifests: list[str]
    ) -> Iterator[SourceItem]:
        readable = unpacked(archive, self._cache)
        container = unit_of_file(archive).version
        file = archive.rpartition("/")[2]
        arrangement = find_arrangement(list_members(readable, archive), archive)
        own_split = None if arrangement.is_split else _split_of_archive(self._archives, file)
        pending = names.without_sidecars(
            lambda: list_members(readable, archive), lambda member: "/".join(member.parts)
        )
        for number, member in enumerate(pending, 1):
            name = "/".join((file, *member.parts))
            placed = place(member.parts, arrangement)
            if placed is None:
                self.notes.ignore(name)
                if contents.is_manifest_name(name):
                    manifests.append(name)
                continue
            class_name, split = placed
            yield SourceItem(
                seen.unique(name, number), _class_name(class_name, archive), readable, member.kind,
                member.key, member.size, member.version or container, member.is_regular,
                split or own_split,
            )  # fmt: skip


def _split_of_archive(archives: Sequence[str], file: str) -> str | None:
    """Split that an archive's name says, where the names of all say one."""
    stems = [path.rpartition("/")[2].partition(".")[0] for path in archives]
    if len(stems) < 2 or not all(map(names.split_word, stems)):
        return None
    return names.split_word(file.partition(".")[0])


def find_arrangement(members: Iterable[Member], archive: str) -> Arrangement:
    """Finds the class folders by the folders that all images have in common.

    Raises:
        ConfigError: Folders named after splits lie beside others.
    """
    images, others = _CommonFolder(), _CommonFolder()
    for member in members:
        is_image = names.is_image_name(member.parts[-1])
        (images if is_image else others).add(member.parts[:-1])
    found = images if images.folder is not None else others
    folder, children = found.folder or (), found.children
    if folder and found.has_files and len(children) < 2:  # they are folders in a class
        folder, children = folder[:-1], {folder[-1]}
    words = {name for name in children if names.split_word(name)}
    if words and words != children:
        raise _mixed(archive, words, children - words)
    if words:
        return Arrangement(folder, is_split=True)
    if folder and names.split_word(folder[-1]):  # an archive of one split
        return Arrangement(folder[:-1], is_split=True)
    return Arrangement(folder, is_split=False)


class _CommonFolder:
    """Longest path that all added folders start with, and the names that follow it."""

    def __init__(self) -> None:
        self.folder: tuple[str, ...] | None = None
        self.children: set[str] = set()
        self.has_files = False  # directly in it

    def add(self, folder: tuple[str, ...]) -> None:
        """Adds the folder of one file."""
        if self.folder is None:
            self.folder = folder
        elif folder[: len(self.folder)] != self.folder:
            pairs = zip(self.folder, folder, strict=False)
            depth = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
            # All that was added before goes on with the part that is no longer common.
            self.folder, self.children = self.folder[:depth], {self.folder[depth]}
            self.has_files = False
        rest = folder[len(self.folder) :]
        self.children.update(rest[:1])
        self.has_files |= not rest


def place(parts: tuple[str, ...], arrangement: Arrangement) -> tuple[str, str | None] | None:
    """Class and split of a member; None where it lies outside of the class folders."""
    depth = len(arrangement.root)
    if parts[:depth] != arrangement.root or len(parts) == depth:
        return None
    split = None
    if arrangement.is_split:
        split = names.split_word(parts[depth])
        depth += 1
        if split is None:
            return None
    return (parts[depth], split) if len(parts) > depth + 1 else None


def _class_name(folder: str, archive: str) -> str:
    name = names.class_name_of(folder)
    if names.has_control_character(name):
        raise DataError(
            f"The class folder {name!r} in {display_name(archive)} has a control character in its "
            "name.",
            "Rename the folder and pack it again: labels.txt holds one class name a line.",
        )
    return name


def _mixed(archive: str, words: set[str], others: set[str]) -> ConfigError:
    splits, rest = (classes.named(map(display_name, sorted(found))) for found in (words, others))
    return ConfigError(
        f"{display_name(archive)} holds {splits} beside {rest}: they could be splits or classes.",
        "Unpack it and give the folder, with --set data.format=folders where all are classes.",
    )


def _manifest_inside(shown: str, manifest: str) -> DataError:
    return DataError(
        f"{shown} holds a manifest ({display_name(manifest)}): it is not read inside an archive.",
        "Unpack the archive and give the manifest: --data FOLDER/labels.csv",
    )
