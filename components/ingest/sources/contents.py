"""What lies directly in a folder, and what kind of file a file is: all that detection looks at."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from slimworks.components.examples import image_formats
from slimworks.components.ingest.sources import names, walking
from slimworks.components.ingest.sources.items import is_uri, quoted_name
from slimworks.components.ingest.sources.opening import opened
from slimworks.components.ingest.sources.tfrecord_frames import is_record_start
from slimworks.components.ingest.storage import access

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz",
)  # fmt: skip
# TensorFlow's own shards are named train-00000-of-01024, with or without a word for the format.
_TFRECORD_NAME = re.compile(r"tfrecords?\b|tf_record", re.IGNORECASE)
_SHARD_NAME = re.compile(r"-\d{5}-of-\d{5}$")
_HEAD_BYTES = 512
# (start, bytes there, kind) of files whose name says nothing.
_SIGNATURES = (
    (0, b"PK\x03\x04", "archive"), (0, b"PK\x05\x06", "archive"), (257, b"ustar", "archive"),
    (0, b"\x1f\x8b", "archive"), (0, b"BZh", "archive"), (0, b"\xfd7zXZ\0", "archive"),
    (0, b"PAR1", "manifest"),
    (0, b"Rar!", "a RAR archive"), (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard-compressed"),
)  # fmt: skip


@dataclasses.dataclass
class Contents:
    """Names directly in a folder, by what they could be; hidden and own ones left out.

    Attributes:
        location: Absolute path or URI of the folder.
        folders: Folders, less those that hold TFRecords.
        manifests: Tables.
        archives: Archives.
        tfrecords: TFRecord files, also `Split-train/...`: those one level down.
    """

    location: str
    folders: list[str] = dataclasses.field(default_factory=list)
    manifests: list[str] = dataclasses.field(default_factory=list)
    archives: list[str] = dataclasses.field(default_factory=list)
    tfrecords: list[str] = dataclasses.field(default_factory=list)

    def path_of(self, name: str) -> str:
        """Path or URI of one of the names."""
        return f"{self.location.rstrip('/')}/{name}"

    def has_folders(self, name: str) -> bool:
        """Whether one of the folders has folders in it."""
        return any(is_folder for _, is_folder in _entries(self.path_of(name)))


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """Yields (name, whether it is a folder), less hidden and system files, pipes and devices."""
    if not is_uri(folder):
        for entry in walking.scan(folder):
            if walking.is_folder(entry):
                yield entry.name, True
            elif walking.is_file(entry):
                yield entry.name, False
        return
    for name, is_folder in access.list_names(folder):
        if not names.is_left_out(name):
            yield name, is_folder


def look_into(location: str, own_folders: Sequence[str] = ()) -> Contents:
    """Sorts what lies directly in a folder by what it could be.

    Raises:
        DataError: The folder cannot be read.
    """
    contents = Contents(location)
    own = walking.real_paths(own_folders)
    for name, is_folder in _entries(location):
        if is_folder:
            if not _is_own(contents.path_of(name), own):
                contents.folders.append(name)
        elif _has_suffix(name, MANIFEST_SUFFIXES):
            contents.manifests.append(name)
        elif _has_suffix(name, ARCHIVE_SUFFIXES):
            contents.archives.append(name)
        elif is_tfrecord_name(name):
            contents.tfrecords.append(name)
    _find_split_tfrecords(contents)
    for found in (contents.folders, contents.manifests, contents.archives, contents.tfrecords):
        found.sort(key=os.fsencode)
    return contents


def _is_own(folder: str, own: Sequence[str]) -> bool:
    """Whether a folder is SlimWorks' own; a split folder stays one, whatever lies in it."""
    if is_uri(folder) or names.split_word(folder.rpartition("/")[2]):
        return False
    return walking.holds_any(folder, own)


def _find_split_tfrecords(contents: Contents) -> None:
    """Moves folders such as Split-train that hold TFRecords over to the TFRecords."""
    for folder in [name for name in contents.folders if names.split_token(name)]:
        found = _tfrecords_among(_entries(contents.path_of(folder)))
        if found:
            contents.folders.remove(folder)
            contents.tfrecords += [f"{folder}/{name}" for name in found]


def _tfrecords_among(entries: Iterable[tuple[str, bool]]) -> list[str]:
    return [name for name, is_folder in entries if not is_folder and is_tfrecord_name(name)]


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def is_tfrecord_name(name: str) -> bool:
    """Whether a file is named like TFRecords: the word, or a shard number without a suffix."""
    return bool(_TFRECORD_NAME.search(name) or _SHARD_NAME.search(name))


def file_kind(path: str) -> str | None:
    """One of "manifest", "archive" and "tfrecord"; else what the file is, or None.

    Raises:
        DataError: The file cannot be read.
    """
    name = path.rpartition("/")[2]
    if _has_suffix(name, MANIFEST_SUFFIXES):
        return "manifest"
    if _has_suffix(name, ARCHIVE_SUFFIXES):
        return "archive"
    if is_tfrecord_name(name):
        return "tfrecord"
    if _has_suffix(name, tuple(f"{suffix}.gz" for suffix in MANIFEST_SUFFIXES)):
        return f"a compressed manifest (unpack it: gunzip {quoted_name(name)})"
    if name.lower().endswith(".json"):
        return "JSON as a whole (one object a line is read, as .jsonl: jq -c '.[]' does it)"
    return _kind_of_head(_head(path))


def _head(path: str) -> bytes:
    with opened(path) as stream:
        return stream.read(_HEAD_BYTES)


def _kind_of_head(head: bytes) -> str | None:
    for start, signature, kind in _SIGNATURES:
        if head.startswith(signature, start):
            return kind
    if is_record_start(head):
        return "tfrecord"
    image = image_formats.kind_of(head)
    return f"one {image} picture" if image else None


def labels_file_beside(shard: str, location: str) -> str | None:
    """TF-Slim's labels.txt or TFDS's label.labels.txt in the folder of the TFRecords.

    Args:
        shard: Path or URI of one of them.
        location: The source: where it is a folder, the labels stand in it.
    """
    folder = location if shard.startswith(f"{location}/") else shard.rpartition("/")[0]
    found = {name for name, is_folder in _entries(folder) if not is_folder}
    others = sorted(name for name in found if name.endswith(".labels.txt"))
    for name in ("labels.txt", "label.labels.txt", *(others if len(others) == 1 else ())):
        if name in found:
            return f"{folder}/{name}"
    return None


def is_manifest_name(name: str) -> bool:
    """Whether a file is named like a table."""
    return _has_suffix(name, MANIFEST_SUFFIXES)
