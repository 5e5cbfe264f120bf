"""Which version is `stable` and which `canary`, and the config that tells servers so.

The ledger is the truth; `labels.json` and `models.config` are made from it after every event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from slimworks.components.pusher import ledger
from slimworks.components.pusher.ledger import Entry

STABLE, CANARY = "stable", "canary"
LABELS_FILE = "labels.json"
MODELS_CONFIG_FILE = "models.config"


def labels_of(entries: Iterable[Entry]) -> dict[str, int]:
    """Version by label, after all events.

    A push moves a label forward only: of two publishers at once the higher version keeps it. An
    operator (promote, rollback) moves it to any version. A canary that `stable` has reached or
    passed is none any more.
    """
    labels: dict[str, int] = {}
    newest: int | None = None  # before the event
    for entry in entries:
        if entry.label is not None:
            _move(labels, entry, newest)
        if entry.event in ledger.MAKING:
            newest = max(entry.version, newest or 0)
    return labels


def _move(labels: dict[str, int], entry: Entry, newest: int | None) -> None:
    label, version = str(entry.label), entry.version
    is_operator = entry.event == ledger.PROMOTED or entry.to_version is not None
    if not is_operator and version < labels.get(label, 0):
        return
    if label == CANARY:
        if labels.get(STABLE, newest) == version:
            return
        if newest is not None and newest != version:
            # The first canary beside versions that came before there were labels.
            labels.setdefault(STABLE, newest)
    labels[label] = version
    if label == STABLE and labels.get(CANARY, version + 1) <= version:
        del labels[CANARY]


def wanted_versions(entries: Sequence[Entry], labels: Mapping[str, int]) -> list[int]:
    """What a server should load: labelled versions, and a newer one that awaits its label."""
    found = ledger.current(entries)
    refused = {entry.version for entry in entries if entry.event == ledger.UNCONFIRMED}
    newest = max(found, default=0)
    awaiting = {newest} if newest > max(labels.values(), default=0) else set()
    return sorted({*labels.values(), *(awaiting - refused)} & found.keys())


def models_config(
    name: str, base_path: str, versions: Iterable[int], labels: Mapping[str, int]
) -> bytes:
    """A ModelServerConfig in text format, for `--model_config_file`.

    Args:
        name: The model's name.
        base_path: As the server sees it.
        versions: To load.
        labels: Version by label; each of them is in `versions`.
    """
    specific = " ".join(f"versions: {version}" for version in versions)
    lines = [
        "# Written by SlimWorks after every push, promote and rollback: edits do not last.",
        "model_config_list {",
        "  config {",
        f"    name: {_quoted(name)}",
        f"    base_path: {_quoted(base_path)}",
        '    model_platform: "tensorflow"',
        f"    model_version_policy {{ specific {{ {specific} }} }}",
        *(
            f"    version_labels {{ key: {_quoted(label)} value: {version} }}"
            for label, version in sorted(labels.items())
        ),
        "  }",
        "}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # text format escapes as JSON does
