"""Runs a function over task files on the engine that the Beam flags name, until all are done.

A task is done when its result file exists. So a task that ran is not run again, a worker that was
killed loses only what it was at, and progress is the number of files, whatever the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from slimworks.components import beam_options
from slimworks.components.beam_options import RunnerFlags
from slimworks.components.errors import DataError, SlimWorksError
from slimworks.components.ingest.engine.attempts import (
    Attempt,
    Counts,
    fault_path,
    is_done,
    raise_fault,
)
from slimworks.components.ingest.engine.job_server import job_arguments
from slimworks.components.ingest.engine.local_job import LocalJob
from slimworks.components.ingest.engine.processes import sparing_garbage
from slimworks.components.ingest.engine.workers import Workers
from slimworks.components.progress import Progress

_LOGGER = logging.getLogger(__name__)
# Of a cluster whose workers die now and then; each run must at least finish some tasks.
MAX_JOBS = 5
MAX_FRUITLESS_JOBS = 2
# Of so few tasks (five hundred photos, or the shards of a gigabyte) this machine is done before
# Beam is imported: 2 seconds, which an ingest of some new photos should not take.
SMALL_JOB_TASKS = 8


def run_tasks(
    label: str,
    function: Callable[[str], Counts],
    items: Sequence[str],
    beam_pipeline_args: Sequence[str] = (),
    num_images: int = 0,
) -> None:
    """Calls `function` for each item that has no result yet, until each has one.

    Args:
        label: Name of the step: of its progress, and in the runner's own displays.
        function: Picklable and idempotent; writes `worklist.result_path(item)` last, under another
            name and renamed; returns counts by counter name.
        items: Paths of task files of one folder, readable by every worker.
        beam_pipeline_args: Beam flags, such as `--direct_num_workers=2`.
        num_images: Images in all items together, for the progress; 0 counts items.

    Raises:
        SlimWorksError: As the function raised it.
        ConfigError: The flags do not fit, or the engine they name is not there.
        DataError: Workers die again and again, or results do not arrive.
        OSError: As the function raised it.
        TaskError: The function raised anything else.
    """
    flags = beam_options.parse_flags(beam_pipeline_args)
    waiting = [item for item in items if not is_done(item)]
    if not waiting:
        return
    # Left behind where an earlier run was killed.
    fault_path(waiting[0]).unlink(missing_ok=True)
    with _progress(label, items, waiting, num_images):
        num_fruitless = 0
        for number in range(MAX_JOBS):
            lost = _run_job(label, function, waiting, flags)
            raise_fault(waiting[0])
            left = [item for item in waiting if not is_done(item)]
            if not left:
                return
            num_fruitless = num_fruitless + 1 if len(left) == len(waiting) else 0
            if number == MAX_JOBS - 1 or num_fruitless == MAX_FRUITLESS_JOBS:
                _give_up(label, left, flags, lost)
            _LOGGER.warning(
                "ingest: %s: going on with the %d tasks that are left", label, len(left)
            )
            waiting = left


def _progress(
    label: str, items: Sequence[str], waiting: Sequence[str], num_images: int
) -> Progress:
    """Progress in images, as if each task had the same number of them, or in tasks."""
    total, unit = (num_images, "images") if num_images else (len(items), "tasks")
    left = list(waiting)

    def num_done() -> int:
        left[:] = [item for item in left if not is_done(item)]
        return total * (len(items) - len(left)) // len(items)

    return Progress(label, total, unit, initial=num_done(), count=num_done)


def _run_job(
    label: str,
    function: Callable[[str], Counts],
    items: Sequence[str],
    flags: RunnerFlags,
) -> Exception | None:
    """Runs one job; returns the runner's own error, after which tasks may be left."""
    attempt = Attempt(function)
    is_small = flags.is_local and len(items) <= SMALL_JOB_TASKS
    try:
        if is_small and flags.running_mode == beam_options.MULTI_PROCESSING:
            _run_in_processes(attempt, items, flags)
        elif is_small:
            with sparing_garbage():
                for item in items:
                    attempt(item)
        elif flags.is_local:
            LocalJob(label, attempt, tuple(items), flags).run_apart()
        else:
            with job_arguments(flags) as arguments:
                from slimworks.components.ingest.engine.beam_job import run_job

                run_job(label, attempt, items, arguments)
    except SlimWorksError:
        raise
    except Exception as error:
        _LOGGER.warning("ingest: %s: %s lost the job: %s", label, flags.runner, _first_line(error))
        return error
    return None


def _run_in_processes(attempt: Attempt, items: Sequence[str], flags: RunnerFlags) -> None:
    with Workers(attempt, min(flags.num_workers, len(items))) as workers:
        workers.run(items)
    if workers.error is not None:
        raise workers.error


def _give_up(label: str, left: Sequence[str], flags: RunnerFlags, lost: Exception | None) -> None:
    raise DataError(
        f"{flags.runner} ended {label} with {len(left)} tasks undone, the first {left[0]}"
        + (f": {_first_line(lost)}" if lost else "."),
        "Look at the engine's own log; run again: finished tasks are kept.",
    ) from lost


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
