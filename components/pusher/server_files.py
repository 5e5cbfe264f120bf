"""`labels.json` and `models.config`, made anew from the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterable

from slimworks.components import files, formats
from slimworks.components.pusher import labels
from slimworks.components.pusher.destination import Destination, is_uri, model_name_of
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.manifest import encoded

_LABELS_FORMAT = 1


def write(
    destination: Destination,
    server_base_path: str | None = None,
    also: Iterable[int] = (),
) -> None:
    """Writes both where there are labels and they changed. Called within `publishing()`.

    Args:
        destination: Of the ledger.
        server_base_path: The base path as servers see it; None: as it was written last, or as
            here.
        also: Versions that servers are to load besides.
    """
    entries = destination.history()
    found = labels.labels_of(entries)
    if not found:
        return
    place = server_base_path or _written_last(destination)
    facts = {"format": _LABELS_FORMAT, "labels": dict(sorted(found.items()))}
    if place is not None:
        facts["server_base_path"] = place
    elif is_uri(destination.base_path):
        place = destination.base_path
    else:
        place = os.path.abspath(destination.base_path)
    config = labels.models_config(
        model_name_of(destination.base_path),
        place,
        sorted({*labels.wanted_versions(entries, found), *also}),
        found,
    )
    for name, content in (
        (labels.LABELS_FILE, encoded(facts)),
        (labels.MODELS_CONFIG_FILE, config),
    ):
        if destination.read_state(name) != content:
            destination.write_state(name, content)


def append_label(destination: Destination, entry: Entry) -> bool:
    """Adds an event that moves a label, unless it moves nothing; returns whether it does."""
    entries = destination.history()
    if labels.labels_of([*entries, entry]) == labels.labels_of(entries):
        return False
    destination.append([entry])
    return True


def _written_last(destination: Destination) -> str | None:
    content = destination.read_state(labels.LABELS_FILE)
    if not content:
        return None
    try:
        value = files.parse_json(content)
        place = value.get("server_base_path")
    except (ValueError, AttributeError):
        return None  # damaged; it is made anew from the ledger
    formats.require(value.get("format", 1), _LABELS_FORMAT, labels.LABELS_FILE)
    return place if isinstance(place, str) else None
