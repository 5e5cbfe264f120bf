"""Verbs that look at runs: runs, show, report."""

from __future__ import annotations

import shlex
import urllib.parse
import webbrowser
from pathlib import Path
from typing import Any

import click

from slimworks.components import contracts, formats
from slimworks.components.errors import ConfigError, nearest
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.paths import PipelinePaths, is_locked, pipelines_below
from slimworks.pipeline.verbs import cluster
from slimworks.pipeline.verbs.cluster import kubeflow_options

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
                found.append((folder, {**formats.read(record), "home": str(paths.home)}))
    return sorted(found, key=lambda item: item[0].name)


def find_run(root: str, run_id: str | None) -> tuple[Path, dict[str, Any]]:
    """(folder, run.json) of a run below `root`, by the start of its id; None: the newest.

    Raises:
        ConfigError: No run, or several, have such an id.
    """
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
        raise ConfigError(
            f"{run_id!r} names {what}", f"List them: slimworks runs --root {shlex.quote(root)}"
        )
    return matches[0]


def pushed_run(root: str) -> tuple[Path, dict[str, Any]]:
    """(folder, run.json) of the newest run below `root` that pushed a version.

    Raises:
        ConfigError: None did.
    """
    found = [run for run in _all_runs(root) if run[1].get("version") is not None]
    if not found:
        raise ConfigError(
            f"No run below {root} pushed a model.",
            "Give the --root that `slimworks run` used, or choose a run: --run RUN",
        )
    return found[-1]


def _state(record: dict[str, Any]) -> str:
    if record["state"] == "running":
        home = Path(record["home"])
        return "running" if is_locked(PipelinePaths(home.parent, home.name)) else "killed"
    if record["state"] != "ended":
        return str(record["state"])
    if record["error"]:
        return "failed"
    return str(record["verdict"] or "ended")


@verb(
    "runs",
    "  slimworks runs\n  slimworks runs --json\n"
    "  slimworks runs --kubeflow --host https://kubeflow.example/pipeline\n",
)
@_root_option
@kubeflow_options
def runs_verb(
    root: str,
    is_kubeflow: bool,
    config_path: str | None,
    host: str | None,
    namespace: str | None,
    token_file: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """List runs with verdict and accuracy, newest last."""
    if is_kubeflow:
        config = cluster.load(config_path, (), None, host, namespace)
        return cluster.list_runs(cluster.connect(config, token_file), as_json)
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
    "  slimworks show                       the newest run\n  slimworks show 20261121-0530\n"
    "  slimworks show --kubeflow RUN        its steps on Kubeflow; --follow: until it ends\n",
)
@click.argument("run_id", required=False, metavar="[RUN]")
@_root_option
@kubeflow_options
@click.option("--follow", is_flag=True, help="With --kubeflow: wait for the end.")
def show_verb(
    run_id: str | None,
    root: str,
    is_kubeflow: bool,
    config_path: str | None,
    host: str | None,
    namespace: str | None,
    token_file: str | None,
    follow: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Show a run: steps with the reason each ran or was reused, metrics and verdict."""
    if is_kubeflow:
        config = cluster.load(config_path, (), None, host, namespace)
        server = cluster.connect(config, token_file)
        run_id = run_id or cluster.newest_run(server)
        show = cluster.follow_run if follow else cluster.show_run
        return show(server, run_id, as_json)
    folder, record = find_run(root, run_id)
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
    "report",
    "  slimworks report            path of the newest report\n  slimworks report --open\n"
    "  slimworks report --all      a page that lists all runs\n",
)
@click.argument("run_id", required=False, metavar="[RUN]")
@_root_option
@click.option("--all", "is_index", is_flag=True, help="Write a page that lists all runs.")
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
def report_verb(
    run_id: str | None, root: str, is_index: bool, open_browser: bool, as_json: bool, debug: bool
) -> int:
    """Print (or open) the path of a run's HTML report, or of the page of all runs."""
    if is_index and run_id is not None:
        raise ConfigError(
            f"--all is the page of all runs, {run_id!r} is one.", "Give one of the two."
        )
    value = {"report": str(_write_index(root))} if is_index else _report_of(root, run_id)
    if open_browser:
        webbrowser.open(Path(value["report"]).resolve().as_uri())
    emit(value, as_json, value["report"])
    return 0


def _report_of(root: str, run_id: str | None) -> dict[str, str]:
    folder, record = find_run(root, run_id)
    path = folder / "report.html"
    if not path.is_file():
        raise ConfigError(
            f"Run {record['run_id']} ({_state(record)}) has no report.",
            "Wait until it ends." if _state(record) == "running" else "Run the pipeline again.",
        )
    return {"run_id": record["run_id"], "report": str(path)}


def _write_index(root: str) -> Path:
    from slimworks.components.report.index_page import write_index

    found = _all_runs(root)
    if not found:
        raise ConfigError(f"There is no run below {root}.", "Give the --root of your runs.")
    runs = []
    for folder, record in found:
        page = folder / "report.html"
        # Quoted: a folder may be called `javascript:...`.
        address = urllib.parse.quote(page.relative_to(root).as_posix()) if page.is_file() else None
        runs.append({**record, "state": _state(record), "report": address})
    # Of several pushes the last one says where the pipeline pushes to.
    served = {run["name"]: run["pushed_to"] for run in runs if run.get("pushed_to")}
    live = {
        name: max(contracts.version_folders(Path(path).parent), default=None)
        for name, path in served.items()
    }
    path = Path(root) / "index.html"
    write_index(path, f"Runs below {Path(root).resolve().name}", runs, live)
    return path
