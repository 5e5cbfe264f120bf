"""The last step on Kubeflow, which always runs: what became of the others, and the report.

It leaves what a local run leaves, below `<workspace>/<name>/runs/`: `slimworks runs --root
<workspace>` lists it, wherever the volume is mounted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from slimworks.components import files, formats
from slimworks.components.errors import EXIT_CRASH
from slimworks.pipeline import dag, launcher
from slimworks.pipeline.config import PipelineConfig, to_yaml
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.run import RunOptions, RunOutcome, conclude

# What was typed, where somebody typed it: for the manifest.
COMMAND_VARIABLE = "SLIMWORKS_COMMAND"


def result_path(paths: PipelinePaths, run_id: str, node: str) -> Path:
    """Where a step's container leaves its result for this one."""
    return paths.run(run_id) / "steps" / f"{node}.json"


def write_result(paths: PipelinePaths, run_id: str, result: launcher.NodeResult) -> None:
    """Keeps a step's result; that of an earlier try is replaced."""
    files.write_json(result_path(paths, run_id, result.name), result.to_json())


def read_result(path: Path) -> launcher.NodeResult:
    """Reads what `write_result` wrote."""
    value = files.read_json(path)
    del value["cached"]
    return launcher.NodeResult(**value)


def read_results(paths: PipelinePaths, run_id: str, connection: Any) -> list[launcher.NodeResult]:
    """Results of the steps that ran, in order; a step that left none was killed.

    Args:
        paths: Folders of the pipeline.
        run_id: The run.
        connection: ML Metadata: it knows of steps that began.
    """
    from slimworks.pipeline import metadata

    with connection as handle:
        run = {e.id for e in metadata.executions_of_run(handle.store, run_id)}
        begun = {
            node: mine[-1]
            for node in dag.NODES
            if (mine := _of_run(handle.store, paths.name, node, run))
        }
    results = []
    for node in dag.NODES:
        path = result_path(paths, run_id, node)
        if path.is_file():
            results.append(read_result(path))
        elif node in begun:
            results.append(_killed(node, begun[node]))
    return results


def read_outcome(paths: PipelinePaths, run_id: str, connection: Any) -> RunOutcome | None:
    """What `finish` left of a run; None where it did not get to its end.

    Args:
        paths: Folders of the pipeline.
        run_id: The run.
        connection: ML Metadata.
    """
    from slimworks.components.gate.table import format_table

    record = formats.read(paths.run(run_id) / "run.json")
    if record["state"] != "ended":
        return None
    decision = RunFacts.collect(paths, run_id, connection).decision()
    return RunOutcome.from_record(record, format_table(decision) if decision else "")


def _of_run(store: Any, name: str, node: str, run: set[int]) -> list[Any]:
    from slimworks.pipeline import metadata

    return [e for e in metadata.executions_of_node(store, name, node) if e.id in run]


def _killed(node: str, execution: Any) -> launcher.NodeResult:
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    cause = f"The container of {node} ended without a result: it was killed."
    error = {
        "type": "KilledError",
        "cause": cause,
        "fix": f"Look at its pod; where memory ran out, raise kubeflow.steps.{node}.memory.",
        "exit_code": EXIT_CRASH,
    }
    return launcher.NodeResult(
        node, launcher.FAILED, milliseconds / 1000, cause, execution.id, error
    )


def finish(
    config: PipelineConfig, paths: PipelinePaths, run_id: str, connection: Any
) -> RunOutcome:
    """Writes config.yaml, run.json, manifest and report of a run.

    Args:
        config: The run's configuration.
        paths: Folders of the pipeline, on the volume.
        run_id: The run.
        connection: ML Metadata.
    """
    paths.create(str(config.data.source), is_name_chosen=True)
    paths.run(run_id).mkdir(parents=True, exist_ok=True)
    files.write_text(paths.run(run_id) / "config.yaml", to_yaml(config))
    results = read_results(paths, run_id, connection)
    seconds = sum(result.seconds for result in results)
    command = os.environ.get(COMMAND_VARIABLE) or f"Kubeflow run {run_id}"
    options = RunOptions(root=paths.root, command=command)
    return conclude(config, options, paths, run_id, results, seconds, connection)
