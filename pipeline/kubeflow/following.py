"""Follows a run on Kubeflow: its steps as they change, and the exit code that it comes to."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any

from slimworks.components.errors import (
    EXIT_CRASH,
    EXIT_DATA,
    EXIT_INTERRUPTED,
    EXIT_PUSHED,
    EXIT_REFUSED,
    EXIT_SERVING,
    EXIT_TRAINING,
    ConfigError,
)
from slimworks.pipeline.kubeflow.config import STEPS
from slimworks.pipeline.kubeflow.server import Server

SUCCEEDED, FAILED, CANCELED = "SUCCEEDED", "FAILED", "CANCELED"
ENDED = (SUCCEEDED, FAILED, CANCELED, "SKIPPED")
# A pod's own exit code is not in the API: what usually stops the step.
_EXIT_CODES = {
    "ingest": EXIT_DATA,
    "statistics": EXIT_DATA,
    "schema": EXIT_DATA,
    "validation": EXIT_DATA,
    "transform": EXIT_DATA,
    "trainer": EXIT_TRAINING,
    "replay": EXIT_SERVING,
}


@dataclasses.dataclass(frozen=True)
class StepState:
    """One step of a run on Kubeflow.

    Attributes:
        name: The step.
        state: Kubeflow's word: PENDING, RUNNING, SUCCEEDED, ...
        seconds: How long it took, or has taken so far; None before it starts.
        error: What Kubeflow says of its failure.
    """

    name: str
    state: str
    seconds: float | None
    error: str


def steps_of(run: Any) -> list[StepState]:
    """The steps of a run that Kubeflow knows of, in the pipeline's order; drivers left out."""
    details = (run.run_details and run.run_details.task_details) or ()
    found: dict[str, StepState] = {}
    for task in details:
        name = str(task.display_name)
        if name in STEPS:
            found[name] = StepState(name, str(task.state), _seconds(task), _error(task))
    return [found[name] for name in STEPS if name in found]


def exit_code(run: Any) -> int:
    """What the run came to: the codes of `slimworks run`."""
    if run.state == CANCELED:
        return EXIT_INTERRUPTED
    steps = {step.name: step.state for step in steps_of(run)}
    if run.state == SUCCEEDED:
        # After a refusal the push is left out; where there was nothing to do, it says so itself.
        is_refused = steps.get("gate") == SUCCEEDED and steps.get("pusher") != SUCCEEDED
        return EXIT_REFUSED if is_refused else EXIT_PUSHED
    failed = next((name for name in STEPS if steps.get(name) == FAILED), None)
    return _EXIT_CODES.get(str(failed), EXIT_CRASH)


def follow(
    server: Server,
    run_id: str,
    on_line: Callable[[str], None],
    every_seconds: float = 5.0,
    pause: Callable[[float], None] = time.sleep,
) -> Any:
    """Waits for the end of a run; says each change of a step.

    Args:
        server: The API.
        run_id: The run.
        on_line: Takes one line for each change.
        every_seconds: Between two looks.
        pause: Waits so many seconds.

    Returns:
        The run as it ended.

    Raises:
        ConfigError: The server refuses; the run goes on.
    """
    shown: dict[str, str] = {}
    while True:
        try:
            run = server.run(run_id)
        except ConfigError as error:
            raise ConfigError(
                f"{error.cause} The run {run_id} goes on.",
                f"{error.fix} Then: slimworks show --kubeflow --follow {run_id}",
            ) from None
        for step in steps_of(run):
            if shown.get(step.name) != step.state:
                shown[step.name] = step.state
                on_line(step_line(step))
        if run.state in ENDED:
            return run
        pause(every_seconds)


def step_line(step: StepState) -> str:
    """One step as the terminal shows it."""
    seconds = "" if step.seconds is None else f"{step.seconds:8.1f} s"
    error = f"  {step.error}" if step.error else ""
    return f"  {step.name:<11}{step.state.lower():<10}{seconds:>10}{error}".rstrip()


def _seconds(task: Any) -> float | None:
    if task.start_time is None or not isinstance(task.start_time, datetime.datetime):
        return None
    # Kubeflow gives a step that goes on the year 1 or 1970 as its end.
    is_over = task.end_time is not None and task.end_time >= task.start_time
    now = datetime.datetime.now(datetime.timezone.utc)
    return float(((task.end_time if is_over else now) - task.start_time).total_seconds())


def _error(task: Any) -> str:
    return "" if task.error is None else " ".join(str(task.error.message or "").split())[:200]
