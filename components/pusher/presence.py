"""What the cache key of a push depends on: whether what was pushed is still there.

The same model must not be pushed twice, and a rollback must not be undone by a run that reuses
everything; but a push whose version vanished has to be done again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, formats
from slimworks.components.pusher import ledger
from slimworks.components.pusher.destination import open_destination

INTACT = "intact"
PUBLISHED = "published"  # exec property, and the fact in the ledger that holds its value


def presence_of(digest: str, base_path: str, earlier: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the value of the exec property `published` for a model.

    - Never pushed: "intact".
    - Pushed, and on disk as any version, live or not: the value that it was pushed with.
    - Pushed, and made room for newer versions (keep_versions), or rolled back: likewise.
    - Pushed, and later another model was pushed over it: a value that names that version, so
      that going back to old settings puts the old model back into production.
    - Pushed, and gone without a trace: a value that was never used before.

    Args:
        digest: Of the model's SavedModel folder (`manifest.digest_of`).
        base_path: Where it was or will be published.
        earlier: pushed.json of this node's earlier executions by name of their folder. The
            ledger alone would not tell a base path that was deleted from a new one.
    """
    destination = open_destination(base_path)
    entries = destination.history()
    mine = [entry for entry in entries if entry.digest == digest]
    made = [entry for entry in mine if entry.event in ledger.MAKING]
    pushed = [entry for entry in made if entry.event != ledger.ROLLED_BACK]
    values = [str(entry.facts[PUBLISHED]) for entry in pushed if PUBLISHED in entry.facts]
    value_then = values[-1] if values else INTACT  # a push by hand has none
    versions = destination.versions()
    if any(entry.version in versions for entry in made):
        return value_then if (live := _superseded_by(digest, entries)) is None else live
    if mine and mine[-1].event == ledger.REMOVED:
        return value_then
    if ledger.rolled_back_by(digest, entries) is not None:
        return value_then  # nobody wants it back: its folder may have been deleted by hand
    if any(destination.digest_of(version) == digest for version in versions):
        return value_then  # the ledger was lost, the version was not
    executions = [
        name
        for name, pushed_model in earlier.items()
        if (pushed_model.get("digest"), pushed_model.get("base_path")) == (digest, base_path)
    ]
    if executions:
        return f"missing: {max(executions, key=_execution_order)}"
    return f"missing: version {pushed[-1].version}" if pushed else INTACT


def _superseded_by(digest: str, entries: Sequence[ledger.Entry]) -> str | None:
    """The value for a model that another push replaced; None where it is live or rolled back."""
    last = max(
        (entry for entry in entries if entry.event in ledger.MAKING),
        key=lambda entry: entry.version,
    )
    if last.digest == digest or last.event == ledger.ROLLED_BACK:
        return None
    if ledger.rolled_back_by(digest, entries) is not None:
        return None
    return f"superseded: version {last.version}"


def earlier_pushes(output_folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """pushed.json of a node's executions, by the name of the folder (the execution's id).

    Args:
        output_folder: The output of the execution that is about to start: their sibling.
    """
    found = {}
    for path in sorted(Path(output_folder).parent.glob(f"*/{contracts.PUSHED_FILE}")):
        found[path.parent.name] = formats.read(path)
    return found


def _execution_order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else -1, name)
