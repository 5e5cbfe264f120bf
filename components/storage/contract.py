"""What a remote file system must offer; `s3`, `gcs` and `hdfs` offer it, the first two writing."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Protocol, runtime_checkable

_LONGEST_ANSWER_LETTERS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a file system, unopened.

    Attributes:
        name: Path below the folder that was listed, "/" between parts; the last part where one file
            was asked for.
        path: Absolute path or URI.
        size: Bytes; -1 where it cannot be looked at.
        version: Changes when the content may have changed: time of change, checksum, or both.
        is_regular: False for a broken link, a pipe, a socket or a device.
    """

    name: str
    path: str
    size: int
    version: str
    is_regular: bool = True


@dataclasses.dataclass(frozen=True)
class Page:
    """Part of a listing. `token` asks for the next part; None where this is the last."""

    files: tuple[FoundFile, ...]
    folders: tuple[str, ...]  # URIs, no "/" at the end
    token: str | None = None


class UnreachableError(Exception):
    """The server does not answer, or not now: trouble of no single file, worth another try."""


class RemoteStore(Protocol):
    """One remote file system. Each call is one request or few, and is not retried here.

    Every call raises OSError for trouble with the one file, `UnreachableError` for trouble with the
    server, ConfigError where credentials or options are wrong.
    """

    def find(self, uri: str) -> FoundFile:
        """Describes one file; FileNotFoundError where there is none."""

    def is_folder(self, uri: str) -> bool:
        """Whether a folder is there; on an object store, whether names start with `uri/`."""

    def page(self, folder: str, token: str | None, *, is_recursive: bool) -> Page:
        """Lists a part of a folder: all files below it, or folders that are left to descend into.

        Names are relative to `folder`. A folder that is not there is an empty page.
        """

    def read(self, uri: str, start: int, length: int) -> bytes:
        """Reads bytes from `start`: `length` of them, fewer at the end of the file."""


@runtime_checkable
class WritableStore(RemoteStore, Protocol):
    """An object store. An object appears whole or not at all."""

    def write(self, uri: str, content: bytes | Path, *, is_new: bool) -> None:
        """Writes one object, from memory or from a local file.

        Args:
            uri: Its place.
            content: All of it.
            is_new: The server refuses it where there is one already, by FileExistsError: of
                several writers at once, one wins.
        """

    def delete(self, uri: str) -> None:
        """Deletes one object; no error where there is none."""


def last_part(uri: str) -> str:
    """Name of a file without its folder."""
    return uri.rstrip("/").rpartition("/")[2]


def one_line(answer: object) -> str:
    """What a server or its client said, for the middle of a message: short, without full stop."""
    return textwrap.shorten(str(answer), _LONGEST_ANSWER_LETTERS, placeholder=" ...").rstrip(".")
