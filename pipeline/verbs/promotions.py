"""Verbs on the promotion ledger: history, rollback, why."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import click

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.paths import pipelines_below

_place_options = (
    click.option("--base-path", metavar="DIR", help="Folder that the server watches."),
    click.option(
        "--root", default="slimworks-runs", show_default=True, help="Where runs are kept."
    ),
)


def _place(function: Any) -> Any:
    for option in reversed(_place_options):
        function = option(function)
    return function


def _base_path(base_path: str | None, root: str) -> str:
    """The given folder, or the only one that a pipeline below `root` pushed to."""
    if base_path is not None:
        if not (Path(base_path) / contracts.LEDGER_FOLDER).is_dir():
            raise ConfigError(
                f"{base_path} has no ledger: SlimWorks pushed nothing there.",
                "Give the folder that holds the version numbers.",
            )
        return base_path
    found = [
        str(ledger.parent)
        for paths in pipelines_below(Path(root))
        for ledger in sorted(paths.serving.glob(f"*/{contracts.LEDGER_FOLDER}"))
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"Nothing was pushed below {root}.", "Give --base-path DIR, or the --root of the run."
        )
    raise ConfigError(
        f"Several models were pushed below {root}: {', '.join(found)}.",
        f"Choose one: --base-path {found[0]}",
    )


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


@verb("history", "  slimworks history\n  slimworks history --base-path serving/flowers\n")
@_place
def history_verb(base_path: str | None, root: str, as_json: bool, debug: bool) -> int:
    """List what was pushed and rolled back, oldest first."""
    from slimworks.components.pusher.ledger import history

    place = _base_path(base_path, root)
    entries = [dataclasses.asdict(entry) for entry in history(place)]
    live = max(contracts.version_folders(place), default=None)
    lines = [f"{place} (live: version {live})"]
    for entry in entries:
        facts = entry["facts"]
        accuracy = facts.get("metrics", {}).get("accuracy") if facts else None
        detail = "" if accuracy is None else f"accuracy {accuracy:.4f}"
        lines.append(
            f"{_when(entry['time'])}  {entry['event']:<12} version {entry['version']:<5} "
            f"{detail} {entry.get('reason') or ''}".rstrip()
        )
    emit({"base_path": place, "live": live, "entries": entries}, as_json, "\n".join(lines))
    return 0


@verb("rollback", "  slimworks rollback                 the model before\n  slimworks rollback 3\n")
@click.argument("version", required=False, type=int)
@_place
@click.option("--reason", default="", help="Kept in the ledger.")
def rollback_verb(
    version: int | None, base_path: str | None, root: str, reason: str, as_json: bool, debug: bool
) -> int:
    """Serve an earlier version again, by publishing it under the next number."""
    from slimworks.components.pusher.rollback import rollback

    place = _base_path(base_path, root)
    published = rollback(place, version, reason=reason)
    value = {"version": published.version, "pushed_to": str(published.path)}
    emit(value, as_json, f"rolled back: live is now version {published.version}: {published.path}")
    return 0


@verb("why", "  slimworks why 3\n")
@click.argument("version", type=int)
@_place
def why_verb(version: int, base_path: str | None, root: str, as_json: bool, debug: bool) -> int:
    """Say why a version is in production: its run, verdict and metrics."""
    from slimworks.components.pusher.ledger import why

    entry = dataclasses.asdict(why(_base_path(base_path, root), version))
    lines = [f"version {version}: {entry['event']} at {_when(entry['time'])}"]
    lines += [
        f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry["facts"].items()
    ]
    emit(entry, as_json, "\n".join(lines))
    return 0
