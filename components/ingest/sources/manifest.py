"""Manifests: a table with one image a row. Rows are streamed; images are found, not opened.

A row that cannot be used (no path, no class, an unknown split word, cells too many) is left out and
named by line; where there are too many of them, the manifest is refused. A row whose file is not
there is an item: the image check rejects it by name. A file that is named again with another class,
group or split becomes another item, so that every group counts and the rules for identical images
decide; with the same ones it counts once.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from slimworks.components.errors import ConfigError, SlimWorksError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources import classes
from slimworks.components.ingest.sources.columns import choose_columns
from slimworks.components.ingest.sources.faults import Faults
from slimworks.components.ingest.sources.items import (
    SourceItem,
    SourceNotes,
    SourceUnit,
    display_name,
    is_uri,
)
from slimworks.components.ingest.sources.labels import read_labels
from slimworks.components.ingest.sources.manifest_rows import (
    Entry,
    Rules,
    UnusableRowError,
    entry_of,
)
from slimworks.components.ingest.sources.opening import unit_of_file
from slimworks.components.ingest.sources.seen import SeenNames, seen_names
from slimworks.components.ingest.sources.tables import open_table
from slimworks.components.ingest.storage import access

# A store answers about one file in some ten milliseconds: one after the other, 100,000 take half
# an hour. Blocks keep memory flat.
_LOOKUP_THREADS = 16
_LOOKUP_BLOCK = 256


def is_usable(path: str, config: DataConfig) -> bool:
    """Whether a table's columns make it a manifest."""
    try:
        choose_columns(open_table(path).columns, config, path)
    except SlimWorksError:
        return False
    return True


class ManifestSource:
    """A CSV, TSV, JSONL or Parquet table of images."""

    format = "manifest"
    images_are_files = True

    def __init__(self, location: str, config: DataConfig) -> None:
        """Reads the names of the columns and the labels file.

        Raises:
            ConfigError: A column is missing, ambiguous or holds no paths.
            DataError: The table cannot be read.
        """
        self.location = location
        self.notes = SourceNotes()
        self._config = config
        labels = read_labels(config.labels_file) if config.labels_file else None
        self.declared_classes: tuple[str, ...] = tuple(labels.values()) if labels else ()
        self._table = open_table(location)
        columns = choose_columns(self._table.columns, config, location)
        if columns.path in self._table.nested:
            raise _pictures_inside(location, columns.path)
        self._rules = Rules(columns, _root(location, config), labels)

    def containers(self) -> Iterator[SourceUnit]:
        """The manifest and its labels file."""
        yield unit_of_file(self.location)
        if self._config.labels_file:
            yield unit_of_file(self._config.labels_file)

    def items(self) -> Iterator[SourceItem]:
        """Yields the images in the order of the rows."""
        self.notes.clear()
        sizes: Counter[str] = Counter()
        with seen_names() as seen:
            for item in _looked_up(self._entries(seen)):
                sizes[item.class_name] += 1
                yield item
        self._require_classes(sizes)
        if self._rules.labels is None:
            self.declared_classes = classes.numeric_order(sizes)

    def _entries(self, seen: SeenNames) -> Iterator[Entry]:
        file = self.location.rpartition("/")[2]
        faults = Faults(self.notes, self.location, "rows")
        num_again = 0
        for row in self._table.rows(self._rules.columns.all()):
            faults.num_looked_at += 1
            try:
                entry = entry_of(row, self._rules)
            except UnusableRowError as error:
                where = f"{self._table.counted_in} {row.number}"
                faults.note(f"{file}:{row.number}", f"{where} has {error}")
                continue
            says = json.dumps([entry.class_name, entry.split, entry.group])
            first = seen.put(entry.name, says)
            if first is None:
                yield entry
            elif says == first or seen.put(f"{entry.name}\0{says}") is not None:
                num_again += 1
            else:
                yield dataclasses.replace(entry, name=seen.unique(entry.name, entry.number))
        faults.conclude(self._config.max_rejected_fraction)
        if num_again:
            rows = "1 row says" if num_again == 1 else f"{num_again} rows say"
            self.notes.warnings.append(
                f"{rows} of a file what an earlier row says (class, group and split): it counts "
                "once, as the earlier row has it."
            )

    def _require_classes(self, sizes: Counter[str]) -> None:
        shown = display_name(self.location)
        column = self._rules.columns.class_name
        classes.require_two(
            sizes, shown, self.notes, "row that names an image and its class",
            f"Name at least two classes in the column {column!r}, one image a row.",
        )  # fmt: skip


def _root(location: str, config: DataConfig) -> str:
    root = config.image_root or location.rpartition("/")[0]
    return root.rstrip("/") if is_uri(root) else os.path.abspath(root)


def _pictures_inside(location: str, column: str) -> ConfigError:
    return ConfigError(
        f"The column {column!r} of {display_name(location)} holds bytes or structures, no paths.",
        "Write the pictures to files and name these, or say which column has paths: "
        "--set data.path_column=NAME",
    )


def _looked_up(entries: Iterable[Entry]) -> Iterator[SourceItem]:
    """Items of the entries, in order, with size and version of each file."""
    with ThreadPoolExecutor(_LOOKUP_THREADS, "lookup") as pool:
        block: list[Entry] = []
        for entry in entries:
            if not is_uri(entry.location):
                yield from _drain(pool, block)
                yield _item(entry)
                continue
            block.append(entry)
            if len(block) >= _LOOKUP_BLOCK:
                yield from _drain(pool, block)
        yield from _drain(pool, block)


def _drain(pool: ThreadPoolExecutor, block: list[Entry]) -> list[SourceItem]:
    found = list(pool.map(_item, block))
    block.clear()
    return found


def _item(entry: Entry) -> SourceItem:
    item = SourceItem(
        entry.name, entry.class_name, entry.location, split=entry.split, group=entry.group,
        slices=entry.slices,
    )  # fmt: skip
    try:
        found = _find(entry.location)
    except OSError:  # named by the image check
        return item
    return item._replace(
        path=found.path, size=found.size, version=found.version, is_regular=found.is_regular
    )


def _find(location: str) -> access.FoundFile:
    try:
        return access.describe_file(location)
    except FileNotFoundError:
        if "\\" not in location or is_uri(location):
            raise
        return access.describe_file(location.replace("\\", "/"))  # written on Windows
