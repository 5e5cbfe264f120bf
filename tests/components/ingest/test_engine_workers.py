"""Worker processes that are killed, and what is left of them."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import engine_tasks
import psutil
import pytest
from engine_tasks import make_tasks, results

from slimworks.components.beam_options import parse_flags
from slimworks.components.errors import DataError
from slimworks.components.ingest import worklist
from slimworks.components.ingest.engine.passes import run_tasks
from slimworks.components.ingest.engine.workers import Workers

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
SECONDS = 30.0


def calls(tasks: list[str]) -> Counter[str]:
    return Counter(
        {task: len(Path(task).with_suffix(".calls").read_text().splitlines()) for task in tasks}
    )


def await_true(claim: object) -> None:
    end = time.monotonic() + SECONDS
    while not claim():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("count", [10, 20])
def test_killed_worker_loses_and_doubles_nothing(tmp_path: Path, count: int) -> None:
    tasks = make_tasks(tmp_path, count)
    run_tasks("Digest", engine_tasks.die_once, tasks, PROCESSES)
    assert (tmp_path / "work" / "died").exists()
    assert [row["n"] for row in results(tasks)] == list(range(count))
    assert set(calls(tasks).values()) == {1}


# Beam runs the larger number of tasks; the smaller runs without, in memory in this very process.
@pytest.mark.parametrize(("flags", "count"), [((), 20), (PROCESSES, 20), (PROCESSES, 10)])
def test_worker_killed_from_outside_is_replaced(
    tmp_path: Path, flags: tuple[str, ...], count: int
) -> None:
    tasks = make_tasks(tmp_path, count)
    mark = tmp_path / "work" / "waiting"

    def kill_one() -> None:
        await_true(mark.exists)
        (row,) = worklist.read_rows(mark)
        os.kill(row["pid"], signal.SIGKILL)

    thread = threading.Thread(target=kill_one)
    thread.start()
    run_tasks("Digest", engine_tasks.wait_to_be_killed, tasks, flags)
    thread.join()
    assert mark.exists()
    assert [row["n"] for row in results(tasks)] == list(range(count))
    assert set(calls(tasks).values()) == {1}


def test_beam_hands_items_to_workers_and_survives_a_death(tmp_path: Path) -> None:
    from slimworks.components.ingest.engine.beam_job import run_job_in_processes

    tasks = make_tasks(tmp_path, 20)
    with Workers(engine_tasks.die_once, 2) as workers:
        run_job_in_processes("Digest", workers, tasks, parse_flags(PROCESSES))
    assert workers.error is None
    assert (tmp_path / "work" / "died").exists()
    assert [row["n"] for row in results(tasks)] == list(range(20))
    assert set(calls(tasks).values()) == {1}


def test_workers_run_items_for_as_long_as_they_are_asked_to(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 20)
    with Workers(engine_tasks.digest_slowly, 2) as workers:
        workers.run(tasks, lambda: not Path(tasks[4]).with_suffix(".done").exists())
    done = [Path(task).with_suffix(".done").exists() for task in tasks]
    assert all(done[:5])
    assert not any(done[10:])


def test_task_that_kills_every_worker_is_an_error(tmp_path: Path) -> None:
    tasks, before = make_tasks(tmp_path, 20), set(psutil.Process().children())
    with pytest.raises(DataError, match=r"killed by signal 9 3 times over .*000003.todo") as caught:
        run_tasks("Digest", engine_tasks.die_always, tasks, PROCESSES)
    assert "--direct_num_workers=1" in caught.value.fix
    assert set(psutil.Process().children()) <= before


def test_worker_that_cannot_import_the_function_says_so(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 2)
    with pytest.raises(DataError, match=r"ended with code 1 3 times"):
        run_tasks("Digest", _Elsewhere(), tasks, PROCESSES)


class _Elsewhere:
    """Cannot be loaded by another process."""

    def __call__(self, task: str) -> dict[str, int]:
        return {}

    def __reduce__(self) -> tuple[object, ...]:
        return os.strerror, ("no number",)
