"""Bytes of images, wherever they lie: local files, remote file systems, archives, records.

A problem of one file is an OSError, or a `Rejection` from `read_item`: that file is set aside. A
server that cannot be reached is none of a file's business: after patient tries it is a DataError,
which stops the run, so that an outage never looks like thousands of unreadable photos.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources import items
from slimworks.components.ingest.sources.items import SourceItem, is_uri
from slimworks.components.ingest.storage import archives
from slimworks.components.storage import remote
from slimworks.components.storage.contract import FoundFile

# What a dead network share or an exhausted machine answers: no file's own fault.
_SYSTEM_ERRORS = frozenset(
    {
        errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.EMFILE, errno.ENETDOWN, errno.ENETUNREACH, errno.ENFILE,
        errno.ENOMEM, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip


def configure(beam_pipeline_args: Sequence[str]) -> None:
    """Tells this process how to reach remote file systems, in the driver and in each worker.

    Args:
        beam_pipeline_args: Beam's own options, such as `--s3_endpoint_url` or `--hdfs_host`; others
            are passed over.
    """
    remote.configure(beam_pipeline_args)


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading, seekable, never decompressed.

    Raises:
        OSError: This file cannot be read.
        DataError: Its server cannot be reached.
        ConfigError: Credentials or options are wrong.
    """
    return remote.open_stream(path) if is_uri(path) else open(path, "rb")


def exists(path: str) -> bool:
    """Whether there is a file or a folder. Raises as `open_binary`."""
    if not is_uri(path):
        return os.path.exists(path)
    try:
        remote.find(path)
    except FileNotFoundError:
        return remote.is_folder(path)
    except IsADirectoryError:
        return True
    return True


def is_folder(path: str) -> bool:
    """Whether there is a folder; on an object store: whether names start with `path/`."""
    return remote.is_folder(path) if is_uri(path) else os.path.isdir(path)


def describe_file(path: str) -> FoundFile:
    """Size and version of one file. Raises as `open_binary`."""
    if is_uri(path):
        return remote.find(path)
    return _described(os.path.basename(path), path, os.stat(path))


def walk_files(folder: str) -> Iterator[FoundFile]:
    """Yields every file below a folder, streaming, in no particular order.

    Raises as `open_binary`; a local link to a folder is not followed.
    """
    if is_uri(folder):
        yield from remote.walk(folder)
        return
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(os.path.join(folder, above)) as entries:
            for entry in entries:
                name = f"{above}/{entry.name}" if above else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                else:
                    yield _described_entry(name, entry)


def list_names(folder: str) -> list[tuple[str, bool]]:
    """Names directly in a folder, sorted, each with whether it is a folder."""
    if is_uri(folder):
        return sorted(remote.names(folder))
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.is_dir()) for entry in entries)


def _described_entry(name: str, entry: os.DirEntry[str]) -> FoundFile:
    try:
        status = entry.stat()
    except OSError:  # a link to nothing, or a file deleted a moment ago
        return FoundFile(name, os.path.abspath(entry.path), -1, "", is_regular=False)
    return _described(name, entry.path, status)


def _described(name: str, path: str, status: os.stat_result) -> FoundFile:
    return FoundFile(
        name,
        os.path.abspath(path),
        status.st_size,
        str(status.st_mtime_ns),
        stat.S_ISREG(status.st_mode),
    )


def read_item(item: SourceItem, max_bytes: int) -> bytes | Rejection:
    """Reads one image whole, or says why not. Never opens a pipe or a device.

    Raises:
        DataError: The server or the share that it is on cannot be reached.
        ConfigError: Credentials or options are wrong.
    """
    if not item.is_regular:
        return Rejection("not_a_file", _what_it_is(item))
    if item.size > max_bytes and item.kind in (items.WHOLE_FILE, items.ZIP_MEMBER):
        return archives.too_large(max_bytes, item.size)
    try:
        data = _read(item, max_bytes)
    except OSError as error:
        if error.errno in _SYSTEM_ERRORS:
            raise _share_trouble(item, error) from error
        return Rejection("unreadable", str(error.strerror or error))
    if isinstance(data, bytes) and len(data) > max_bytes:
        return archives.too_large(max_bytes)
    return data


def _what_it_is(item: SourceItem) -> str:
    if item.kind != items.WHOLE_FILE:
        return "a link, device or sparse file in an archive"
    if is_uri(item.path) or not os.path.lexists(item.path):
        return "there is no such file"
    return "a broken link" if os.path.islink(item.path) else "a pipe, socket or device"


def _read(item: SourceItem, max_bytes: int) -> bytes | Rejection:
    if item.kind != items.WHOLE_FILE:
        return archives.READERS[item.kind](item.path, item.key, max_bytes)
    # One byte more than allowed: a file that grew since it was listed is not read whole.
    if is_uri(item.path):
        return remote.read(item.path, 0, max_bytes + 1)
    data = files.read_regular(item.path, max_bytes + 1)
    return Rejection("not_a_file", "a folder, pipe, socket or device") if data is None else data


def _share_trouble(item: SourceItem, error: OSError) -> DataError:
    return DataError(
        f"{items.display_name(item.path)} cannot be read now: {error.strerror}.",
        "Check the network share that it is on (or the limits of this machine: ulimit -n, memory), "
        "then run again: what is checked already is kept.",
    )
