"""Publishes a SavedModel as the next version below a base path that model servers watch."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.pusher import failures, ledger, locking, placement, retention, staging
from slimworks.components.pusher.ledger import Entry

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Published:
    """A version in its place.

    Attributes:
        version: Its number.
        path: Its folder.
        digest: `files.sha256_of_tree` of the folder.
        already_live: It was there before: nothing was pushed.
    """

    version: int
    path: Path
    digest: str
    already_live: bool = False


def publish(
    model_folder: str | os.PathLike[str],
    base_path: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any],
    keep_versions: int,
) -> Published:
    """Publishes a SavedModel atomically, or finds it live already.

    Servers see nothing or all of it. A kill at any moment leaves at most rubbish that the next
    call clears away, or a version whose ledger line the next call makes up for.

    Args:
        model_folder: The SavedModel.
        base_path: Folder with one folder per version; made where it is missing.
        facts: Kept in the ledger; JSON without NaN. The digest is added.
        keep_versions: Newest versions to keep, at least one; the live one always stays.

    Raises:
        DataError: `model_folder` holds no SavedModel, or changed while it was copied.
        ConfigError: No room, no permission, a damaged ledger, or a publisher that never ends;
            nothing was published.
    """
    source, base = Path(model_folder), Path(base_path)
    started = time.monotonic()
    if not (source / staging.SAVED_MODEL_FILE).is_file():
        raise DataError(
            f"{source} holds no {staging.SAVED_MODEL_FILE}.",
            "Give the output of `slimworks train` or `slimworks export`.",
        )
    digest = files.sha256_of_tree(source)
    with failures.explained(base), locking.publishing_lock(base):
        placement.recover(base)
        # Before as well: on a full volume, lowering keep_versions has to make room.
        retention.remove_superfluous(base, keep_versions)
        published = _found_live(base, digest) or _push(source, base, digest, facts)
        retention.remove_superfluous(base, keep_versions)
    _log.info(
        "%s version %d in %.2f s: %s",
        "found live" if published.already_live else "pushed",
        published.version, time.monotonic() - started, published.path,
    )  # fmt: skip
    return published


def _found_live(base: Path, digest: str) -> Published | None:
    """The live version, if it is this model: its files are read, not the ledger's word taken."""
    version = staging.live_version(base)
    if version is None:
        return None
    folder = contracts.version_folders(base)[version]
    if files.sha256_of_tree(folder) != digest:
        return None
    return Published(version, folder, digest, already_live=True)


def _push(source: Path, base: Path, digest: str, facts: Mapping[str, Any]) -> Published:
    with staging.staged(source, base, staging.copy_file) as folder:
        if files.sha256_of_tree(folder) != digest:
            raise DataError(
                f"{source} changed while it was copied.", "Push again when nobody writes to it."
            )
        version = staging.next_version(base)
        entry = Entry(ledger.PUSHED, version, ledger.now(), digest, {**facts, "digest": digest})
        return Published(version, placement.place(base, folder, entry), digest)
