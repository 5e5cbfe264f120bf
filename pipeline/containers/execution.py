"""Executes a compiled pipeline: order, conditions, retries, the exit handler whatever happens.

What a container is, is the backend's affair (`engine.py`).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol

from slimworks.components.errors import (
    EXIT_DATA,
    EXIT_INTERRUPTED,
    EXIT_SERVING,
    EXIT_TRAINING,
    EXIT_USAGE,
)
from slimworks.pipeline.containers.ir import ROOT, CompiledPipeline, Container, Task
from slimworks.pipeline.containers.placeholders import Values, bound_value, holds

# The same again would end the same: a setting, the data, the model.
FINAL_CODES = frozenset({EXIT_USAGE, EXIT_DATA, EXIT_TRAINING, EXIT_SERVING})
TIMED_OUT = 124  # as timeout(1)
TICK_SECONDS = 1.0


class State(enum.Enum):
    """What became of a task."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Call:
    """One try of one step: its container, every placeholder filled.

    Attributes:
        step: The task.
        attempt: From 1.
        container: What to run.
        folder: Where its outputs go; empty, and there.
    """

    step: str
    attempt: int
    container: Container
    folder: Path


@dataclasses.dataclass(frozen=True)
class Ended:
    """What became of a step.

    Attributes:
        step: The task.
        code: Exit code of its last try; TIMED_OUT where it took too long.
        attempts: How many tries.
        seconds: Of all of them, with the pauses between.
        folder: Its outputs.
    """

    step: str
    code: int
    attempts: int
    seconds: float
    folder: Path


class Backend(Protocol):
    """What runs containers."""

    def run(self, call: Call) -> int:
        """Runs one try to its end; returns the exit code, TIMED_OUT where it was stopped."""

    def stop(self) -> None:
        """Stops and removes what runs; `run` returns then."""


