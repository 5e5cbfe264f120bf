"""What the file system says no to, in words that help."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher.destination import is_uri
from slimworks.components.pusher.staging import STAGING_FOLDER
from slimworks.components.storage.remote import ServerGoneError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}

_AGAIN = "Check the object store, then run again: the next publisher finishes or clears away."


@contextlib.contextmanager
def explained(base_path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what a user can cure (no room, no permission, no folder) into a ConfigError.

    An object store that does not answer, or not as expected, is a ServingError.
    """
    try:
        yield
    except ServerGoneError as error:
        raise ServingError(f"Cannot publish to {base_path}: {error.cause}", _AGAIN) from error
    except OSError as error:
        if is_uri(base_path):
            raise _refused(error, base_path) from error
        fix = _fix(error, base_path)
        if fix is None:
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise ConfigError(
            f"Cannot publish to {base_path}: {error.strerror}{place}. Nothing was published.", fix
        ) from error


def _refused(error: OSError, base_path: str | os.PathLike[str]) -> ConfigError | ServingError:
    cause = f"Cannot publish to {base_path}: {error.strerror} ({error.filename})."
    if error.errno in _NOT_ALLOWED:
        return ConfigError(
            cause, "Allow these credentials to read, write and delete there: docs/publishing.md."
        )
    return ServingError(cause, _AGAIN)


def _fix(error: OSError, base_path: str | os.PathLike[str]) -> str | None:
    if error.errno in _NO_ROOM:
        return (
            f"Free space on that volume ({_free_mebibytes(base_path)} MiB are free) or lower "
            "push.keep_versions, then run again: finished steps are kept."
        )
    if error.errno in _NOT_ALLOWED:
        return "Allow this user to write there, or give another folder as push.base_path."
    is_cleared = error.errno == errno.ENOENT and f"/{STAGING_FOLDER}/" in str(error.filename)
    if is_cleared or error.errno == errno.ENOTEMPTY:
        return (
            "Another publisher was at work as well, so locks do not work on this volume "
            "(docs/publishing.md, NFS): run again, one publisher at a time."
        )
    if error.errno in _NOT_A_FOLDER:
        return "A file is where a folder is needed: give another folder as push.base_path."
    return None


def _free_mebibytes(base_path: str | os.PathLike[str]) -> int:
    place = Path(base_path)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free >> 20
