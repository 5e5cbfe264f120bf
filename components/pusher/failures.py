"""What the file system says no to, in words that help."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from slimworks.components.errors import ConfigError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def explained(base_path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what a user can cure (no room, no permission, no folder) into a ConfigError."""
    try:
        yield
    except OSError as error:
        fix = _fix(error, base_path)
        if fix is None:
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise ConfigError(
            f"Cannot publish to {base_path}: {error.strerror}{place}. Nothing was published.", fix
        ) from error


def _fix(error: OSError, base_path: str | os.PathLike[str]) -> str | None:
    if error.errno in _NO_ROOM:
        return (
            f"Free space on that volume ({_free_mebibytes(base_path)} MiB are free) or lower "
            "push.keep_versions, then run again: finished steps are kept."
        )
    if error.errno in _NOT_ALLOWED:
        return "Allow this user to write there, or give another folder as push.base_path."
    if error.errno in _NOT_A_FOLDER:
        return "A file is where a folder is needed: give another folder as push.base_path."
    return None


def _free_mebibytes(base_path: str | os.PathLike[str]) -> int:
    place = Path(base_path)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free >> 20
