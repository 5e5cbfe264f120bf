"""Files fetched by HTTP: resumed, bounded in time and size, used only where the digest is right."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import http
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from slimworks.components import files
from slimworks.components.errors import DataError

if TYPE_CHECKING:
    import http.client

_LOGGER = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 20  # to connect, and between two packets
_PAUSE_SECONDS = 1.0
_TRIES_WITHOUT_PROGRESS = 3  # of one mirror, before the next
_BLOCK_BYTES = 1 << 18
_SECONDS_BETWEEN_LINES = 5.0


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file as its publisher states it.

    Attributes:
        name: File name, under which a local copy is looked for too.
        size: Bytes.
        sha256: Hex digest.
        urls: Mirrors, the preferred one first.
    """

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def fetch(file: PublishedFile, folder: Path, others: Sequence[PublishedFile] = ()) -> Path:
    """Downloads one file into `folder`, or takes up where a stopped download left off.

    Args:
        file: What is wanted.
        folder: Where it goes.
        others: Files that are wanted as well and not there yet: the message names them too.

    Raises:
        DataError: No mirror gave the published content, or the folder cannot be written.
    """
    path = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            if not path.exists():  # another process may have been quicker
                _download(file, path, others)
    except OSError as error:
        raise DataError(
            f"{file.name} cannot be kept in {folder}: {error.strerror}.",
            "Free some room, or name another folder: --set data.download_dir=FOLDER",
        ) from error
    return path


def require_published(file: PublishedFile, path: Path) -> None:
    """Raises DataError where `path` does not have the published content; leaves it as it is."""
    size = path.stat().st_size
    found = f"{size} bytes"
    if size == file.size:
        digest = files.sha256_of_file(path)
        if digest == file.sha256:
            return
        found = f"sha256 {digest}"
    raise DataError(
        f"{path} is not the published {file.name}: it has {found}, expected {file.size} bytes with "
        f"sha256 {file.sha256}.",
        "Move it away to have it downloaded again, or name the folder of another copy: "
        "--set data.download_dir=FOLDER",
    )


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Lets one process at a time write into the folder."""
    with open(folder / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _MirrorError(Exception):
    """This mirror does not give the file."""


def _download(file: PublishedFile, path: Path, others: Sequence[PublishedFile]) -> None:
    part = path.with_name(f"{path.name}.part")
    if _size_of(part) > file.size:
        part.unlink()
    reasons = []
    _LOGGER.info("ingest: downloading %s, %d MB", file.name, file.size >> 20)
    for url in file.urls:
        try:
            _download_from(url, file, part)
            _require_digest(file, part)
        except _MirrorError as error:
            _LOGGER.warning("ingest: %s: %s", url, error)
            reasons.append(f"{url}: {error}")
            continue
        files.fsync_file(part)
        os.replace(part, path)
        files.fsync_folder(path.parent)
        return
    raise _not_to_be_had(file, others, reasons)


def _require_digest(file: PublishedFile, part: Path) -> None:
    digest = files.sha256_of_file(part)
    if digest != file.sha256:
        part.unlink()
        raise _MirrorError(f"its content is not what was published: sha256 {digest}")


def _not_to_be_had(
    file: PublishedFile, others: Sequence[PublishedFile], reasons: list[str]
) -> DataError:
    missing = ", ".join(f"{other.name} ({other.size} bytes)" for other in (file, *others))
    return DataError(
        f"{file.name} cannot be downloaded: {'; '.join(reasons)}.",
        f"Run again where there is a network, or put {missing} into one folder and add "
        "--set data.download_dir=FOLDER",
    )


class _StoppedError(Exception):
    """The connection broke or was refused: worth another try, from where it stopped."""


def _download_from(url: str, file: PublishedFile, part: Path) -> None:
    """Appends to `part` until it has the published size."""
    num_tries = 0
    while (start := _size_of(part)) < file.size:
        try:
            _append(url, file, part, start)
        except _StoppedError as error:
            num_tries = 1 if _size_of(part) > start else num_tries + 1
            if num_tries > _TRIES_WITHOUT_PROGRESS:
                raise _MirrorError(str(error)) from error
            _LOGGER.info("ingest: %s: %s; trying again from byte %d", url, error, _size_of(part))
            time.sleep(_PAUSE_SECONDS * num_tries)


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append(url: str, file: PublishedFile, part: Path, start: int) -> None:
    """Gets what is missing, or all where the server cannot begin in the middle."""
    with _answer(url, start) as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = answer.headers.get("Content-Length")
        if length is not None and int(length) != file.size - start:
            raise _MirrorError(f"it has {int(length) + start} bytes, {file.size} are expected")
        with open(part, "ab" if start else "wb") as stream:
            _copy(answer, stream, file, start)


def _answer(url: str, start: int) -> http.client.HTTPResponse:
    import http.client
    import urllib.error
    import urllib.request

    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
        return answer
    except urllib.error.HTTPError as error:
        with error:
            if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                raise _MirrorError(f"HTTP {error.code} {error.reason}") from error
            raise _StoppedError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _StoppedError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _StoppedError(str(error) or type(error).__name__) from error


def _copy(
    answer: http.client.HTTPResponse, stream: BinaryIO, file: PublishedFile, start: int
) -> None:
    import http.client

    done = start
    next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
    while done < file.size:
        try:
            block = answer.read(min(_BLOCK_BYTES, file.size - done))
        except (OSError, http.client.HTTPException) as error:
            raise _StoppedError(str(error) or type(error).__name__) from error
        if not block:
            raise _StoppedError(f"the connection ended at byte {done}")
        stream.write(block)
        done += len(block)
        if time.monotonic() > next_line:
            _LOGGER.info("ingest: %s: %d of %d MB", file.name, done >> 20, file.size >> 20)
            next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
