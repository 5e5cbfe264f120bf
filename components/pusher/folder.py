"""A folder as destination: a lock, a staged copy, one rename."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.pusher import ledger, locking, manifest, placement, staging
from slimworks.components.pusher.ledger import Entry


class Folder:
    """See `destination.Destination`. On NFS as well: rename is atomic there, flock since NFSv4."""

    def __init__(self, base_path: str | os.PathLike[str]) -> None:
        self.base_path = os.fspath(base_path)
        self._base = Path(base_path)

    def exists(self) -> bool:
        """Whether there is a ledger's folder."""
        return ledger.state_folder(self._base).is_dir()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Holds the lock."""
        with locking.publishing_lock(self._base):
            placement.recover(self._base)
            yield

    def history(self) -> list[Entry]:
        """All events."""
        return ledger.history(self._base)

    def append(self, entries: Iterable[Entry]) -> None:
        """Lines of the ledger."""
        ledger.append(self._base, entries)

    def versions(self) -> dict[int, str]:
        """Folders whose name is a number."""
        found = contracts.version_folders(self._base)
        return {version: str(path) for version, path in found.items()}

    def digest_of(self, version: int) -> str | None:
        """Reads all files anew."""
        return manifest.digest_of(contracts.version_folders(self._base)[version])

    def place(
        self,
        source: Path,
        digest: str,
        entry_of: Callable[[int], Entry],
        additions: Mapping[str, bytes],
    ) -> tuple[int, str]:
        """Copies (a version of this base path: links) below a name that servers ignore; renames."""
        is_own = source.parent == self._base
        transfer = staging.link_file if is_own else staging.copy_file
        with staging.staged(source, self._base, transfer, additions) as folder:
            found = manifest.manifest_of(folder)
            if found.digest != digest:
                raise DataError(
                    f"{source} changed while it was copied.", "Push again when nobody writes to it."
                )
            version = staging.next_version(self._base)
            place = placement.place(self._base, folder, entry_of(version), found)
            return version, str(place)

    @contextlib.contextmanager
    def content(self, version: int) -> Iterator[Path]:
        """The version's own folder."""
        yield contracts.version_folders(self._base)[version]

    def remove(self, version: int) -> None:
        """One rename, then deletes."""
        folder = contracts.version_folders(self._base)[version]
        staging.remove(folder, self._base)
        staging.manifest_file(self._base, version).unlink(missing_ok=True)

    def write_state(self, name: str, content: bytes) -> None:
        """One rename."""
        staged = staging.pending_file(self._base).parent / Path(name).name
        target = ledger.state_folder(self._base) / name
        files.write_bytes(staged, content)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(staged, target)
        files.fsync_folder(target.parent)

    def read_state(self, name: str) -> bytes | None:
        """Content, or None."""
        path = ledger.state_folder(self._base) / name
        return path.read_bytes() if path.is_file() else None
