"""Which versions stay on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from slimworks.components.pusher import labels, ledger
from slimworks.components.pusher.destination import Destination
from slimworks.components.pusher.ledger import Entry

# Asks the servers for the versions that they hold; None: one of them does not answer.
Spared = Callable[[], set[int] | None]

_log = logging.getLogger(__name__)


def nobody_serves() -> set[int]:
    """For base paths whose servers are not known."""
    return set()


def superfluous(
    versions: Iterable[int],
    made: Mapping[int, Entry],
    keep: int,
    labelled: Collection[int] = (),
) -> list[int]:
    """Versions that may go.

    All but the `keep` newest, what the live one was rolled back to, and labelled ones.
    """
    newest_first = sorted(versions, reverse=True)
    live = made.get(newest_first[0]) if newest_first else None
    target = live.to_version if live is not None else None
    stays = {*labelled, target}
    return [version for version in newest_first[max(keep, 1) :] if version not in stays]


def remove_superfluous(
    destination: Destination, keep: int, spared: Spared = nobody_serves
) -> list[int]:
    """Removes them, and returns their numbers. Called within `publishing()`.

    A version that cannot be removed is left for the next push: the new one is live by now. So are
    all where a server does not say what it serves.
    """
    entries = destination.history()
    made, labelled = ledger.current(entries), labels.labels_of(entries).values()
    candidates = superfluous(destination.versions(), made, keep, labelled)
    served = spared() if candidates else set()
    if served is None:
        _log.warning("no version of %s is removed: a server does not answer", destination.base_path)
        return []
    gone: list[int] = []
    for version in sorted(set(candidates) - served):
        digest = made[version].digest if version in made else None
        reason = f"keep_versions is {keep}"
        entry = Entry(ledger.REMOVED, version, ledger.now(), digest, reason=reason)
        try:
            # The line first: a version that vanished without one would be pushed again.
            destination.append([entry])
            destination.remove(version)
        except OSError as error:
            _log.warning("version %d of %s stays: %s", version, destination.base_path, error)
            break
        gone.append(version)
    if gone:
        _log.info("removed version %s of %s", ledger.named(gone), destination.base_path)
    return gone
