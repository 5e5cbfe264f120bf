"""What a worker does with one task, wherever it runs, and how its errors reach the caller.

Runners turn exceptions into text, each in its own way. So the first exception goes into a file
beside the tasks; the other workers see it and stop early; the caller raises it again.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slimworks.components.errors import ERRORS, SlimWorksError
from slimworks.components.ingest import worklist

_LOGGER = logging.getLogger(__name__)
_FAULT_FILE = "fault.json"

Counts = Mapping[str, int]


class TaskError(Exception):
    """An exception of another kind in a task; its traceback is in the log."""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """Calls a task's function once, or not at all where that is no longer needed."""

    function: Callable[[str], Counts]

    def __call__(self, task: str) -> Counts:
        """Returns the function's counts; keeps its exception for the caller."""
        if is_done(task) or fault_path(task).exists():
            return {}
        try:
            return self.function(task)
        except Exception as error:
            _keep_fault(task, error)
            return {}


def is_done(task: str) -> bool:
    """Whether the task's result is there."""
    return worklist.result_path(task).exists()


def fault_path(task: str) -> Path:
    """Where the first exception of a folder of tasks is kept."""
    return Path(task).with_name(_FAULT_FILE)


def _keep_fault(task: str, error: Exception) -> None:
    row: dict[str, Any] = {
        "task": task,
        "type": type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
    }
    if isinstance(error, SlimWorksError):
        # A class of its own is for whoever stands beside it; here its documented one counts.
        documented = (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS)
        row |= {"type": next(documented, type(error).__name__), "message": error.cause}
        row |= {"cause": error.cause, "fix": error.fix, "details": error.details}
    elif isinstance(error, OSError) and error.errno is not None:
        row |= {"errno": error.errno, "strerror": error.strerror, "filename": _name(error.filename)}
    else:
        row |= {"message": str(error)}
    worklist.write_rows(fault_path(task), [row])


def _name(filename: object) -> str | None:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else None


def raise_fault(task: str) -> None:
    """Raises what a worker met in the task's folder; forgets it, so that a later run tries again.

    Raises:
        SlimWorksError: As the worker raised it.
        OSError: With its errno and file.
        TaskError: Anything else.
    """
    path = fault_path(task)
    if not path.exists():
        return
    (row,) = worklist.read_rows(path)
    path.unlink()
    if row["type"] in ERRORS:
        raise ERRORS[row["type"]](row["cause"], row["fix"], row["details"])
    _LOGGER.error("task %s failed:\n%s", row["task"], row["traceback"])
    if "errno" in row:
        raise OSError(row["errno"], row["strerror"], row["filename"])
    raise TaskError(f"{row['type']}: {row['message']}")
