"""Publishes a SavedModel as the next version below a base path that model servers watch."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components.errors import DataError
from slimworks.components.pusher import failures, ledger, manifest, retention, server_files
from slimworks.components.pusher.destination import Destination, open_destination
from slimworks.components.pusher.ledger import Entry

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Published:
    """A version in its place.

    Attributes:
        version: Its number.
        place: Its folder or URI.
        digest: `files.sha256_of_tree` of the model's files.
        already_live: It was there before: nothing was pushed.
    """

    version: int
    place: str
    digest: str
    already_live: bool = False

    @property
    def path(self) -> Path:
        """The folder, where `place` is one."""
        return Path(self.place)


def publish(
    model_folder: str | os.PathLike[str],
    base_path: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any],
    keep_versions: int,
    additions: Mapping[str, bytes] | None = None,
    label: str | None = None,
    spared: retention.Spared = retention.nobody_serves,
    server_base_path: str | None = None,
) -> Published:
    """Publishes a SavedModel atomically, or finds it live already.

    Servers see nothing or all of it. A kill at any moment leaves at most rubbish that the next
    call clears away, or a version whose ledger line the next call makes up for.

    Args:
        model_folder: The SavedModel.
        base_path: Folder with one folder per version, made where it is missing; or s3://, gs://.
        facts: Kept in the ledger; JSON without NaN. The digest is added.
        keep_versions: Newest versions to keep, at least one; the live one and those with a label
            always stay.
        additions: More files of the version, by relative name; no part of the digest.
        label: Given to the version by the same event; None: by nobody, or later (`release`).
        spared: Says which versions servers hold.
        server_base_path: The base path as servers see it, where that is another one.

    Raises:
        DataError: `model_folder` holds no SavedModel, or changed while it was copied.
        ConfigError: No room, no permission, a damaged ledger, or a publisher that never ends;
            nothing was published.
        ServingError: An object store does not answer.
    """
    source = Path(model_folder)
    started = time.monotonic()
    if not (source / manifest.SAVED_MODEL_FILE).is_file():
        raise DataError(
            f"{source} holds no {manifest.SAVED_MODEL_FILE}.",
            "Give the output of `slimworks train` or `slimworks export`.",
        )
    digest = manifest.digest_of(source)
    destination = open_destination(base_path)
    with failures.explained(base_path), destination.publishing():
        # Before as well: on a full volume, lowering keep_versions has to make room.
        retention.remove_superfluous(destination, keep_versions, spared)
        published = _found_live(destination, digest, label)
        if published is None:
            entry = Entry(ledger.PUSHED, 0, 0.0, digest, {**facts, "digest": digest}, label=label)
            version, place = destination.place(
                source, digest, lambda version: _numbered(entry, version), additions or {}
            )
            published = Published(version, place, digest)
        server_files.write(destination, server_base_path)  # before what it names may go
        retention.remove_superfluous(destination, keep_versions, spared)
    _log.info(
        "%s version %d in %.2f s: %s",
        "found live" if published.already_live else "pushed",
        published.version, time.monotonic() - started, published.place,
    )  # fmt: skip
    return published


def _numbered(entry: Entry, version: int) -> Entry:
    return dataclasses.replace(entry, version=version, time=ledger.now())


def _found_live(destination: Destination, digest: str, label: str | None) -> Published | None:
    """The live version, if it is this model: its files are read, not the ledger's word taken."""
    places = destination.versions()
    version = max(places, default=None)
    if version is None or destination.digest_of(version) != digest:
        return None
    if label is not None:
        entry = Entry(ledger.LABELLED, version, ledger.now(), label=label)
        server_files.append_label(destination, entry)
    return Published(version, places[version], digest, already_live=True)
