"""Remote file systems: which one a URI means, and patience with servers that die and come back."""

from __future__ import annotations

import dataclasses
import functools
import io
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.storage.contract import (
    FoundFile,
    Page,
    RemoteStore,
    UnreachableError,
    WritableStore,
    last_part,
)

_LOGGER = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# A restarted server or a failed-over gateway is back within a minute; a run that waits much longer
# looks hung. What is checked already is kept, so that stopping costs little.
RETRY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
# One request fetches the header and the data of most images of an archive.
_STREAM_BUFFER_BYTES = 256 * 1024

_SCHEMES = ("gs", "hdfs", "s3")


# One a process, as in Beam's own FileSystems.set_options: task functions are called by the engine,
# which passes nothing but the item.
_options: tuple[str, ...] = ()


def configure(beam_pipeline_args: Sequence[str]) -> None:
    """Tells this process how to reach remote file systems.

    Args:
        beam_pipeline_args: Beam's own options, such as `--s3_endpoint_url` or `--hdfs_host`; others
            are passed over.
    """
    global _options
    _options = tuple(beam_pipeline_args)


def find(uri: str) -> FoundFile:
    """Describes one file. Raises OSError where it cannot be had."""
    return _patiently(uri, lambda store: store.find(uri))


def is_folder(uri: str) -> bool:
    """Whether a folder is there."""
    return _patiently(uri, lambda store: store.is_folder(uri))


def read(uri: str, start: int, length: int) -> bytes:
    """Reads `length` bytes from `start`, fewer at the end. Raises OSError where they cannot be."""
    return _patiently(uri, lambda store: store.read(uri, start, length))


def write(uri: str, content: bytes | Path) -> None:
    """Writes one object, in place of one that may be there. Raises OSError where it cannot be."""
    _patiently(uri, lambda store: _writable(store, uri).write(uri, content, is_new=False))


def write_new(uri: str, content: bytes) -> None:
    """Writes one object where there is none; of several writers at once, one wins.

    Args:
        uri: Its place.
        content: Something that no other writer has.

    Raises:
        FileExistsError: Another one was first.
    """
    try:
        _patiently(uri, lambda store: _writable(store, uri).write(uri, content, is_new=True))
    except FileExistsError:
        # Where an answer was lost, the second try met what the first one wrote.
        if read(uri, 0, len(content) + 1) != content:
            raise


def delete(uri: str) -> None:
    """Deletes one object; no error where there is none."""
    _patiently(uri, lambda store: _writable(store, uri).delete(uri))


def _writable(store: RemoteStore, uri: str) -> WritableStore:
    if not isinstance(store, WritableStore):
        raise ConfigError(
            f"{uri} cannot be written: SlimWorks writes to no such file system.",
            "Give a local folder (a mounted one too), or one that starts with s3:// or gs://.",
        )
    return store


def walk(folder: str) -> Iterator[FoundFile]:
    """Yields every file below a folder, page by page; names are relative to `folder`."""
    root = folder.rstrip("/")
    waiting = [root]
    while waiting:
        current = waiting.pop()
        above = current[len(root) + 1 :]
        for file, subfolder in _entries(current, is_recursive=True):
            if file is None:
                waiting.append(subfolder)
            else:
                name = f"{above}/{file.name}" if above else file.name
                yield dataclasses.replace(file, name=name)


def names(folder: str) -> Iterator[tuple[str, bool]]:
    """Yields each name directly in a folder, with whether it is a folder."""
    for file, subfolder in _entries(folder.rstrip("/"), is_recursive=False):
        yield (last_part(subfolder), True) if file is None else (file.name, False)


def open_stream(uri: str) -> BinaryIO:
    """Opens a file for reading, seekable; fetches only what is read."""
    raw = _RangeStream(uri, find(uri).size)
    return cast(BinaryIO, io.BufferedReader(raw, _STREAM_BUFFER_BYTES))


def _entries(folder: str, *, is_recursive: bool) -> Iterator[tuple[FoundFile | None, str]]:
    token: str | None = None
    while True:
        ask = functools.partial(_page, folder, token, is_recursive)
        page = _patiently(folder, ask)
        yield from ((file, "") for file in page.files)
        yield from ((None, subfolder) for subfolder in page.folders)
        token = page.token
        if token is None:
            return


def _page(folder: str, token: str | None, is_recursive: bool, store: RemoteStore) -> Page:
    return store.page(folder, token, is_recursive=is_recursive)


class ServerGoneError(DataError):
    """A server did not answer for RETRY_SECONDS."""


class _RangeStream(io.RawIOBase):
    """A remote file of known size as a raw stream."""

    def __init__(self, uri: str, size: int) -> None:
        self._uri = uri
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("the position is before the start of the file")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        data = read(self._uri, self._position, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _patiently(uri: str, request: Callable[[RemoteStore], _Result]) -> _Result:
    """Calls `request`, again and again while the server does not answer.

    Raises:
        ServerGoneError: It did not answer for RETRY_SECONDS.
    """
    store = _store(uri.partition("://")[0].lower(), _options, os.getpid())
    start = time.monotonic()
    is_first = True
    for pause in _pauses(uri):
        try:
            return request(store)
        except UnreachableError as error:
            waited = time.monotonic() - start
            if waited + pause > RETRY_SECONDS:
                raise _gave_up(uri, waited, error) from error
            if is_first:
                _LOGGER.warning(
                    "%s does not answer (%s); trying again for %.0f s",
                    uri, error, RETRY_SECONDS,
                )  # fmt: skip
            is_first = False
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _pauses(uri: str) -> Iterator[float]:
    """Growing pauses in seconds, each worker's its own: all at once would fell the server again."""
    jitter = random.Random(f"{os.getpid()} {uri}")
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause * jitter.uniform(0.75, 1.25)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _gave_up(uri: str, seconds: float, error: Exception) -> ServerGoneError:
    return ServerGoneError(
        f"{uri} cannot be read: its server did not answer for {seconds:.0f} s ({error}).",
        "Check the server and the network, then run again: what is checked already is kept.",
    )


@functools.lru_cache(maxsize=16)
def _store(scheme: str, options: tuple[str, ...], process: int) -> RemoteStore:
    """Client of a file system; one a process: connections do not survive a fork."""
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{scheme}:// is no file system that SlimWorks knows.{nearest(scheme, _SCHEMES)}",
            "Give a local path, or one that starts with s3://, gs:// or hdfs://.",
        )
    if scheme == "s3":
        from slimworks.components.storage.s3 import S3Store

        return S3Store(options)
    if scheme == "gs":
        from slimworks.components.storage.gcs import GcsStore

        return GcsStore(options)
    from slimworks.components.storage.hdfs import HdfsStore

    return HdfsStore(options)
