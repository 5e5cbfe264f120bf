"""One run, from photos to a verdict: build, launch, collect, report."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files, formats
from slimworks.components.errors import (
    EXIT_CRASH,
    EXIT_PUSHED,
    EXIT_REFUSED,
    ConfigError,
)
from slimworks.components.ingest.sources.detect import canonical_source
from slimworks.components.nets import own_nets
from slimworks.pipeline import budget, dag, launcher, selection
from slimworks.pipeline.cli import say
from slimworks.pipeline.config import PipelineConfig, pipeline_name, to_yaml
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.kubeflow.config import MetadataConfig
from slimworks.pipeline.manifest import run_manifest
from slimworks.pipeline.paths import PipelinePaths, exclusive, new_run_id
from slimworks.pipeline.plan import plan_line
from slimworks.pipeline.terminal import View, new_view

LOCAL, CONTAINERS = "local", "containers"

_FORMAT = {"format": formats.NEWEST["run.json"]}


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How to run, apart from the configuration itself."""

    root: Path = Path("slimworks-runs")
    first_step: str | None = None
    last_step: str | None = None
    no_cache: str | None = None  # a step, or "all"
    budget_seconds: float | None = None  # wins over train.budget_seconds
    command: str = "slimworks run"
    force: str | None = None  # why the candidate is pushed though the gate refuses it
    runner: str = LOCAL
    image: str | None = None  # of the containers; None: kubeflow.image


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """What a run came to; `to_json` is what `run --json` prints."""

    run_id: str
    name: str
    exit_code: int
    verdict: str | None
    reasons: list[str]
    version: int | None
    pushed_to: str | None
    metrics: dict[str, Any]
    report: str | None
    steps: list[dict[str, Any]]
    error: dict[str, Any] | None
    seconds: float
    label_map_version: int | None = None
    data: dict[str, Any] | None = None
    model: str | None = None
    manifest: str | None = None
    artifacts: dict[str, str] = dataclasses.field(default_factory=dict)  # name: folder
    tracking: dict[str, str] = dataclasses.field(default_factory=dict)  # sink: address or reason
    gate_table: str = ""

    def to_json(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        value = dataclasses.asdict(self)
        del value["gate_table"]  # for people; the bounds are in decision.json
        return value

    @classmethod
    def from_record(cls, record: Mapping[str, Any], gate_table: str) -> RunOutcome:
        """Reads back an ended run.json, which has more than the outcome."""
        names = {field.name for field in dataclasses.fields(cls)} & record.keys()
        return cls(**{name: record[name] for name in names}, gate_table=gate_table)


def run_pipeline(config: PipelineConfig, options: RunOptions) -> RunOutcome:
    """Runs the pipeline on this machine, in processes or in containers.

    Args:
        config: The configuration; `data.source` must be set.
        options: Run root and which steps to run.

    Raises:
        SlimWorksError: The run cannot start. A failing step is part of the outcome instead.
    """
    if not config.data.source:
        raise ConfigError(
            "No data: data.source is not set.", "Give a folder of photos: slimworks run --data DIR."
        )
    started = time.time()
    if options.budget_seconds is not None:
        train = config.train.model_copy(update={"budget_seconds": options.budget_seconds})
        config = config.model_copy(update={"train": train})
    selection.check_steps(options)
    _check_force(options)
    paths = PipelinePaths(
        options.root.resolve(), config.name or pipeline_name(str(config.data.source))
    )
    _check_inputs(config, paths)
    _check_trackers(config)
    _check_runner(config, options)
    paths.create(canonical_source(str(config.data.source), config.data), bool(config.name))
    with exclusive(paths), _terminate_as_interrupt():
        budget.set_deadline(paths, started, config.train.budget_seconds)
        return _run(config, options, paths)


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (systemd, Kubernetes, timeout) ends a run as Ctrl-C does: checkpoint, then stop."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _check_force(options: RunOptions) -> None:
    if options.force is not None and not options.force.strip():
        raise ConfigError(
            "--force has no reason.",
            'Say why, for the ledger: --force "the old model fails on the new camera".',
        )


def _force_json(options: RunOptions) -> str:
    """What the gate takes: who, and why, on one line; empty without --force."""
    if options.force is None:
        return ""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    by = f"{user}@{socket.gethostname()}"
    return json.dumps({"by": by, "reason": " ".join(options.force.split())})


def _check_inputs(config: PipelineConfig, paths: PipelinePaths) -> None:
    """Finds what would stop the run anyway, before seconds are spent on imports."""
    from slimworks.components.ingest.listing import check_source

    check_source(str(config.data.source), config.data, (str(paths.state),))
    checkpoint = config.train.checkpoint_path
    if checkpoint and not Path(checkpoint).exists() and dag.checkpoint_state(checkpoint) == "[]":
        raise ConfigError(
            f"train.checkpoint_path {checkpoint} does not exist.",
            "Give a TF-Slim checkpoint: its prefix (without .index), its file or its folder.",
        )
    if own_nets.is_own(config.model.net):
        _ = config.model.spec  # imported and built, in a process of its own


def _check_trackers(config: PipelineConfig) -> None:
    if config.tracking.mlflow_uri:
        from slimworks.components.tracking.mlflow_sink import check_installed

        check_installed()


def _check_runner(config: PipelineConfig, options: RunOptions) -> None:
    if options.runner == CONTAINERS:
        from slimworks.pipeline.containers import running

        running.refuse_force(options.force)
        image = options.image or config.kubeflow.image
        own_nets.require_installed(config.model.net, image)
        running.prepare(config, image)


def _run(config: PipelineConfig, options: RunOptions, paths: PipelinePaths) -> RunOutcome:
    run_id = new_run_id(paths.runs)
    results: list[launcher.NodeResult] = []
    record = paths.run(run_id) / "run.json"
    begun = {**_FORMAT, "run_id": run_id, "name": paths.name, "state": "running", "steps": []}
    try:
        files.write_text(record.with_name("config.yaml"), to_yaml(config))
        files.write_json(record, begun)
        return _run_steps(config, options, paths, run_id, results)
    except KeyboardInterrupt:
        from slimworks.pipeline.interruption import interrupted_run

        if not record.exists() or files.read_json(record)["state"] == "ended":
            raise  # nothing is done yet, or all but the report
        interrupted = interrupted_run(run_id, paths, results, options.command)
        steps = [result.to_json() for result in results]
        files.write_json(record, {**begun, "state": "interrupted", "steps": steps})
        raise interrupted from None


def _run_steps(
    config: PipelineConfig,
    options: RunOptions,
    paths: PipelinePaths,
    run_id: str,
    results: list[launcher.NodeResult],
) -> RunOutcome:
    """Runs the steps, adding to `results` as they end, and concludes the run."""
    from slimworks.pipeline import tfx_import

    started = time.monotonic()
    say(f"run {run_id} of {paths.name}: {config.data.source} -> {paths.home}")
    last = dag.NODES.index(options.last_step) if options.last_step else len(dag.NODES) - 1
    say(plan_line(config, paths, dag.NODES[: last + 1]))
    tfx_import.load()
    from slimworks.pipeline.metadata import abandon_unfinished, check_reachable, connect

    is_local = options.runner == LOCAL
    kept_in = MetadataConfig() if is_local else config.kubeflow.metadata
    connection = connect(kept_in, paths.metadata)
    if kept_in.kind != "sqlite":
        check_reachable(kept_in, connection)
    with connection as handle:
        abandoned = abandon_unfinished(handle.store, paths.name, dag.NODES)
    _remove_unfinished(paths, abandoned)
    with new_view(sys.stderr) as view:

        def on_end(result: launcher.NodeResult) -> None:
            results.append(result)
            view.ended(result)

        run = _run_in_processes if is_local else _run_in_containers
        run(config, options, paths, run_id, on_end, view)
    seconds = time.monotonic() - started
    if not is_local:  # the exit handler has concluded it, if nothing went wrong with that, too
        from slimworks.pipeline.kubeflow import finishing

        outcome = finishing.read_outcome(paths, run_id, connection)
        if outcome is not None:
            return dataclasses.replace(outcome, seconds=round(seconds, 1))
    return conclude(config, options, paths, run_id, results, seconds, connection)


def _run_in_processes(
    config: PipelineConfig,
    options: RunOptions,
    paths: PipelinePaths,
    run_id: str,
    on_end: Callable[[launcher.NodeResult], None],
    view: View,
) -> None:
    from slimworks.pipeline import local_runner

    ir = _compiled(config, options, paths, run_id)
    local_runner.run_nodes(ir, paths.metadata, paths.run(run_id) / "logs", on_end, view)


def _run_in_containers(
    config: PipelineConfig,
    options: RunOptions,
    paths: PipelinePaths,
    run_id: str,
    on_end: Callable[[launcher.NodeResult], None],
    view: View,
) -> None:
    from slimworks.pipeline.containers import running, surroundings

    locations = dag.Locations.local(config, paths)
    ir = dag.compile_pipeline(dag.build_pipeline(config, paths.name, locations))
    uncached, kept = selection.uncached_and_kept(options, selection.upstream_of(ir))
    running.run_steps(
        surroundings.as_seen_in_containers(config, paths, uncached),
        paths,
        run_id,
        image=options.image or config.kubeflow.image,
        command=options.command,
        wanted=kept,
        on_end=on_end,
        view=view,
    )


def _compiled(
    config: PipelineConfig, options: RunOptions, paths: PipelinePaths, run_id: str
) -> Any:
    """Compiles the pipeline, keeps the wanted steps and binds the run id."""
    locations = dag.Locations.local(config, paths)
    pipeline = dag.build_pipeline(config, paths.name, locations, _force_json(options))
    ir = dag.compile_pipeline(pipeline)
    no_cache, keep = selection.uncached_and_kept(options, selection.upstream_of(ir))
    nodes = [node for node in ir.nodes if node.pipeline_node.node_info.id in keep]
    for node in nodes:
        if node.pipeline_node.node_info.id in no_cache:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del ir.nodes[:]
    ir.nodes.extend(kept)
    launcher.bind_run_id(ir, run_id)
    return ir


def _remove_unfinished(paths: PipelinePaths, executions: Sequence[str]) -> None:
    """Removes the partial outputs of executions that a killed run left behind."""
    for execution in executions:
        for folder in paths.artifacts.glob(f"*/*/{execution}"):
            shutil.rmtree(folder)
        for folder in paths.artifacts.glob(f"*/.system/*/{execution}"):
            shutil.rmtree(folder)


def conclude(
    config: PipelineConfig,
    options: RunOptions,
    paths: PipelinePaths,
    run_id: str,
    results: Sequence[launcher.NodeResult],
    seconds: float,
    connection: Any = None,
) -> RunOutcome:
    """Collects what a run left behind into run.json, manifest, report and trackers.

    Args:
        config: The run's configuration.
        options: How it was run.
        paths: Folders of the pipeline.
        run_id: The run.
        results: Of its nodes.
        seconds: How long it took.
        connection: ML Metadata; None: the SQLite file of the run root.
    """
    from slimworks.components.gate.table import format_table
    from slimworks.pipeline.reporting import report_inputs, try_run_report
    from slimworks.pipeline.tracking import track

    facts = RunFacts.collect(paths, run_id, connection)
    error = next((r.error for r in results if r.state == launcher.FAILED), None)
    report = paths.run(run_id) / "report.html"
    manifest = paths.run(run_id) / contracts.MANIFEST_FILE
    files.write_json(manifest, run_manifest(facts, options.command, config.data.split_seed))
    decision, pushed = facts.decision(), facts.pushed()
    model = facts.folder("trainer", "model")
    outcome = RunOutcome(
        run_id=run_id,
        name=paths.name,
        exit_code=_exit_code(error, decision),
        verdict=decision["verdict"] if decision else None,
        reasons=decision["reasons"] if decision else facts.nothing_to_do(),
        version=pushed["version"] if pushed else None,
        pushed_to=pushed["pushed_to"] if pushed else None,
        metrics=facts.headline_metrics(),
        report=str(report),
        steps=[result.to_json() for result in results],
        error=error,
        seconds=round(seconds, 1),
        label_map_version=facts.label_map_version(),
        data=facts.data(),
        model=None if model is None else str(model),
        manifest=str(manifest),
        artifacts={channel: str(folder) for (_, channel), folder in facts.folders.items()},
        gate_table=format_table(decision) if decision else "",
    )
    _write_ended(paths, outcome)
    inputs = report_inputs(
        paths.run(run_id),
        facts,
        outcome,
        to_yaml(config),
        options.command,
        config.evaluate.worst_mistakes,
    )
    if not try_run_report(report, inputs):
        outcome = dataclasses.replace(outcome, report=None)
        _write_ended(paths, outcome)
    if tracking := track(config, inputs, report, outcome):
        outcome = dataclasses.replace(outcome, tracking=tracking)
        _write_ended(paths, outcome)
    return outcome


def _write_ended(paths: PipelinePaths, outcome: RunOutcome) -> None:
    value = {**_FORMAT, **outcome.to_json(), "state": "ended"}
    files.write_json(paths.run(outcome.run_id) / "run.json", value)


def _exit_code(error: dict[str, Any] | None, decision: dict[str, Any] | None) -> int:
    if error is not None:
        return int(error.get("exit_code", EXIT_CRASH))
    if decision is None or decision["blessed"]:
        return EXIT_PUSHED
    if decision["verdict"] == contracts.INCONCLUSIVE and decision["on_inconclusive"] == "keep":
        return EXIT_PUSHED
    return EXIT_REFUSED
