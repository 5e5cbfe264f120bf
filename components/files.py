"""Writing so that a kill at any moment leaves either the old file or the new one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK_BYTES = 1 << 20


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes | None:
    """The first `max_bytes` of a file; None where it is a folder, pipe, socket or device.

    A pipe that has taken a file's name is not waited for. Raises OSError, as `open` does.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(min(max_bytes, status.st_size + 1))
    finally:
        os.close(descriptor)


def fsync_file(path: str | os.PathLike[str]) -> None:
    """Makes a file's content durable."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def fsync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the folder's own entries (names of new or renamed files) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: str | os.PathLike[str]) -> None:
    """Makes every file below `folder`, and every folder's entries, durable."""
    for parent, _, names in os.walk(folder):
        for name in names:
            fsync_file(os.path.join(parent, name))
        fsync_folder(parent)


def _temporary_sibling(path: Path) -> Path:
    """A free name beside `path`; who makes it lets the umask decide who may read it.

    `tempfile` lets its owner only, whatever the umask.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yields a file that becomes `path` when the block succeeds: fsync, rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces `path` by `content`: temporary name in the same folder, fsync, rename."""
    with replaced(path) as stream:
        stream.write(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces `path` by `text` in UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replaces `path` by `value` as indented JSON, atomically; NaN is refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> int:
    """Replaces `path` by a line of JSON per row, atomically, a row at a time; returns how many."""
    count = 0
    with replaced(path) as stream:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False, allow_nan=False)
            stream.write(text.encode("utf-8") + b"\n")
            count += 1
    return count


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parses one JSON file in UTF-8; ValueError where it holds something else."""
    return parse_json(Path(path).read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Parses JSON; ValueError where it is none, or deeper than Python can go."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields one object per line of a JSON-lines file."""
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                yield parse_json(line)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary sibling of `path` that becomes `path` when the block succeeds.

    Raises:
        FileExistsError: `path` exists already; nothing is overwritten.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            raise FileExistsError(f"{path} exists")
        fsync_tree(temporary)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(path.parent)


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's content, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_tree(folder: str | os.PathLike[str]) -> str:
    """Hex digest over the relative names and contents of all files below `folder`."""
    return sha256_of_digests(sha256_by_name(folder))


def sha256_by_name(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Hex digest of each file below `folder`, by its relative name with "/" between parts."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in paths}


def sha256_of_digests(digests: Mapping[str, str]) -> str:
    """What `sha256_of_tree` returns for a folder whose files have these digests."""
    digest = hashlib.sha256()
    for name in sorted(digests, key=lambda name: name.split("/")):
        digest.update(name.encode("utf-8", "surrogateescape"))
        digest.update(bytes.fromhex(digests[name]))
    return digest.hexdigest()
