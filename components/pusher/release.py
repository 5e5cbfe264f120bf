"""From a published version to one that servers answer with: confirmation, then the label."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
from collections.abc import Mapping
from typing import Any

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher import failures, labels, ledger, retention, server_files
from slimworks.components.pusher import rollback as rolling_back
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.destination import model_name_of, open_destination
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.publish import Published, publish

_ASKING_NOBODY = PushConfig()

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Promotion:
    """A label that moved.

    Attributes:
        version: The version that is stable now.
        previous: The one that was; None: none was.
        place: The version's folder or URI.
    """

    version: int
    previous: int | None
    place: str


def publish_and_label(
    model_folder: str | os.PathLike[str],
    base_path: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any],
    config: PushConfig,
    additions: Mapping[str, bytes] | None = None,
) -> Published:
    """Publishes, waits for the servers of `config.server`, and moves the label.

    Without servers the label moves with the push itself.

    Raises:
        ServingError: A server could not load the version, or not in time: the version stays, the
            label where it was.
        SlimWorksError: As `publish`.
    """
    _check_tls(config)
    published = publish(
        model_folder,
        base_path,
        facts=facts,
        keep_versions=config.keep_versions,
        additions=additions,
        label=None if config.server else config.label,
        spared=_spared(base_path, config),
        server_base_path=config.server_base_path,
    )
    if config.server:
        _confirm_and_label(base_path, published, config)
    return published


def roll_back(
    base_path: str | os.PathLike[str],
    version: int | None = None,
    reason: str = "",
    config: PushConfig = _ASKING_NOBODY,
) -> Published:
    """`rollback`, with the label moved only when the servers have loaded the version.

    Raises:
        ServingError: As `publish_and_label`.
        SlimWorksError: As `rollback`.
    """
    _check_tls(config)
    published = rolling_back.rollback(base_path, version, reason, moves_labels=not config.server)
    if config.server:
        _confirm_and_label(base_path, published, config, retains=False)
    return published


def promote(
    base_path: str | os.PathLike[str],
    version: int | None = None,
    reason: str = "",
    config: PushConfig = _ASKING_NOBODY,
) -> Promotion:
    """Makes the canary, or any version that is there, `stable`: a label moves, nothing is copied.

    Args:
        base_path: Folder with one folder per version; or s3://, gs://.
        version: None: the canary.
        reason: Kept in the ledger.
        config: Servers that have to report it AVAILABLE first.

    Raises:
        ConfigError: There is no canary, no such version, or it is damaged or stable already.
        ServingError: A server could not load it, or not in time; the label stays.
    """
    _check_tls(config)
    destination = open_destination(base_path)
    if not destination.exists():
        raise ConfigError(
            f"{base_path} has no ledger: SlimWorks pushed nothing there.",
            "Give the folder that holds the version numbers.",
        )
    with failures.explained(base_path), destination.publishing():
        found = labels.labels_of(destination.history())
        target = version if version is not None else found.get(labels.CANARY)
        if target is None:
            raise ConfigError(
                f"{base_path} has no canary to promote.",
                "Name a version, or push one with push.label=canary.",
            )
        rolling_back.check_sound(destination, target)
        if found.get(labels.STABLE) == target:
            raise ConfigError(
                f"Version {target} of {base_path} is stable already.",
                "Name another version; `slimworks history` lists them.",
            )
        if config.server:
            server_files.write(destination, also=[target])
    if config.server:
        _wait(base_path, target, config)
    previous = found.get(labels.STABLE)
    entry = Entry(
        ledger.PROMOTED, target, ledger.now(), reason=reason or None, from_version=previous,
        label=labels.STABLE,
    )  # fmt: skip
    with failures.explained(base_path), destination.publishing():
        server_files.append_label(destination, entry)
        server_files.write(destination)
        place = destination.versions()[target]
    _log.info("version %d of %s is stable, after %s", target, base_path, previous)
    return Promotion(target, previous, place)


def _check_tls(config: PushConfig) -> None:
    """Before anything is published: a wrong path must not leave a version without its label."""
    if config.server:
        from slimworks.components.pusher.confirmation import tls_of

        tls_of(config)


def _spared(base_path: str | os.PathLike[str], config: PushConfig) -> retention.Spared:
    if not config.server:
        return retention.nobody_serves
    from slimworks.components.pusher.confirmation import served_versions

    return lambda: served_versions(config, model_name_of(base_path))


def _confirm_and_label(
    base_path: str | os.PathLike[str],
    published: Published,
    config: PushConfig,
    *,
    retains: bool = True,
) -> None:
    destination = open_destination(base_path)
    version = published.version
    with failures.explained(base_path), destination.publishing():
        server_files.write(destination, config.server_base_path, also=[version])
    if not _wait(base_path, version, config):
        _log.warning("version %d of %s was overtaken: no label moves", version, base_path)
        return
    reason = f"AVAILABLE on {', '.join(config.server)}"
    entry = Entry(ledger.LABELLED, version, ledger.now(), reason=reason, label=config.label)
    with failures.explained(base_path), destination.publishing():
        server_files.append_label(destination, entry)
        server_files.write(destination, config.server_base_path)
        if retains:
            spared = _spared(base_path, config)
            retention.remove_superfluous(destination, config.keep_versions, spared)


def _wait(base_path: str | os.PathLike[str], version: int, config: PushConfig) -> bool:
    """Waits for the servers; notes in the ledger where that was in vain."""
    from slimworks.components.pusher.confirmation import wait_until_available

    try:
        return wait_until_available(config, model_name_of(base_path), version)
    except ServingError as error:
        destination = open_destination(base_path)
        entry = Entry(ledger.UNCONFIRMED, version, ledger.now(), reason=error.cause)
        with failures.explained(base_path), destination.publishing():
            destination.append([entry])
            server_files.write(destination)
        place = shlex.quote(os.fspath(base_path))
        raise ServingError(
            f"{error.cause} The version stays, no label moved.",
            f"{error.fix} Then: slimworks promote {version} --base-path {place}; or, where "
            f"servers take the newest version: slimworks rollback --base-path {place}",
        ) from error
