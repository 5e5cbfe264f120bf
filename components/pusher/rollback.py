"""Serves an earlier version again.

Servers answer with the highest number, so the earlier content gets a new, higher one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.pusher import failures, ledger, locking, placement, retention, staging
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.publish import Published

_log = logging.getLogger(__name__)


def rollback(
    base_path: str | os.PathLike[str],
    version: int | None = None,
    reason: str = "",
    *,
    keep_versions: int | None = None,
) -> Published:
    """Publishes an earlier version's content under the next number.

    Args:
        base_path: Folder with one folder per version.
        version: The version to serve again. None: the last one of another model before the
            live one; where the live one is itself a rollback, before the one it came from, so
            that a second rollback goes further back and not to the model just left.
        reason: Kept in the ledger.
        keep_versions: Removes older versions than this many; None removes none.

    Raises:
        ConfigError: Nothing to roll back to, an unknown version, one that is no longer on disk,
            is damaged or is live already; no room or no permission.
    """
    base = Path(base_path)
    if not base.is_dir():
        raise ConfigError(
            f"{base} does not exist.", "Give the folder that holds the version numbers."
        )
    with failures.explained(base), locking.publishing_lock(base):
        placement.recover(base)
        made = ledger.current(ledger.history(base))
        live = staging.live_version(base)
        if live is None:
            raise ConfigError(f"{base} holds no version.", "Push one first: `slimworks run`.")
        target = _default_target(base, live, made) if version is None else version
        folder = _checked_folder(base, target, live, made)
        published = _republish(base, folder, live, target, made[target], reason)
        if keep_versions is not None:
            retention.remove_superfluous(base, keep_versions)
    _log.info("rolled back from %d to %d as %d: %s", live, target, published.version, base)
    return published


def origin(version: int, made: Mapping[int, Entry]) -> int:
    """The version that first brought the model that `version` serves."""
    while version in made and (earlier := made[version].to_version) is not None:
        version = earlier
    return version


def _default_target(base: Path, live: int, made: Mapping[int, Entry]) -> int:
    first = origin(live, made)
    others = [
        version
        for version in contracts.version_folders(base)
        if made[version].digest != made[live].digest
    ]
    candidates = [version for version in others if version < first]
    if not candidates:
        raise ConfigError(
            f"Nothing to roll back to: no other model came before version {first} of {base}.",
            f"Name one of the other models' versions: {ledger.named(others)}."
            if others
            else "Push another model, or keep more of them: push.keep_versions.",
        )
    return max(candidates)


def _checked_folder(base: Path, target: int, live: int, made: Mapping[int, Entry]) -> Path:
    on_disk = contracts.version_folders(base)
    choice = f"On disk are: {ledger.named(on_disk)}."
    if target not in on_disk:
        if target in ledger.made_by(ledger.history(base)):
            raise ConfigError(f"Version {target} of {base} is no longer on disk.", choice)
        raise ConfigError(f"{base} has no version {target}.", choice)
    digest = files.sha256_of_tree(on_disk[target])
    if digest != made[target].digest:
        raise ConfigError(
            f"{on_disk[target]} was changed since it was published: it may not work.",
            f"Restore it from a backup, or name another version. {choice}",
        )
    if digest == made[live].digest:
        raise ConfigError(f"Version {target} of {base} is the model that is live.", choice)
    return on_disk[target]


def _republish(
    base: Path, folder: Path, live: int, target: int, source: Entry, reason: str
) -> Published:
    with staging.staged(folder, base, staging.link_file) as duplicate:
        version = staging.next_version(base)
        entry = Entry(
            ledger.ROLLED_BACK,
            version,
            ledger.now(),
            source.digest,
            source.facts,
            reason or None,
            from_version=live,
            to_version=target,
        )
        path = placement.place(base, duplicate, entry)
    return Published(version, path, str(source.digest))
