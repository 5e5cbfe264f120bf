"""Rotated TFRecord files of a request log: bounded on disk, and seen by readers only when closed.

A file is written under a hidden name, `.PREFIX-TIME-PID-N.tfrecord.open`, and renamed when it is
full or old. What a killed server left open is closed by the next one with the same prefix.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from slimworks.components.examples import tfrecord

SUFFIX = ".tfrecord"
OPEN_SUFFIX = f"{SUFFIX}.open"
MAX_FILE_BYTES = 64 << 20
# Of the bound on disk: removing the oldest file then takes away an eighth of the log.
_FILES_IN_BOUND = 8
_FRAME_BYTES = 16  # length and checksums of a TFRecord


class LogFiles:
    """Writes records; for one thread.

    Args:
        prefix: Path that the files' names start with; its folder is made where it is missing.
        max_bytes: Of all files of the prefix together, of other servers too; the oldest go first.
        max_file_seconds: Age at which a file is closed, so that readers see it.

    Raises:
        OSError: The folder cannot be made or listed.
    """

    def __init__(self, prefix: str, *, max_bytes: int, max_file_seconds: float) -> None:
        self._folder, self._name = Path(prefix).parent, Path(prefix).name
        self._max_bytes = max_bytes
        self._max_file_bytes = min(MAX_FILE_BYTES, max_bytes // _FILES_IN_BOUND)
        self._max_file_seconds = max_file_seconds
        self._stream: BinaryIO | None = None
        self._opened = 0.0
        self._num_files = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._close_abandoned()

    def write(self, record: bytes) -> bool:
        """Appends a record; False where it is larger than a file may be.

        Raises:
            OSError: The disk is full, or the folder is gone.
        """
        num_bytes = len(record) + _FRAME_BYTES
        if num_bytes > self._max_file_bytes:
            return False
        if self._stream and self._stream.tell() + num_bytes > self._max_file_bytes:
            self.close()
        if self._stream is None:
            self._open()
        assert self._stream is not None
        try:
            tfrecord.write_record(self._stream, record)
            self._stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                self.close()  # nothing may follow half a record
            raise
        return True

    def seconds_left(self) -> float | None:
        """Until the open file is old; None where none is open."""
        if self._stream is None:
            return None
        return max(0.0, self._opened + self._max_file_seconds - time.monotonic())

    def close_if_old(self) -> None:
        """Closes the open file when its time is over."""
        if self.seconds_left() == 0.0:
            self.close()

    def close(self) -> None:
        """Closes the open file and gives it its name, so that readers see it.

        Raises:
            OSError: What was buffered cannot be written; the file gets its name all the same.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            stream.flush()
        finally:
            _publish(Path(stream.name))  # while the lock says that its writer lives
            stream.close()

    def _open(self) -> None:
        self._make_room()
        stream = self._new_file()
        # A server that just starts may take a file without a lock for an abandoned one.
        while os.fstat(stream.fileno()).st_nlink == 0:
            stream.close()
            stream = self._new_file()
        self._stream, self._opened = stream, time.monotonic()

    def _new_file(self) -> BinaryIO:
        self._num_files += 1
        now = datetime.datetime.now(datetime.timezone.utc)
        name = f"{self._name}-{now:%Y%m%dT%H%M%S.%f}Z-{os.getpid()}-{self._num_files}{SUFFIX}"
        stream = open(self._folder / f".{name}.open", "xb")  # noqa: SIM115  # see `close`
        fcntl.flock(stream, fcntl.LOCK_EX)  # says that its writer lives
        return stream

    def _make_room(self) -> None:
        closed = closed_files(self._folder, self._name)
        sizes = {path: _size(path) for path in [*closed, *self._open_files()]}
        total = sum(sizes.values())
        for path in closed:
            if total + self._max_file_bytes <= self._max_bytes:
                return
            path.unlink(missing_ok=True)  # a server with the same prefix may have been first
            total -= sizes[path]

    def _open_files(self) -> Iterator[Path]:
        for path in self._folder.iterdir():
            if path.name.startswith(f".{self._name}-") and path.name.endswith(OPEN_SUFFIX):
                yield path

    def _close_abandoned(self) -> None:
        for path in list(self._open_files()):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
                _publish(path)


def closed_files(folder: Path, name: str) -> list[Path]:
    """Closed files of a prefix `folder/name`, oldest first."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.startswith(f"{name}-") and path.name.endswith(SUFFIX)
    )


def _publish(path: Path) -> None:
    if path.stat().st_size == 0:
        path.unlink()
    else:
        path.rename(path.with_name(path.name.removeprefix(".").removesuffix(".open")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # closed or removed by its own server meanwhile
        return 0
