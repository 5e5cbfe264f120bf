"""Serves an earlier version again.

Servers answer with the highest number, so the earlier content gets a new, higher one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import failures, labels, ledger, retention, server_files
from slimworks.components.pusher.destination import Destination, is_uri, open_destination
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.publish import Published

_log = logging.getLogger(__name__)


def rollback(
    base_path: str | os.PathLike[str],
    version: int | None = None,
    reason: str = "",
    *,
    keep_versions: int | None = None,
    moves_labels: bool = True,
) -> Published:
    """Publishes an earlier version's content under the next number, and makes that `stable`.

    Args:
        base_path: Folder with one folder per version; or s3://, gs://.
        version: The version to serve again. None: the last one of another model before the
            live one; where the live one is itself a rollback, before the one it came from, so
            that a second rollback goes further back and not to the model just left.
        reason: Kept in the ledger.
        keep_versions: Removes older versions than this many; None removes none.
        moves_labels: Where there are labels: at once. False leaves it to `release.label`.

    Raises:
        ConfigError: Nothing to roll back to, an unknown version, one that is no longer on disk,
            is damaged or is live already; no room or no permission.
        ServingError: An object store does not answer.
    """
    if not is_uri(base_path) and not Path(base_path).is_dir():
        raise ConfigError(
            f"{base_path} does not exist.", "Give the folder that holds the version numbers."
        )
    destination = open_destination(base_path)
    with failures.explained(base_path), destination.publishing():
        entries = destination.history()
        made = ledger.current(entries)
        versions = destination.versions()
        if not versions:
            raise ConfigError(f"{base_path} holds no version.", "Push one first: `slimworks run`.")
        live = max(versions)
        target = _default_target(destination, live, made) if version is None else version
        _check(destination, target, live, made)
        label = labels.STABLE if moves_labels and labels.labels_of(entries) else None
        published = _republish(destination, live, target, made[target], reason, label)
        server_files.write(destination)
        if keep_versions is not None:
            retention.remove_superfluous(destination, keep_versions)
    _log.info("rolled back from %d to %d as %d: %s", live, target, published.version, base_path)
    return published


def origin(version: int, made: Mapping[int, Entry]) -> int:
    """The version that first brought the model that `version` serves."""
    while version in made and (earlier := made[version].to_version) is not None:
        version = earlier
    return version


def _default_target(destination: Destination, live: int, made: Mapping[int, Entry]) -> int:
    first = origin(live, made)
    others = [
        version for version in destination.versions() if made[version].digest != made[live].digest
    ]
    candidates = [version for version in others if version < first]
    if not candidates:
        raise ConfigError(
            f"Nothing to roll back to: no other model came before version {first} of "
            f"{destination.base_path}.",
            f"Name one of the other models' versions: {ledger.named(others)}."
            if others
            else "Push another model, or keep more of them: push.keep_versions.",
        )
    return max(candidates)


def check_sound(destination: Destination, version: int) -> None:
    """Checks that a version is there as it was published.

    Raises:
        ConfigError: It is not.
    """
    entries = destination.history()
    places = destination.versions()
    choice = f"On disk are: {ledger.named(places)}."
    if version not in places:
        if version in ledger.made_by(entries):
            raise ConfigError(
                f"Version {version} of {destination.base_path} is no longer on disk.", choice
            )
        raise ConfigError(f"{destination.base_path} has no version {version}.", choice)
    if destination.digest_of(version) != ledger.current(entries)[version].digest:
        raise ConfigError(
            f"{places[version]} was changed since it was published: it may not work.",
            f"Restore it from a backup, or name another version. {choice}",
        )


def _check(destination: Destination, target: int, live: int, made: Mapping[int, Entry]) -> None:
    check_sound(destination, target)
    if made[target].digest == made[live].digest:
        raise ConfigError(
            f"Version {target} of {destination.base_path} is the model that is live.",
            f"On disk are: {ledger.named(destination.versions())}.",
        )


def _republish(
    destination: Destination, live: int, target: int, source: Entry, reason: str, label: str | None
) -> Published:
    def entry_of(version: int) -> Entry:
        return Entry(
            ledger.ROLLED_BACK,
            version,
            ledger.now(),
            source.digest,
            source.facts,
            reason or None,
            from_version=live,
            to_version=target,
            label=label,
        )

    digest = str(source.digest)
    with destination.content(target) as folder:
        version, place = destination.place(folder, digest, entry_of, {})
    return Published(version, place, digest)
