"""Sources made in a moment: what matters to a listing are names, not pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from slimworks.components.errors import SlimWorksError
from slimworks.components.examples import tfrecord
from slimworks.components.examples.messages import Example
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import Source, SourceItem

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Listed:
    """A source after its items were listed."""

    source: Source
    items: list[SourceItem]

    @property
    def names(self) -> list[str]:
        return sorted(item.name for item in self.items)

    @property
    def classes(self) -> list[str]:
        return sorted({item.class_name for item in self.items})

    @property
    def warnings(self) -> list[str]:
        return self.source.notes.warnings

    def by_name(self, name: str) -> SourceItem:
        return next(item for item in self.items if item.name == name)


def listed(source: Path | str, own_folders: Sequence[str] = (), **settings: object) -> Listed:
    opened = open_source(str(source), DataConfig(**settings), own_folders)
    return Listed(opened, list(opened.items()))


def refused(source: Path | str, error: type[SlimWorksError], **settings: object) -> tuple[str, str]:
    """Cause and fix of the error that listing raises."""
    with pytest.raises(error) as caught:
        listed(source, **settings)
    return caught.value.cause, caught.value.fix


def write_files(folder: Path, *names: str) -> Path:
    """Writes a file of a few bytes under each name; a name that ends with "/" is a folder."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def example(values: Values) -> bytes:
    message = Example()
    for key, value in values.items():
        feature = message.features.feature[key]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                feature.int64_list.value.append(one)
            else:
                feature.bytes_list.value.append(one if isinstance(one, bytes) else one.encode())
    return bytes(message.SerializeToString())


def write_records(path: Path, examples: Sequence[Values]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for values in examples:
            tfrecord.write_record(stream, example(values))
    return path


def slim(index: int, image: bytes = b"jpeg", **more: Any) -> Values:
    """One record as TF-Slim's converters write it."""
    values = {"image/encoded": image, "image/format": "jpg", "image/class/label": index}
    return values | {f"image/{key.replace('__', '/')}": value for key, value in more.items()}
