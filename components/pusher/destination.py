"""Where versions are published: a folder that servers see, or a prefix of an object store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from slimworks.components.pusher.ledger import Entry


class Destination(Protocol):
    """One base path. What changes it is called within `publishing()`.

    Attributes:
        base_path: As it was given.
    """

    base_path: str

    def exists(self) -> bool:
        """Whether SlimWorks published anything there."""

    def publishing(self) -> AbstractContextManager[None]:
        """Finishes or clears away what killed publishers left; keeps others out where it can."""

    def history(self) -> list[Entry]:
        """All events, oldest first.

        Raises:
            ConfigError: The ledger is damaged, or was written by a newer SlimWorks.
        """

    def append(self, entries: Iterable[Entry]) -> None:
        """Adds events to the ledger, durably."""

    def versions(self) -> dict[int, str]:
        """Complete versions by number, with their places."""

    def digest_of(self, version: int) -> str | None:
        """Digest of a version as it lies there; None where it is not what was published."""

    def place(
        self,
        source: Path,
        digest: str,
        entry_of: Callable[[int], Entry],
        additions: Mapping[str, bytes],
    ) -> tuple[int, str]:
        """Publishes a folder under the next number, all of it or nothing.

        Args:
            source: SavedModel folder.
            digest: Of its files.
            entry_of: Makes the ledger's entry of the number.
            additions: More files by relative name.

        Returns:
            Number and place.

        Raises:
            DataError: `source` changed meanwhile.
        """

    def content(self, version: int) -> AbstractContextManager[Path]:
        """A local folder with a version's files, unchanged since they were published."""

    def remove(self, version: int) -> None:
        """Takes a version out of the servers' sight, then deletes it."""

    def write_state(self, name: str, content: bytes) -> None:
        """Replaces a file of `.slimworks/`."""

    def read_state(self, name: str) -> bytes | None:
        """Content of a file of `.slimworks/`; None where there is none."""


def is_uri(base_path: str | os.PathLike[str]) -> bool:
    """Whether a base path is on an object store."""
    return "://" in os.fspath(base_path)


def open_destination(base_path: str | os.PathLike[str]) -> Destination:
    """The destination of a base path.

    Raises:
        ConfigError: Its scheme is unknown.
    """
    if is_uri(base_path):
        from slimworks.components.pusher.object_store import ObjectStore

        return ObjectStore(os.fspath(base_path))
    from slimworks.components.pusher.folder import Folder

    return Folder(base_path)


def model_name_of(base_path: str | os.PathLike[str]) -> str:
    """What servers call the model: the last part of its base path."""
    return os.fspath(base_path).rstrip("/").rpartition("/")[2]
