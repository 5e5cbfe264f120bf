"""Verbs that look at runs: runs, show, report."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import click

from slimworks.components import files
from slimworks.components.errors import ConfigError, nearest
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.paths import PipelinePaths, is_locked, pipelines_below

_root_option = click.option(
    "--root", default="slimworks-runs", show_default=True, help="Where runs are kept."
)


def _all_runs(root: str) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, run.json) of every run below `root`, oldest first."""
    found = []
    for paths in pipelines_below(Path(root)):
        paths.check_format()
        if not paths.runs.is_dir():
            continue
        for folder in paths.runs.iterdir():
            record = folder / "run.json"
            if record.is_file():
                found.append((folder, {**files.read_json(record), "home": str(paths.home)}))
    return sorted(found, key=lambda item: item[0].name)


def _find_run(root: str, run_id: str | None) -> tuple[Path, dict[str, Any]]:
    runs = _all_runs(root)
    if not runs:
        raise ConfigError(f"No run below {root}.", "Give the --root that `slimworks run` used.")
    if run_id is None:
        return runs[-1]
    matches = [item for item in runs if item[0].name.startswith(run_id)]
    if len(matches) != 1:
        names = [folder.name for folder, _ in runs]
        what = f"no run below {root}.{nearest(run_id, names)}"
        if matches:
            what = f"several runs below {root}."
        raise ConfigError(f"{run_id!r} names {what}", f"List them: slimworks runs --root {root}")
    return matches[0]


def _state(record: dict[str, Any]) -> str:
    if record["state"] == "running":
        home = Path(record["home"])
        return "running" if is_locked(PipelinePaths(home.parent, home.name)) else "killed"
    if record["state"] != "ended":
        return str(record["state"])
    if record["error"]:
        return "failed"
    return str(record["verdict"] or "ended")


@verb("runs", "  slimworks runs\n  slimworks runs --json\n")
@_root_option
def runs_verb(root: str, as_json: bool, debug: bool) -> int:
    """List runs with verdict and accuracy, newest last."""
    records = [record for _, record in _all_runs(root)]
    lines = [f"{'run':<24}{'pipeline':<20}{'state':<14}{'accuracy':>9}{'version':>9}"]
    for record in records:
        accuracy = record.get("metrics", {}).get("accuracy")
        version = record.get("version")
        lines.append(
            f"{record['run_id']:<24}{record['name']:<20}{_state(record):<14}"
            f"{'' if accuracy is None else f'{accuracy:.4f}':>9}"
            f"{'' if version is None else version:>9}"
        )
    emit({"runs": records}, as_json, "\n".join(lines) if records else f"No runs below {root}.")
    return 0


@verb(
    "show",
    "  slimworks show                       the newest run\n  slimworks show 20261121-0530\n",
)
@click.argument("run_id", required=False, metavar="[RUN]")
@_root_option
def show_verb(run_id: str | None, root: str, as_json: bool, debug: bool) -> int:
    """Show a run: steps with the reason each ran or was reused, metrics and verdict."""
    folder, record = _find_run(root, run_id)
    lines = [f"run {record['run_id']} of {record['name']}: {_state(record)}"]
    lines += [
        f"  {step['name']:<11}{step['state']:<9}{step['seconds']:>7.1f} s  {step['reason']}"
        for step in record["steps"]
    ]
    if record.get("error"):
        lines += [f"Error: {record['error']['cause']}", f"Fix:   {record['error']['fix']}"]
    lines += [f"  {reason}" for reason in record.get("reasons", [])]
    lines += [f"  {key}: {value}" for key, value in record.get("metrics", {}).items()]
    if record.get("label_map_version") is not None:
        lines.append(f"label map: version {record['label_map_version']}")
    if record.get("pushed_to"):
        lines.append(f"pushed to {record['pushed_to']}")
    lines += [f"folder: {folder}"]
    emit(record, as_json, "\n".join(lines))
    return 0


@verb(
    "report", "  slimworks report            path of the newest report\n  slimworks report --open\n"
)
@click.argument("run_id", required=False, metavar="[RUN]")
@_root_option
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
def report_verb(
    run_id: str | None, root: str, open_browser: bool, as_json: bool, debug: bool
) -> int:
    """Print (or open) the path of a run's HTML report."""
    folder, record = _find_run(root, run_id)
    path = folder / "report.html"
    if not path.is_file():
        raise ConfigError(
            f"Run {record['run_id']} ({_state(record)}) has no report.",
            "Wait until it ends." if _state(record) == "running" else "Run the pipeline again.",
        )
    if open_browser:
        webbrowser.open(path.resolve().as_uri())
    emit({"run_id": record["run_id"], "report": str(path)}, as_json, str(path))
    return 0
