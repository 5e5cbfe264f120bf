"""Task functions that engines run: importable by every worker."""

import hashlib
import os
import signal
import time
from pathlib import Path

from slimworks.components.errors import DataError
from slimworks.components.ingest import worklist


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
