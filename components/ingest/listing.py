"""What can be known of a source before an image is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from slimworks.components.contracts import LABEL_MAP_FILE, LabelMap
from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.ingest import evidence, spans
from slimworks.components.ingest.catalogue import CATALOGUE_FILE, open_catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import Source, SourceItem
from slimworks.components.ingest.sources.names import class_name_of


def require_outside(output: str, source: str) -> None:
    """Raises ConfigError for an output among the photos: later it would be taken for a class."""
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(source)):
        raise ConfigError(
            f"The output folder {output} lies in the data source {source}.",
            "Give another one: nothing is ever written among your photos.",
        )


class Exclusion:
    """The excluded classes, by any name that a rename gave or took.

    Args:
        config: `exclude_classes`, `rename_classes`.
        label_map: That of the last ingest, which remembers renames.
    """

    def __init__(self, config: DataConfig, label_map: LabelMap) -> None:
        self._names = [class_name_of(name) for name in config.exclude_classes]
        self._renames = {
            class_name_of(old): class_name_of(new) for old, new in config.rename_classes.items()
        }
        self._label_map = label_map
        self._covered: dict[str, bool] = {}

    def covers(self, class_name: str) -> bool:
        """Whether images of this class, as the source calls it, are left out."""
        if class_name not in self._covered:
            self._covered[class_name] = any(self._is_same(n, class_name) for n in self._names)
        return self._covered[class_name]

    def require_known(self, class_names: Iterable[str]) -> None:
        """Raises ConfigError for an excluded name that covers none of the source's classes."""
        known = sorted(class_names)
        for name in self._names:
            if not any(self._is_same(name, other) for other in known):
                raise ConfigError(
                    f"data.exclude_classes names {name!r}, which is no class."
                    f"{nearest(name, known)}",
                    f"Known classes: {', '.join(known)}.",
                )

    def _is_same(self, name: str, other: str) -> bool:
        return name == other or self._renamed(name) == self._renamed(other)

    def _renamed(self, name: str) -> str:
        """The newest name. A merge is no rename: one part of a class can be left out."""
        for index, current in enumerate(self._label_map.class_names):
            if name != current and self._label_map.has_meant(index, name):
                name = current
                break
        return self._renames.get(name, name)


def list_items(
    source: Source, config: DataConfig, sizes: Counter[str], label_map: LabelMap
) -> Iterator[SourceItem]:
    """Yields the items of the classes in use, and counts them by class name.

    Args:
        source: What is listed.
        config: The `data` section.
        sizes: Where the counts go.
        label_map: That of the last ingest.

    Raises:
        ConfigError: An excluded class is unknown.
    """
    exclusion = Exclusion(config, label_map)
    excluded: set[str] = set()
    for item in source.items():
        if exclusion.covers(item.class_name):
            excluded.add(item.class_name)
            continue
        sizes[item.class_name] += 1
        yield item
    exclusion.require_known({*sizes, *excluded})


def label_map_of(
    source: Source,
    sizes: Iterable[str],
    config: DataConfig,
    previous: LabelMap,
    span: int | None = None,
) -> LabelMap:
    """The label map with what the listing and the config add.

    What is declared of a class that was left out from the first waits until it is let in.

    Args:
        source: What was listed.
        sizes: Class names in use.
        config: The `data` section.
        previous: The label map of the last ingest.
        span: Noted in the history of what changes.

    Raises:
        ConfigError: A declared change names no class, or contradicts another or the history.
        DataError: A class name does not fit on a line of labels.txt.
    """
    exclusion = Exclusion(config, previous)

    def in_use(declared: Mapping[str, str]) -> dict[str, str]:
        return {
            name: new
            for name, new in declared.items()
            if _is_known(previous, name) or not exclusion.covers(class_name_of(name))
        }

    renames, merges = in_use(config.rename_classes), in_use(config.merge_classes)
    return previous.updated(sizes, source.declared_classes, renames, merges, span)


def _is_known(label_map: LabelMap, name: str) -> bool:
    try:
        label_map.index_of(name)
    except KeyError:
        return False
    return True


def require_usable_listing(
    source: Source, sizes: Counter[str], config: DataConfig, label_map: LabelMap
) -> None:
    """Raises DataError for what can be known without opening an image.

    Args:
        source: What was listed.
        sizes: Number of files by class name, as the source says it.
        config: The `data` section.
        label_map: Holds every class, with all renames and merges done.
    """
    if not sizes:
        raise DataError(
            f"The data source {source.location} holds no labelled image.",
            "Give images with a class: docs/data.md shows every format.",
        )
    final: Counter[str] = Counter()
    for name, count in sizes.items():
        final[label_map.class_name_of(name)] += count
    if len(final) < 2:
        merged = f", once {', '.join(map(repr, sorted(sizes)))} are one" if len(sizes) > 1 else ""
        raise DataError(
            f"{source.location} holds one class only, {min(final)!r}{merged}: a classifier needs "
            "at least two.",
            "Add images of another class.",
        )
    evidence.require_class_sizes(final, config.min_images_per_class, source.location)


def check_source(source: str, config: DataConfig, own_folders: Sequence[str] = ()) -> Source:
    """Looks at a source as far as that takes no time, to fail before anything slow begins.

    Args:
        source: As `data.source`.
        config: The `data` section.
        own_folders: What SlimWorks writes to: no classes. The state folder among them knows of
            earlier renames and merges.

    Raises:
        ConfigError: The source does not exist, or the settings do not fit it.
        DataError: The source cannot be used.
    """
    opened = open_source(source, config, own_folders)
    if opened.format in ("folders", "split_folders") and os.path.isdir(opened.location):
        previous = _label_map_in(own_folders)
        sizes: Counter[str] = Counter()
        for _ in list_items(opened, config, sizes, previous):
            pass
        label_map = label_map_of(opened, sizes, config, previous)
        require_usable_listing(opened, sizes, config, label_map)
    return opened


def _label_map_in(folders: Iterable[str]) -> LabelMap:
    for folder in folders:
        if os.path.exists(os.path.join(folder, CATALOGUE_FILE)):
            with open_catalogue(folder) as catalogue:
                return spans.previous_label_map(catalogue)
        if os.path.exists(os.path.join(folder, LABEL_MAP_FILE)):  # a catalogue that was deleted
            return LabelMap.read(folder)
    return LabelMap()
