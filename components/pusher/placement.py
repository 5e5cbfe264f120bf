"""A staged folder becomes a version, with its line in the ledger; and what a kill between costs.

Order: intention (pending.json), one rename, manifest, ledger line, intention withdrawn. A kill
before the rename leaves rubbish; one after it leaves a version whose line is made up for.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Container
from pathlib import Path

from slimworks.components import contracts, files
from slimworks.components.pusher import ledger, manifest, staging
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.manifest import MANIFESTS_FOLDER, Manifest

_log = logging.getLogger(__name__)


def place(base_path: Path, folder: Path, entry: Entry, consists_of: Manifest) -> Path:
    """Publishes a staged folder as `entry.version`. Needs the lock.

    Args:
        base_path: Receives the version.
        folder: Staged; its files are durable.
        entry: The ledger's.
        consists_of: The folder's files.

    Returns:
        The version's folder.

    Raises:
        OSError: Nothing was published.
    """
    pending = staging.pending_file(base_path)
    files.write_json(pending, entry.to_json())
    target = base_path / str(entry.version)
    os.rename(folder, target)
    try:
        files.fsync_folder(base_path)
        _write_manifest(base_path, entry.version, consists_of)
        ledger.append(base_path, [entry])
    except OSError:
        # No version without a line: nobody could say why it is live. The way back needs no room.
        os.rename(target, folder)
        staging.manifest_file(base_path, entry.version).unlink(missing_ok=True)
        pending.unlink()
        raise
    pending.unlink()
    return target


def recover(base_path: Path) -> None:
    """Finishes or clears away what killed publishers left. Needs the lock.

    Versions on disk without a line in the ledger get one, with the facts of the intention where
    there is one.
    """
    num_leftovers = staging.clear(base_path)
    if num_leftovers:
        _log.info("removed %d unfinished pieces of work below %s", num_leftovers, base_path)
    pending = staging.pending_file(base_path)
    intended = _intention(pending)
    entries = ledger.history(base_path)
    known, earlier = ledger.current(entries), ledger.made_by(entries)
    found = contracts.version_folders(base_path)
    recovered = [
        _recovered(version, found[version], intended, earlier.get(version))
        for version in sorted(found.keys() - known.keys())
    ]
    if recovered:
        for entry in recovered:
            folder = found[entry.version]
            _write_manifest(base_path, entry.version, manifest.manifest_of(folder))
        ledger.append(base_path, recovered)
        numbers = ledger.named(entry.version for entry in recovered)
        _log.warning("version %s of %s was not in the ledger: now it is", numbers, base_path)
    _clear_manifests(base_path, found)
    pending.unlink(missing_ok=True)


def _write_manifest(base_path: Path, version: int, consists_of: Manifest) -> None:
    files.write_bytes(
        staging.manifest_file(base_path, version), manifest.encoded(consists_of.to_json(version))
    )


def _clear_manifests(base_path: Path, versions: Container[int]) -> None:
    """Deletes those of versions that never came or went, and half-written ones."""
    for path in (ledger.state_folder(base_path) / MANIFESTS_FOLDER).glob("*"):
        if not (path.suffix == ".json" and path.stem.isdecimal() and int(path.stem) in versions):
            path.unlink()


def _intention(pending: Path) -> Entry | None:
    if not pending.is_file():
        return None
    value = json.loads(pending.read_bytes())
    return Entry.from_json(value)


def _recovered(version: int, folder: Path, intended: Entry | None, earlier: Entry | None) -> Entry:
    digest = manifest.digest_of(folder)
    for entry, reason in (
        (intended, "its publisher was interrupted"),
        (earlier, "it was removed, and is back"),
    ):
        if entry is not None and (entry.version, entry.digest) == (version, digest):
            return dataclasses.replace(
                entry,
                event=ledger.RECOVERED,
                time=ledger.now(),
                reason=f"{reason}; {entry.reason}" if entry.reason else reason,
            )
    reason = "it was not put here by SlimWorks"
    return Entry(ledger.RECOVERED, version, ledger.now(), digest, reason=reason)
