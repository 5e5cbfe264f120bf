"""`slimworks run --runner containers`: compiles to YAML, then executes that file in containers.

The run root is the workspace, mounted at its own path: what the steps leave there is what a local
run leaves, and each runner reuses the other's results.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import EXIT_CRASH, ConfigError
from slimworks.pipeline import launcher
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.containers import surroundings
from slimworks.pipeline.containers.backend import ContainerBackend
from slimworks.pipeline.containers.engine import Engine, lend, take_back
from slimworks.pipeline.containers.execution import TIMED_OUT, Ended, Execution
from slimworks.pipeline.containers.ir import CompiledPipeline
from slimworks.pipeline.kubeflow import compiling, finishing
from slimworks.pipeline.kubeflow.outputs import REPORT
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.terminal import StepRecord, View

COMPILED_FILE, ENGINE_FILE = "pipeline.kfp.yaml", "containers.json"
# A step's own lines, as run_node logs them.
_LINE = re.compile(r"(?P<level>INFO|WARNING) slimworks\.[\w.]+: (?P<message>.*)")
_LEVELS = {"INFO": logging.INFO, "WARNING": logging.WARNING}
_KILLED = 137  # by SIGKILL: also what happens where memory runs out


def prepare(config: PipelineConfig, image: str) -> tuple[Engine, str]:
    """Finds the engine and the image before anything is written.

    Returns:
        The engine, and the id of the image.

    Raises:
        ConfigError: One of them is missing.
    """
    engine = Engine.find(config.containers.engine)
    return engine, engine.image_id(image)


def containers_key(paths: PipelinePaths) -> str:
    """What the containers of a pipeline's runs are labelled with."""
    return hashlib.sha256(str(paths.home).encode()).hexdigest()[:16]


def run_steps(
    config: PipelineConfig,
    paths: PipelinePaths,
    run_id: str,
    *,
    image: str,
    command: str,
    wanted: Set[str] | None,
    on_end: Callable[[launcher.NodeResult], None],
    view: View,
) -> None:
    """Compiles the pipeline and executes it; the exit handler writes run.json and the report.

    Args:
        config: As `surroundings.as_seen_in_containers` returns it.
        paths: Folders of the pipeline.
        run_id: The run.
        image: Container image of every step.
        command: What was typed, for the manifest.
        wanted: Steps to run; None: all.
        on_end: Called with the result of each node.
        view: Shows what the nodes say.

    Raises:
        ConfigError: Something that the containers need is not on this machine.
        KeyboardInterrupt: As it came; the containers are stopped and removed.
    """
    engine, image_id = prepare(config, image)
    folder = paths.run(run_id)
    compiled = compiling.compile_text(config, image, has_cluster=False)
    files.write_text(folder / COMPILED_FILE, compiled.text)
    record = {"engine": engine.name, "image": image, "image_id": image_id}
    files.write_json(folder / ENGINE_FILE, record)
    pipeline = CompiledPipeline.read(folder / COMPILED_FILE)
    key = containers_key(paths)
    shared = surroundings.surroundings(config, paths, key, image_id, folder / "logs", command)
    shared.check(pipeline.steps())
    engine.remove_leftovers(key)

    def tell(ended: Ended) -> None:
        if ended.step != REPORT:
            on_end(node_result(paths, run_id, ended))

    with _lent(surroundings.written_folders(config, paths)):
        Execution(
            pipeline,
            ContainerBackend(
                engine, shared, lambda step, line: _show_line(view, paths, step, line)
            ),
            run_id,
            folder / "outputs",
            wanted=None if wanted is None else wanted | {REPORT},
            max_parallel=config.containers.parallel_steps,
            on_start=view.started,
            on_end=tell,
            on_tick=view.tick,
        ).run()


@contextlib.contextmanager
def _lent(folders: list[Path]) -> Iterator[None]:
    try:
        for folder in folders:
            lend(folder)
        yield
    finally:
        for folder in folders:
            take_back(folder)


def _show_line(view: View, paths: PipelinePaths, step: str, line: str) -> None:
    """Shows a line of SlimWorks's own as the local runner does; the log has all of them."""
    if found := _LINE.fullmatch(line):
        message = found["message"].removeprefix(f"{step}: ").replace(f"{paths.home}/", "")
        view.record(step, StepRecord(_LEVELS[found["level"]], message))


def node_result(paths: PipelinePaths, run_id: str, ended: Ended) -> launcher.NodeResult:
    """What became of a node; one that left no result of its own gets one here.

    Args:
        paths: Folders of the pipeline.
        run_id: The run.
        ended: Its container.
    """
    path = finishing.result_path(paths, run_id, ended.step)
    if path.is_file():
        result = finishing.read_result(path)
        if ended.code == 0 or result.state == launcher.FAILED:
            return result
    log = paths.run(run_id) / "logs" / f"{ended.step}.log"
    error = _error(ended, log)
    result = launcher.NodeResult(
        ended.step, launcher.FAILED, ended.seconds, error["cause"], None, error
    )
    finishing.write_result(paths, run_id, result)
    return result


def _error(ended: Ended, log: Path) -> dict[str, Any]:
    """Why a container ended without a result: what it wrote last, or how it ended."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    causes = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    fixes = [line.removeprefix("Fix:   ") for line in lines if line.startswith("Fix:   ")]
    tries = f" in {ended.attempts} tries" if ended.attempts > 1 else ""
    step = ended.step
    if ended.code == TIMED_OUT:
        cause = f"The container of {step} was stopped: it took too long{tries}."
        fix = f"Raise kubeflow.steps.{step}.timeout_seconds, then run again: it goes on."
    elif ended.code == _KILLED:
        cause = f"The container of {step} was killed{tries} (out of memory?)."
        fix = f"Raise kubeflow.steps.{step}.memory, then run again: finished steps are kept."
    elif causes and fixes:
        return _described("ConfigError", causes[-1], fixes[-1], ended.code)
    else:
        cause = f"The container of {step} ended with code {ended.code}{tries}."
        fix = f"Look at {log}, then run again: finished steps are kept."
    return _described("ContainerError", cause, fix, EXIT_CRASH)


def _described(kind: str, cause: str, fix: str, exit_code: int) -> dict[str, Any]:
    return {"type": kind, "cause": cause, "fix": fix, "exit_code": exit_code}


def refuse_force(force: str | None) -> None:
    """Raises ConfigError for `--force`: a compiled pipeline has no such parameter."""
    if force is not None:
        raise ConfigError(
            "--force does not work with --runner containers: the compiled pipeline has no way past "
            "the gate.",
            "Run it locally with the same --root; what is done is reused: --runner local --force",
        )
