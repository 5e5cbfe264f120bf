"""One run, from photos to a verdict: build, launch, collect, report."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import (
    EXIT_CRASH,
    EXIT_PUSHED,
    EXIT_REFUSED,
    ConfigError,
    nearest,
)
from slimworks.components.ingest.sources.detect import canonical_source
from slimworks.pipeline import dag, launcher
from slimworks.pipeline.cli import say
from slimworks.pipeline.config import PipelineConfig, pipeline_name, to_yaml
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.paths import PipelinePaths, exclusive, new_run_id

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How to run, apart from the configuration itself."""

    root: Path = Path("slimworks-runs")
    first_step: str | None = None
    last_step: str | None = None
    no_cache: str | None = None  # a step, or "all"
    command: str = "slimworks run"


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
    gate_table: str = ""

    def to_json(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        value = dataclasses.asdict(self)
        del value["gate_table"]  # for people; the bounds are in decision.json
        return value


def run_pipeline(config: PipelineConfig, options: RunOptions) -> RunOutcome:
    """Runs the pipeline on this machine.

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
    _check_steps(options)
    paths = PipelinePaths(
        options.root.resolve(), config.name or pipeline_name(str(config.data.source))
    )
    _check_inputs(config, paths)
    paths.create(canonical_source(str(config.data.source), config.data), bool(config.name))
    with exclusive(paths), _terminate_as_interrupt():
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


def _check_steps(options: RunOptions) -> None:
    for option, step in (
        ("--from", options.first_step),
        ("--until", options.last_step),
        ("--no-cache", None if options.no_cache == "all" else options.no_cache),
    ):
        if step is not None and step not in dag.NODES:
            raise ConfigError(
                f"{option} {step!r} is no step.{nearest(step, dag.NODES)}",
                f"Steps: {', '.join(dag.NODES)}.",
            )
    if options.first_step and options.last_step:
        first, last = (dag.NODES.index(s) for s in (options.first_step, options.last_step))
        if first > last:
            raise ConfigError(
                f"--from {options.first_step} comes after --until {options.last_step}.",
                f"Steps: {', '.join(dag.NODES)}.",
            )


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


def _run(config: PipelineConfig, options: RunOptions, paths: PipelinePaths) -> RunOutcome:
    from slimworks.pipeline import tfx_import

    started = time.monotonic()
    run_id = new_run_id()
    run_folder = paths.run(run_id)
    run_folder.mkdir(parents=True)
    files.write_text(run_folder / "config.yaml", to_yaml(config))
    record: dict[str, Any] = {"run_id": run_id, "name": paths.name, "state": "running", "steps": []}
    files.write_json(run_folder / "run.json", record)
    say(f"run {run_id} of {paths.name}: {config.data.source} -> {paths.home}")
    tfx_import.load()
    from slimworks.pipeline import local_runner
    from slimworks.pipeline.metadata import SqliteMetadata, abandon_unfinished

    ir = _compiled(config, options, paths, run_id)
    with SqliteMetadata(paths.metadata) as connection:
        abandoned = abandon_unfinished(connection.store, paths.name, dag.NODES)
    _remove_unfinished(paths, abandoned)
    results: list[launcher.NodeResult] = []

    def on_end(result: launcher.NodeResult) -> None:
        results.append(result)
        _say_result(result)

    try:
        local_runner.run_nodes(ir, paths.metadata, run_folder / "logs", on_end)
    except KeyboardInterrupt:
        steps = [result.to_json() for result in results]
        record.update(state="interrupted", steps=steps)
        files.write_json(run_folder / "run.json", record)
        raise
    return _conclude(config, options, paths, run_id, results, time.monotonic() - started)


def _compiled(
    config: PipelineConfig, options: RunOptions, paths: PipelinePaths, run_id: str
) -> Any:
    """Compiles the pipeline, keeps the wanted steps and binds the run id."""
    pipeline = dag.build_pipeline(config, paths.name, dag.Locations.local(config, paths))
    ir = dag.compile_pipeline(pipeline)
    upstream = {n.pipeline_node.node_info.id: set(n.pipeline_node.upstream_nodes) for n in ir.nodes}
    no_cache: set[str] = set()
    if options.no_cache == "all":
        no_cache = set(upstream)
    elif options.no_cache:
        no_cache = {options.no_cache}
    if options.first_step:
        no_cache |= {n for n in upstream if options.first_step in _ancestors(n, upstream) | {n}}
    keep = set(upstream)
    if options.last_step:
        keep = _ancestors(options.last_step, upstream) | {options.last_step}
    nodes = [node for node in ir.nodes if node.pipeline_node.node_info.id in keep]
    for node in nodes:
        if node.pipeline_node.node_info.id in no_cache:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del ir.nodes[:]
    ir.nodes.extend(kept)
    launcher.bind_run_id(ir, run_id)
    return ir


def _ancestors(node: str, upstream: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [node]
    while pending:
        for parent in upstream[pending.pop()] - found:
            found.add(parent)
            pending.append(parent)
    return found


def _remove_unfinished(paths: PipelinePaths, executions: Sequence[str]) -> None:
    """Removes the partial outputs of executions that a killed run left behind."""
    for execution in executions:
        for folder in paths.artifacts.glob(f"*/*/{execution}"):
            shutil.rmtree(folder)
        for folder in paths.artifacts.glob(f"*/.system/*/{execution}"):
            shutil.rmtree(folder)


def _conclude(
    config: PipelineConfig,
    options: RunOptions,
    paths: PipelinePaths,
    run_id: str,
    results: Sequence[launcher.NodeResult],
    seconds: float,
) -> RunOutcome:
    from slimworks.components.gate.table import format_table
    from slimworks.pipeline.reporting import write_run_report

    facts = RunFacts.collect(paths, run_id)
    error = next((r.error for r in results if r.state == launcher.FAILED), None)
    report = paths.run(run_id) / "report.html"
    decision, pushed = facts.decision(), facts.pushed()
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
        gate_table=format_table(decision) if decision else "",
    )
    files.write_json(paths.run(run_id) / "run.json", {**outcome.to_json(), "state": "ended"})
    try:
        write_run_report(
            report, facts, outcome, to_yaml(config), options.command, config.evaluate.worst_mistakes
        )
    except Exception:
        # The model is pushed or refused already: a page that cannot be drawn must not hide that.
        _log.exception("the report could not be written")
        outcome = dataclasses.replace(outcome, report=None)
        files.write_json(paths.run(run_id) / "run.json", {**outcome.to_json(), "state": "ended"})
    return outcome


def _exit_code(error: dict[str, Any] | None, decision: dict[str, Any] | None) -> int:
    if error is not None:
        return int(error.get("exit_code", EXIT_CRASH))
    if decision is None or decision["blessed"]:
        return EXIT_PUSHED
    if decision["verdict"] == contracts.INCONCLUSIVE and decision["on_inconclusive"] == "keep":
        return EXIT_PUSHED
    return EXIT_REFUSED


def _say_result(result: launcher.NodeResult) -> None:
    """One line for a step on stderr; the baseline's look-up is part of the evaluation."""
    if result.name != "baseline" or result.state == launcher.FAILED:
        say(f"{result.name:<11} {result.state:<8}{result.seconds:7.1f} s  {result.reason}")
