"""What can be known of a source before an image is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.ingest import evidence
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import Source, SourceItem


def require_outside(output: str, source: str) -> None:
    """Raises ConfigError for an output among the photos: later it would be taken for a class."""
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(source)):
        raise ConfigError(
            f"The output folder {output} lies in the data source {source}.",
            "Give another one: nothing is ever written among your photos.",
        )


def list_items(source: Source, config: DataConfig, sizes: Counter[str]) -> Iterator[SourceItem]:
    """Yields the items of the classes in use, and counts them by class name.

    Raises:
        ConfigError: An excluded class is unknown.
    """
    excluded = dict.fromkeys(config.exclude_classes, 0)
    for item in source.items():
        if item.class_name in excluded:
            excluded[item.class_name] += 1
            continue
        sizes[item.class_name] += 1
        yield item
    known = sorted({*sizes, *(name for name, count in excluded.items() if count)})
    for name, count in excluded.items():
        if not count:
            raise ConfigError(
                f"data.exclude_classes names {name!r}, which is no class.{nearest(name, known)}",
                f"Known classes: {', '.join(known)}.",
            )


def require_usable_listing(source: Source, sizes: Counter[str], config: DataConfig) -> None:
    """Raises DataError for what can be known without opening an image."""
    if not sizes:
        raise DataError(
            f"The data source {source.location} holds no labelled image.",
            "Give images with a class: docs/data.md shows every format.",
        )
    merged = {config.merge_classes.get(name, name) for name in sizes}
    if len(merged) < 2:
        raise DataError(
            f"{source.location} holds one class only, {min(sizes)!r}: a classifier needs at least "
            "two.",
            "Add images of another class.",
        )
    if not config.merge_classes and not config.rename_classes:
        evidence.require_class_sizes(sizes, config.min_images_per_class, source.location)


def check_source(source: str, config: DataConfig, own_folders: Sequence[str] = ()) -> Source:
    """Looks at a source as far as that takes no time, to fail before anything slow begins.

    Raises:
        ConfigError: The source does not exist, or the settings do not fit it.
        DataError: The source cannot be used.
    """
    opened = open_source(source, config, own_folders)
    if opened.format in ("folders", "split_folders") and os.path.isdir(opened.location):
        sizes: Counter[str] = Counter()
        for _ in list_items(opened, config, sizes):
            pass
        require_usable_listing(opened, sizes, config)
    return opened
