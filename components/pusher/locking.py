"""One publisher at a time for each base path."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from typing import IO

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger

LOCK_FILE = "lock"
WAIT_SECONDS = 120.0  # copying 600 MB (vgg) to a slow network volume takes about a minute
_PAUSE_SECONDS = 0.05

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def publishing_lock(
    base_path: str | os.PathLike[str], wait_seconds: float = WAIT_SECONDS
) -> Iterator[None]:
    """Holds the base path's lock; the system frees it when this process ends, however it ends.

    Raises:
        ConfigError: Another publisher held it for all of `wait_seconds`.
    """
    folder = ledger.state_folder(base_path)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "a+", encoding="utf-8") as stream:
        _acquire(stream, base_path, wait_seconds)
        stream.truncate(0)
        stream.write(f"process {os.getpid()}")
        stream.flush()
        yield  # closing the file frees the lock


def _acquire(stream: IO[str], base_path: str | os.PathLike[str], wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    has_to_wait = False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read() or "another process"
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"{base_path} was locked by {holder} for {wait_seconds:g} seconds.",
                    "Let that push or rollback finish, then run again.",
                ) from error
        if not has_to_wait:
            has_to_wait = True
            _log.info("waiting for %s, which publishes to %s", holder, base_path)
        time.sleep(_PAUSE_SECONDS)
