"""Which versions stay on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from slimworks.components import contracts
from slimworks.components.pusher import ledger, staging
from slimworks.components.pusher.ledger import Entry

_log = logging.getLogger(__name__)


def superfluous(versions: Iterable[int], made: Mapping[int, Entry], keep: int) -> list[int]:
    """Versions that may go: all but the `keep` newest and what the live one was rolled back to."""
    newest_first = sorted(versions, reverse=True)
    live = made.get(newest_first[0]) if newest_first else None
    target = live.to_version if live is not None else None
    return [version for version in newest_first[max(keep, 1) :] if version != target]


def remove_superfluous(base_path: Path, keep: int) -> list[int]:
    """Removes them, and returns their numbers. Needs the lock.

    A version that cannot be removed is left for the next push: the new one is live by now.
    """
    folders = contracts.version_folders(base_path)
    made = ledger.current(ledger.history(base_path))
    gone: list[int] = []
    for version in sorted(superfluous(folders, made, keep)):
        digest = made[version].digest if version in made else None
        reason = f"keep_versions is {keep}"
        entry = Entry(ledger.REMOVED, version, ledger.now(), digest, reason=reason)
        try:
            # The line first: a version that vanished without one would be pushed again.
            ledger.append(base_path, [entry])
            staging.remove(folders[version], base_path)
        except OSError as error:
            _log.warning("version %d of %s stays: %s", version, base_path, error)
            break
        gone.append(version)
    if gone:
        _log.info("removed version %s of %s", ledger.named(gone), base_path)
    return gone
