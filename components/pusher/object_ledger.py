"""The ledger on an object store: each entry an object, `ledger/<sequence>.json`, claimed in order.

A sequence number is taken by a conditional write, so that no entry replaces another one.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger
from slimworks.components.pusher.ledger import Entry
from slimworks.components.storage import remote

MAX_ENTRY_BYTES = 1 << 20  # facts of a run are a few kilobytes
_READERS = 16  # a ledger of years is read in seconds


class ObjectLedger:
    """The entries below a folder. What was read once is kept: an entry never changes.

    Args:
        folder: URI of the ledger's objects.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known: dict[str, Entry] = {}

    def history(self) -> list[Entry]:
        """All entries, oldest first.

        Raises:
            ConfigError: One is damaged, or was written by a newer SlimWorks.
        """
        names = self._names()
        new = [name for name in names if name not in self._known]
        if new:
            with concurrent.futures.ThreadPoolExecutor(min(_READERS, len(new))) as readers:
                uris = [f"{self._folder}/{name}" for name in new]
                self._known.update(zip(new, readers.map(_read, uris), strict=True))
        return [self._known[name] for name in names]

    def append(self, entries: Iterable[Entry]) -> None:
        """Adds entries behind the last one, whoever writes at the same time."""
        for entry in entries:
            content = ledger.line_of(entry)
            names = self._names()
            sequence = int(names[-1].partition(".")[0]) if names else 0
            while True:
                sequence += 1
                try:
                    remote.write_new(f"{self._folder}/{sequence:08d}.json", content)
                except FileExistsError:
                    continue
                break

    def _names(self) -> list[str]:
        return sorted(name for name, is_folder in remote.names(self._folder) if not is_folder)


def _read(uri: str) -> Entry:
    try:
        return ledger.entry_of(remote.read(uri, 0, MAX_ENTRY_BYTES), uri)
    except ValueError as error:
        raise ConfigError(
            f"{uri} is damaged: {error}.", "Restore the object from a backup, or delete it."
        ) from error
