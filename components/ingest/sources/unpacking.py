"""Compressed tars, unpacked once into the cache: gzip, bzip2 and xz cannot be read at random."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import logging
import lzma
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from slimworks.components import files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.sources.items import display_name, is_uri
from slimworks.components.ingest.sources.opening import opened, unit_of_file

_LOGGER = logging.getLogger(__name__)
_Opener = Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]
_OPENERS: tuple[tuple[bytes, _Opener], ...] = (
    (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_BLOCK_BYTES = 4 << 20
# What is left of the disk for the rest of the run; a tar that unpacks without end stops here.
_RESERVE_BYTES = 256 << 20


def cache_folder(download_dir: str | None) -> str:
    """Folder of downloaded and unpacked files.

    Raises:
        ConfigError: It is not on this machine.
    """
    if download_dir is not None and is_uri(download_dir):
        raise ConfigError(
            f"data.download_dir is {download_dir}, not a local folder.",
            "Name a folder of this machine: --set data.download_dir=FOLDER",
        )
    return os.path.abspath(os.path.expanduser(download_dir or "~/.cache/slimworks"))


def _opener(path: str) -> _Opener | None:
    with opened(path) as stream:
        head = stream.read(8)
    return next((opener for start, opener in _OPENERS if head.startswith(start)), None)


def unpacked(path: str, cache: str) -> str:
    """Path of an archive that can be read at random: itself, or its unpacked copy in the cache.

    The copy is made once for each content (by path, size and time of change); copies of earlier
    contents of the path are removed.

    Raises:
        DataError: The archive is damaged, or the disk is too small.
    """
    opener = _opener(path)
    if opener is None:
        return path
    unit = unit_of_file(path)
    prefix = f"{_digest(os.fsencode(path))}-"
    folder = Path(cache) / "unpacked"
    target = folder / f"{prefix}{_digest(f'{unit.size} {unit.version}'.encode())}.tar"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _LOGGER.info("ingest: unpacking %s once into %s", display_name(path), target)
        _require_room(path, folder, unit.size)
        _unpack(path, opener, target)
        for other in folder.glob(f"{prefix}*.tar"):
            if other != target:
                other.unlink(missing_ok=True)
    return str(target)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _require_room(path: str, folder: Path, more_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < more_bytes + _RESERVE_BYTES:
        raise DataError(
            f"{display_name(path)} has to be unpacked, and {folder} has {free >> 20} MB left: "
            f"{(more_bytes + _RESERVE_BYTES) >> 20} MB or more are needed.",
            "Free some, name another folder with --set data.download_dir=DIR, or unpack it "
            "yourself and give the folder.",
        )


def _unpack(path: str, opener: _Opener, target: Path) -> None:
    with files.replaced(target) as copy, opened(path) as packed:
        try:
            with opener(packed) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    _require_room(path, target.parent, len(block))
                    copy.write(block)
        except _DAMAGE as error:
            raise _damaged(path, error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(path, error) from error  # bz2's word for damaged data


def _damaged(path: str, error: Exception) -> DataError:
    return DataError(
        f"The archive {display_name(path)} cannot be unpacked: {error or 'it ends early'}.",
        "Copy or download it again: it is damaged or cut short.",
    )
