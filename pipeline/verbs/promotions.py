"""Verbs on the promotion ledger: history, promote, rollback, why."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.paths import pipelines_below

if TYPE_CHECKING:
    from slimworks.components.pusher.config import PushConfig

_place_options = (
    click.option(
        "--base-path", metavar="DIR", help="Folder that the server watches, or s3://, gs://."
    ),
    click.option(
        "--root", default="slimworks-runs", show_default=True, help="Where runs are kept."
    ),
)


_server_options = (
    click.option(
        "--server",
        "servers",
        multiple=True,
        metavar="HOST:PORT",
        help="Model server that has to load the version before its label moves; several times.",
    ),
    click.option(
        "--timeout", default=180.0, show_default=True, help="Seconds for the servers to load it."
    ),
    click.option("--ca", metavar="FILE", help="Ask the servers by TLS: who vouches for them."),
    click.option("--cert", metavar="FILE", help="Own certificate, where they ask for one."),
    click.option("--key", metavar="FILE", help="Its key."),
)


def server_options(function: Any) -> Any:
    """Adds --server and how to reach it; the function gets them as `asked`: push settings."""

    @functools.wraps(function)
    def with_settings(
        *arguments: Any,
        servers: tuple[str, ...],
        timeout: float,
        ca: str | None,
        cert: str | None,
        key: str | None,
        **options: Any,
    ) -> Any:
        asked = {
            "server": servers,
            "confirm_timeout_seconds": timeout,
            "server_ca": ca,
            "server_cert": cert,
            "server_key": key,
        }
        return function(*arguments, asked=asked, **options)

    decorated: Any = with_settings
    for option in reversed(_server_options):
        decorated = option(decorated)
    return decorated


def push_settings(**settings: Any) -> PushConfig:
    """Settings from the command line.

    Raises:
        ConfigError: A value does not fit.
    """
    import pydantic

    from slimworks.components.pusher.config import PushConfig

    try:
        return PushConfig.model_validate(settings)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(
            f"{fault['loc'][0]} is {fault['input']!r}: {fault['msg']}.",
            "See slimworks push --help.",
        ) from None


def place_options(function: Any) -> Any:
    """Adds --base-path and --root."""
    for option in reversed(_place_options):
        function = option(function)
    return function


def find_base_path(base_path: str | None, root: str) -> str:
    """The given place, or the only folder that a pipeline below `root` pushed to."""
    if base_path is not None:
        from slimworks.components.pusher.destination import open_destination

        if not open_destination(base_path).exists():
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
        f"Choose one: --base-path {shlex.quote(found[0])}",
    )


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _forced(facts: dict[str, Any] | None) -> str:
    """Who pushed past the gate's refusal, and why; empty where nobody had to."""
    forced = (facts or {}).get("forced")
    return f"forced by {forced['by']}: {forced['reason']}" if forced else ""


@verb("history", "  slimworks history\n  slimworks history --base-path serving/flowers\n")
@place_options
def history_verb(base_path: str | None, root: str, as_json: bool, debug: bool) -> int:
    """List what was pushed, labelled and rolled back, oldest first."""
    from slimworks.components.pusher.destination import open_destination
    from slimworks.components.pusher.labels import labels_of

    place = find_base_path(base_path, root)
    destination = open_destination(place)
    history = destination.history()
    live, labels = max(destination.versions(), default=None), labels_of(history)
    named = "".join(f", {label}: {version}" for label, version in sorted(labels.items()))
    lines = [f"{place} (live: version {live}{named})"]
    entries = [dataclasses.asdict(entry) for entry in history]
    lines += [_history_line(entry) for entry in entries]
    value = {"base_path": place, "live": live, "labels": labels, "entries": entries}
    emit(value, as_json, "\n".join(lines))
    return 0


def _history_line(entry: dict[str, Any]) -> str:
    facts = entry["facts"]
    accuracy = facts.get("metrics", {}).get("accuracy") if facts else None
    details = (
        entry["label"],
        None if accuracy is None else f"accuracy {accuracy:.4f}",
        entry["reason"] or _forced(facts),
    )
    text = " ".join(detail for detail in details if detail)
    line = f"{_when(entry['time'])}  {entry['event']:<12} version {entry['version']:<5} {text}"
    return line.rstrip()


@verb(
    "promote",
    "  slimworks promote                  the canary\n  slimworks promote 7\n"
    "  slimworks promote --server 10.0.0.5:8500\n",
)
@click.argument("version", required=False, type=int)
@place_options
@server_options
@click.option("--reason", default="", help="Kept in the ledger.")
def promote_verb(
    version: int | None,
    base_path: str | None,
    root: str,
    asked: dict[str, Any],
    reason: str,
    as_json: bool,
    debug: bool,
) -> int:
    """Make the canary, or another version, `stable`: the label moves, nothing is copied.

    Servers that follow .slimworks/models.config take it over; those that serve the highest number
    need `slimworks rollback` to go back.
    """
    from slimworks.components.pusher.release import promote

    place = find_base_path(base_path, root)
    done = promote(place, version, reason, push_settings(**asked))
    value = {"version": done.version, "previous": done.previous, "place": done.place}
    before = "" if done.previous is None else f" (was version {done.previous})"
    emit(value, as_json, f"promoted: stable is now version {done.version}{before}: {done.place}")
    return 0


@verb("rollback", "  slimworks rollback                 the model before\n  slimworks rollback 3\n")
@click.argument("version", required=False, type=int)
@place_options
@server_options
@click.option("--reason", default="", help="Kept in the ledger.")
def rollback_verb(
    version: int | None,
    base_path: str | None,
    root: str,
    asked: dict[str, Any],
    reason: str,
    as_json: bool,
    debug: bool,
) -> int:
    """Serve an earlier version again, by publishing it under the next number, as `stable`."""
    from slimworks.components.pusher.release import roll_back

    place = find_base_path(base_path, root)
    published = roll_back(place, version, reason, push_settings(**asked))
    value = {"version": published.version, "pushed_to": published.place}
    emit(value, as_json, f"rolled back: live is now version {published.version}: {published.place}")
    return 0


@verb("why", "  slimworks why 3\n")
@click.argument("version", type=int)
@place_options
def why_verb(version: int, base_path: str | None, root: str, as_json: bool, debug: bool) -> int:
    """Say why a version is in production: its run, verdict and metrics."""
    from slimworks.components.pusher.destination import open_destination
    from slimworks.components.pusher.ledger import reason_of

    place = find_base_path(base_path, root)
    entry = dataclasses.asdict(reason_of(open_destination(place).history(), version, place))
    lines = [f"version {version}: {entry['event']} at {_when(entry['time'])}"]
    if forced := _forced(entry["facts"]):
        lines.append(f"  {forced}")
    lines += [
        f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry["facts"].items()
    ]
    emit(entry, as_json, "\n".join(lines))
    return 0