class Execution:
    """One run of a compiled pipeline."""

    def __init__(
        self,
        pipeline: CompiledPipeline,
        backend: Backend,
        run_id: str,
        folder: Path,
        *,
        parameters: Mapping[str, Any] | None = None,
        wanted: Set[str] | None = None,
        max_parallel: int = 2,
        on_start: Callable[[str], None] = lambda step: None,
        on_end: Callable[[Ended], None] = lambda ended: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepares a run.

        Args:
            pipeline: What to run.
            backend: Runs the containers.
            run_id: Stands for Kubeflow's id of the run.
            folder: A folder for each step's outputs comes below it.
            parameters: Win over the pipeline's defaults.
            wanted: The only steps to run; None: all.
            max_parallel: Containers at once.
            on_start: Called with each step that starts, in this thread.
            on_end: Called with each step that ended, in this thread.
            on_tick: Called every second, in this thread.
        """
        self._pipeline, self._backend, self._folder = pipeline, backend, folder
        self._run = {"pipeline_job_uuid": run_id, "pipeline_job_name": pipeline.name}
        self._wanted, self._max_parallel = wanted, max_parallel
        self._on_start, self._on_end, self._on_tick = on_start, on_end, on_tick
        self._root = _Group(pipeline, ROOT, {**pipeline.defaults, **(parameters or {})}, None)
        self._groups = [self._root]
        self._running: dict[concurrent.futures.Future[Ended], tuple[_Group, Task]] = {}
        self._is_failed = False
        self._is_stopped = threading.Event()
        self._ended: dict[str, Ended] = {}

    def run(self) -> dict[str, Ended]:
        """Runs to the end; returns what ran. After a failure only exit handlers start.

        Raises:
            KeyboardInterrupt: As it came; every container is stopped and removed.
        """
        with concurrent.futures.ThreadPoolExecutor(self._max_parallel) as pool:
            try:
                while self._advance(pool) or self._running:
                    self._take_ended()
            except BaseException:
                self._is_stopped.set()
                self._backend.stop()
                raise
        return self._ended

    def _advance(self, pool: concurrent.futures.Executor) -> bool:
        """Starts, skips and closes what can be; whether anything changed."""
        has_changed = False
        for group in list(self._groups):
            for task in group.tasks_to_decide():
                has_changed = self._decide(pool, group, task) or has_changed
            if group.is_over() and group in self._groups:
                self._groups.remove(group)
                group.close()
                has_changed = True
        return has_changed

    def _decide(self, pool: concurrent.futures.Executor, group: _Group, task: Task) -> bool:
        """Starts or skips a task whose turn has come; False where it has to wait for room."""
        if self._is_left_out(group, task):
            group.states[task.name] = State.SKIPPED
            return True
        is_group = self._pipeline.is_group(task.component)
        if not is_group and len(self._running) >= self._max_parallel:
            return False
        inputs = {
            name: bound_value(given, group.inputs, group.outputs, self._run)
            for name, given in task.inputs.items()
        }
        if task.condition and not holds(task.condition, inputs):
            group.states[task.name] = State.SKIPPED
            return True
        group.states[task.name] = State.RUNNING
        if is_group:
            inner = _Group(self._pipeline, task.component, inputs, (group, task.name))
            self._groups.append(inner)
        else:
            self._on_start(task.name)
            self._running[pool.submit(self._run_step, task, inputs)] = (group, task)
        return True

    def _is_left_out(self, group: _Group, task: Task) -> bool:
        if task.is_always_run:
            return False
        if self._is_failed or any(group.states[name] != State.SUCCEEDED for name in task.after):
            return True
        is_step = not self._pipeline.is_group(task.component)
        return is_step and self._wanted is not None and task.name not in self._wanted

    def _take_ended(self) -> None:
        """Waits for the next container that ends, or a second."""
        if not self._running:
            return
        done, _ = concurrent.futures.wait(
            self._running, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED
        )
        self._on_tick()
        for future in done:
            group, task = self._running.pop(future)
            ended = future.result()
            self._ended[task.name] = ended
            is_failed = ended.code != 0
            group.states[task.name] = State.FAILED if is_failed else State.SUCCEEDED
            if not is_failed:
                component = self._pipeline.component(task.component)
                group.outputs[task.name] = Values(component, {}, ended.folder).output_parameters()
            self._is_failed = self._is_failed or is_failed
            self._on_end(ended)

    def _run_step(self, task: Task, inputs: Mapping[str, Any]) -> Ended:
        """Tries a container until it succeeds, or trying again is of no use."""
        folder = self._folder / task.name
        started = time.monotonic()
        pauses = task.retry.pauses()
        for attempt, pause in enumerate([*pauses, None], 1):
            shutil.rmtree(folder, ignore_errors=True)  # what a failed try left
            folder.mkdir(parents=True)
            code = self._backend.run(self._call(task, attempt, inputs, folder))
            is_final = code == 0 or code in FINAL_CODES or pause is None
            if is_final or self._is_stopped.wait(pause):
                break
        code = EXIT_INTERRUPTED if self._is_stopped.is_set() else code
        return Ended(task.name, code, attempt, time.monotonic() - started, folder)

    def _call(self, task: Task, attempt: int, inputs: Mapping[str, Any], folder: Path) -> Call:
        values = Values(self._pipeline.component(task.component), inputs, folder)
        container = self._pipeline.container(task.component)
        filled = dataclasses.replace(
            container,
            command=tuple(map(values.filled, container.command)),
            args=tuple(map(values.filled, container.args)),
            environment={key: values.filled(v) for key, v in container.environment.items()},
        )
        return Call(task.name, attempt, filled, folder)


class _Group:
    """A group of tasks that is being run."""

    def __init__(
        self,
        pipeline: CompiledPipeline,
        component: str,
        inputs: Mapping[str, Any],
        holder: tuple[_Group, str] | None,
    ) -> None:
        self.inputs, self._holder = inputs, holder
        self._tasks = pipeline.tasks(component)
        self.states = dict.fromkeys(self._tasks, State.WAITING)
        self.outputs: dict[str, dict[str, Any]] = {}

    def tasks_to_decide(self) -> Iterator[Task]:
        """Tasks that wait for nothing more."""
        for task in self._tasks.values():
            before = {self.states[name] for name in task.after}
            is_ready = not before & {State.WAITING, State.RUNNING}
            if is_ready and self.states[task.name] == State.WAITING:
                yield task

    def is_over(self) -> bool:
        """Whether nothing waits or runs."""
        return not {State.WAITING, State.RUNNING} & set(self.states.values())

    def close(self) -> None:
        """Tells the group that holds this one."""
        if self._holder is not None:
            group, name = self._holder
            is_failed = State.FAILED in self.states.values()
            group.states[name] = State.FAILED if is_failed else State.SUCCEEDED
