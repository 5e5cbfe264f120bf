"""Task functions that engines run: importable by every worker."""

import hashlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components.errors import DataError
from slimworks.components.ingest import worklist
from slimworks.components.ingest.checking import check_task
from slimworks.components.ingest.sharding import write_shard


def make_tasks(folder: Path, count: int) -> list[str]:
    return worklist.write_tasks(folder / "work", "task", ([{"n": n}] for n in range(count)))


def results(tasks: list[str]) -> list[dict[str, object]]:
    return [row for task in tasks for row in worklist.read_rows(worklist.result_path(task))]


def digest_number(task: str) -> dict[str, int]:
    """Writes the digest of the task's number."""
    (row,) = worklist.read_rows(task)
    digest = hashlib.sha256(str(row["n"]).encode()).hexdigest()
    worklist.write_rows(worklist.result_path(task), [{"n": row["n"], "digest": digest}])
    return {"numbers": 1}


class GoneError(DataError):
    """A kind of DataError that only one module knows."""


def lose_server(task: str) -> dict[str, int]:
    """Fails with an error whose class the caller does not know."""
    raise GoneError("The server is gone.", "Wait for it.")


def digest_slowly(task: str) -> dict[str, int]:
    """Takes a moment and leaves a trace of each call and process."""
    with open(Path(task).with_suffix(".calls"), "a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(0.05)
    return digest_number(task)


def die_once(task: str) -> dict[str, int]:
    """Kills its own process in the middle of task 3, the first time."""
    mark = Path(task).with_name("died")
    if task.endswith("000003.todo") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return digest_slowly(task)


def wait_to_be_killed(task: str) -> dict[str, int]:
    """Says which process is in the middle of task 3, the first time, and stays there."""
    mark = Path(task).with_name("waiting")
    if task.endswith("000003.todo") and not mark.exists():
        worklist.write_rows(mark, [{"pid": os.getpid()}])
        threading.Event().wait()
    return digest_slowly(task)


def die_always(task: str) -> dict[str, int]:
    """Kills its own process whenever it comes to task 3."""
    if task.endswith("000003.todo"):
        os.kill(os.getpid(), signal.SIGKILL)
    return digest_number(task)


def refuse_third(task: str) -> dict[str, int]:
    """Raises an error for the user in task 3."""
    if task.endswith("000003.todo"):
        raise DataError("Task 3 is bad.", "Give another.", "a detail")
    return digest_number(task)


def fail_third(task: str) -> dict[str, int]:
    """Raises another exception in task 3."""
    if task.endswith("000003.todo"):
        raise KeyError("three")
    return digest_number(task)


def lack_file(task: str) -> dict[str, int]:
    """Raises what a missing file raises."""
    Path(task).with_name("nothing here").read_bytes()
    return {}


def warn_in_third(task: str) -> dict[str, int]:
    """Warns in task 3, in our name and in another's."""
    if task.endswith("000003.todo"):
        logging.getLogger("slimworks.test").warning("task %d is odd", 3)
        logging.getLogger("another").warning("noise")
        warnings.warn("noise", FutureWarning, stacklevel=1)
    return digest_number(task)


def note_imports(task: str) -> dict[str, int]:
    """Writes whether Beam, and what it can do without, are imported where the task runs."""
    names = ("apache_beam", "IPython", "pandas")
    worklist.write_rows(
        worklist.result_path(task), [{name: bool(sys.modules.get(name)) for name in names}]
    )
    return {}


def leave_nothing(task: str) -> dict[str, int]:
    """Forgets its result."""
    return {}


def kill_java_once(task: str) -> dict[str, int]:
    """Kills the Java program that runs it, in the middle of task 3, the first time."""
    mark = Path(task).with_name("died")
    if task.endswith("000003.todo") and not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)  # this process ends before, with its parent
    return digest_slowly(task)


# What ingest runs on an engine: tests put these in the place of the real functions.


def check_and_die_once(*arguments: Any) -> Mapping[str, int]:
    """Checks files; kills its own process when it has checked those of task 5, the first time."""
    return _die_once(check_task, arguments)


def write_and_die_once(*arguments: Any) -> Mapping[str, int]:
    """Writes shards; kills its own process when it has written shard 5, the first time."""
    return _die_once(write_shard, arguments)


def _die_once(function: Callable[..., Mapping[str, int]], arguments: Sequence[Any]) -> Any:
    task = Path(arguments[-1])
    state = task.parents[2]
    mark = state / f"died-in-{task.parent.name}"
    if task.name.endswith("000005.todo") and not mark.exists():
        mark.touch()
        # All is done and nothing published: what is complete gets its name by a rename.
        os.replace = _die
    return function(*arguments)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def check_some(*arguments: Any) -> Mapping[str, int]:
    """Checks files until those of five tasks are checked, then never ends."""
    if len(list(Path(arguments[-1]).parent.glob("*.done"))) >= 5:
        threading.Event().wait()
    return check_task(*arguments)
