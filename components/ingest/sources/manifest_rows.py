"""One row of a manifest: which image, which class, which split; or why it cannot be used."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
from collections.abc import Mapping

from slimworks.components.addresses import holds_account
from slimworks.components.ingest.sources import names
from slimworks.components.ingest.sources.columns import Columns
from slimworks.components.ingest.sources.items import REMOTE_SCHEMES, is_uri
from slimworks.components.ingest.sources.tables import Row

_INDEX = re.compile(r"(\d{1,9})(\.0+)?")  # tables with gaps write whole numbers as 3.0


@dataclasses.dataclass(frozen=True)
class Rules:
    """How rows are read.

    Attributes:
        columns: Which column holds what.
        root: Absolute path or URI that relative paths start from, no "/" at the end.
        labels: Class names by index where the classes are numbers, else None.
    """

    columns: Columns
    root: str
    labels: Mapping[int, str] | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One usable row. `location`: absolute path or URI; `name`: relative to the root, if below."""

    number: int
    name: str
    location: str
    class_name: str
    split: str | None
    group: str | None
    slices: Mapping[str, str]


class UnusableRowError(Exception):
    """Says why a row cannot be used, in a few words that follow "line 3 has"."""


def entry_of(row: Row, rules: Rules) -> Entry:
    """Reads one row.

    Raises:
        UnusableRowError: It names no image, no class, or a split that is none.
    """
    if row.fault:
        raise UnusableRowError(row.fault)
    columns, values = rules.columns, row.values
    path = values.get(columns.path)
    if not path:
        raise UnusableRowError("no path")
    if holds_account(path):
        raise UnusableRowError("an account ('user:password@') in its path")
    name, location = locate(path, rules.root)
    group = values.get(columns.group) if columns.group else None
    return Entry(
        number=row.number,
        name=name,
        location=location,
        class_name=_class_name(values.get(columns.class_name), rules.labels),
        split=_split(values.get(columns.split)) if columns.split else None,
        group=names.printable(group) if group else None,
        slices={key: names.printable(text) for key in columns.slices if (text := values.get(key))},
    )


def _class_name(text: str | None, labels: Mapping[int, str] | None) -> str:
    if not text:
        raise UnusableRowError("no class")
    name = names.class_name_of(text)
    if names.has_control_character(name):
        raise UnusableRowError(f"the class {name!r} with a control character")
    if labels is None or name in labels.values():
        return name
    index = _INDEX.fullmatch(name)
    if index is None or int(index[1]) not in labels:
        raise UnusableRowError(f"the class {name!r}, which data.labels_file does not have")
    return labels[int(index[1])]


def _split(text: str | None) -> str | None:
    if not text:
        return None
    split = names.split_word(text)
    if split is None:
        raise UnusableRowError(f"the split {text!r} (known: {', '.join(names.SPLIT_WORDS)})")
    return split


def locate(path: str, root: str) -> tuple[str, str]:
    """Name and absolute path or URI of an image that a row names.

    Raises:
        UnusableRowError: No file can have this name, or its file system is unknown.
    """
    try:
        if b"\0" in os.fsencode(path):
            raise UnusableRowError("a path with a zero byte")
    except UnicodeEncodeError:
        raise UnusableRowError("a path that no file can have") from None
    path = path.removeprefix("file://")
    scheme = path.partition("://")[0]
    if is_uri(path) and scheme not in REMOTE_SCHEMES:
        raise UnusableRowError(f"{scheme}://, which is no file system: download the images first")
    location = path if is_uri(path) or path.startswith("/") else f"{root}/{path}"
    location = _normal(location)
    return location.removeprefix(f"{root}/"), location


def _normal(location: str) -> str:
    """Resolves "." and ".."; on an object store, "//" is part of a name."""
    scheme, mark, rest = location.rpartition("://")
    if mark and not {".", ".."} & set(rest.split("/")):
        return location
    return scheme + mark + posixpath.normpath(rest)
