"""Worker processes that are killed, and what is left of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import engine_tasks
import psutil
import pytest
from engine_tasks import digest_slowly, make_tasks, results

from slimworks.components.errors import DataError
from slimworks.components.ingest.engine import run_tasks

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


def test_worker_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 40)
    killed: list[int] = []

    def kill_one() -> None:
        await_true(lambda: Path(tasks[5]).with_suffix(".calls").exists())
        pid = int(Path(tasks[5]).with_suffix(".calls").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    thread = threading.Thread(target=kill_one)
    thread.start()
    run_tasks("Digest", digest_slowly, tasks, PROCESSES)
    thread.join()
    assert killed
    assert [row["n"] for row in results(tasks)] == list(range(40))
    assert sum(calls(tasks).values()) <= 41


def test_task_that_kills_every_worker_is_an_error(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 20)
    with pytest.raises(DataError, match=r"killed by signal 9 3 times over .*000003.todo") as caught:
        run_tasks("Digest", engine_tasks.die_always, tasks, PROCESSES)
    assert "--direct_num_workers=1" in caught.value.fix
    assert not psutil.Process().children()


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from slimworks.components.ingest.engine import run_tasks; "
        "import engine_tasks as t; from pathlib import Path; "
        "run_tasks('D', t.digest_slowly, t.make_tasks(Path(sys.argv[1]), 500), sys.argv[2:])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), *PROCESSES],
        cwd=Path(engine_tasks.__file__).parent,
    )
    process = psutil.Process(parent.pid)
    await_true(lambda: list(tmp_path.glob("work/*.calls")))
    workers = process.children()
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=SECONDS)
    assert not alive


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
