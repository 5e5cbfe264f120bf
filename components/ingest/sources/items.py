"""What every source offers, whatever its format: images by name, unopened, and how to get bytes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

REMOTE_SCHEMES = ("gs", "s3", "hdfs")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAMES_TO_KEEP = 20  # of ignored files: enough to recognise them, short enough to read

# How to get an image's bytes from the file that holds it (storage.py has a reader for each).
WHOLE_FILE = "file"
ZIP_MEMBER = "zip"  # key: the member's name
BYTE_RANGE = "range"  # key: "offset:length", of a member of an uncompressed tar
TFRECORD = "tfrecord"  # key: "offset:length" of the serialized tf.train.Example
IDX_IMAGE = "idx"  # key: number of the image in an IDX file (MNIST), gzipped or not
CIFAR10_IMAGE = "cifar10"  # key: "member:number" of the image in cifar-10-binary.tar.gz


class SourceItem(NamedTuple):
    """One image that a source offers, unopened.

    A tuple: one is made for each known file, and a frozen dataclass takes six times as long.

    Attributes:
        name: Its name for people and for the next ingest: unique in the source, "/" between parts,
            as the system spells it (undecodable bytes as surrogates): `roses/1.jpg`,
            `photos.zip/roses/1.jpg`, `train.tfrecord-00000-of-00001#17`.
        class_name: As the source says it, in Unicode's composed form; before renames and merges.
        path: File that holds the bytes: an absolute path or a URI.
        kind: How to get the bytes out of it: one of the constants above.
        key: What to get out of it; "" for a whole file.
        size: Bytes of the image file as far as listing tells, else of its container; -1 unknown.
        version: Changes when the content may have changed: time of change, checksum, or both.
        is_regular: False for a broken link, a pipe, a socket or a device.
        split: "train", "eval" or "test" where the user decided it.
        group: Images of one group share a split; where the user gave one.
        slices: Metadata columns by name.
    """

    name: str
    class_name: str
    path: str
    kind: str = WHOLE_FILE
    key: str = ""
    size: int = -1
    version: str = ""
    is_regular: bool = True
    split: str | None = None
    group: str | None = None
    slices: Mapping[str, str] = MappingProxyType({})


def as_row(item: SourceItem) -> dict[str, object]:
    """The item as keyword arguments of itself, for JSON."""
    return item._asdict() | {"slices": dict(item.slices)}


class SourceUnit(NamedTuple):
    """One file whose change means that the source changed: an image, an archive, a manifest.

    `class_name`: that of an image; None for a file that holds many.
    """

    name: str
    size: int
    version: str
    class_name: str | None = None


@dataclasses.dataclass
class SourceNotes:
    """What listing noticed; complete when `Source.items` is exhausted."""

    num_ignored: int = 0  # files without a class
    ignored: list[str] = dataclasses.field(default_factory=list)  # the first of them
    warnings: list[str] = dataclasses.field(default_factory=list)

    def clear(self) -> None:
        """Forgets everything: `Source.items` starts with it."""
        self.num_ignored = 0
        self.ignored.clear()
        self.warnings.clear()

    def ignore(self, name: str) -> None:
        """Counts a file that is left out, and keeps the first names."""
        self.num_ignored += 1
        if len(self.ignored) < _NAMES_TO_KEEP:
            self.ignored.append(display_name(name))

    def warn_of_ignored(self, where: str) -> None:
        """Adds a warning that counts what was left out, such as "outside of class folders"."""
        if self.num_ignored == 1:
            self.warnings.append(f"1 file {where} is ignored.")
        elif self.num_ignored:
            self.warnings.append(f"{self.num_ignored} files {where} are ignored.")


class Source(Protocol):
    """A place with labelled images. Memory of both iterations does not grow with their number.

    Attributes:
        location: Absolute path, URI or name of a classic set: what a run is recorded under.
        format: A value of `data.format` other than "auto".
        declared_classes: Class names in the order that the source states (a labels file), which an
            empty label map takes over; empty where it states none. Sources without a labels file
            know it when `items` is exhausted.
        notes: What `items` noticed.
        images_are_files: Whether each image is a file of its own, which is to be watched too.
    """

    location: str
    format: str
    declared_classes: tuple[str, ...]
    notes: SourceNotes
    images_are_files: bool

    def containers(self) -> Iterator[SourceUnit]:
        """Yields the files to watch that hold many images or say what they are; opens none."""

    def items(self) -> Iterator[SourceItem]:
        """Yields every image that has a class, in any order, names unique.

        Raises:
            ConfigError: The settings do not fit the source.
            DataError: The source cannot be read or used.
        """


def quoted_name(path: str) -> str:
    """`display_name` for a command that is typed: one word of a shell, whatever is in it."""
    # Always in quotes: whoever puts another name in its place needs them too.
    return "'" + display_name(path).replace("'", "'\"'\"'") + "'"


def display_name(path: str) -> str:
    r"""Printable form of a path, in one line: undecodable bytes and controls become `\xNN`."""
    if path.isprintable():
        return path
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def is_uri(location: str) -> bool:
    """Whether a location names a remote file system: `gs://`, `s3://`, `hdfs://`."""
    return "://" in location


def units_of(source: Source) -> Iterator[SourceUnit]:
    """Yields every file to watch, in any order, without opening an archive or a TFRecord."""
    yield from source.containers()
    if source.images_are_files:
        for item in source.items():
            yield SourceUnit(item.name, item.size, item.version, item.class_name)
