"""Running task functions on the local runner: results, errors, what was done already."""

import subprocess
import sys
from pathlib import Path

import engine_tasks
import pytest
from engine_tasks import digest_number, make_tasks, results

from slimworks.components.errors import DataError
from slimworks.components.ingest import worklist
from slimworks.components.ingest.engine.attempts import TaskError
from slimworks.components.ingest.engine.passes import run_tasks

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
MODES = pytest.mark.parametrize(
    "flags", [(), THREADS, PROCESSES], ids=["memory", "threads", "processes"]
)
# Below and above the size from which Beam runs the tasks.
SIZES = pytest.mark.parametrize("count", [5, 20])


@MODES
@SIZES
def test_every_task_has_its_result(tmp_path: Path, flags: tuple[str, ...], count: int) -> None:
    tasks = make_tasks(tmp_path, count)
    run_tasks("Digest", digest_number, tasks, flags)
    assert [row["n"] for row in results(tasks)] == list(range(count))


@MODES
@SIZES
def test_error_for_the_user_arrives_as_it_was_raised(
    tmp_path: Path, flags: tuple[str, ...], count: int
) -> None:
    with pytest.raises(DataError) as caught:
        run_tasks("Digest", engine_tasks.refuse_third, make_tasks(tmp_path, count), flags)
    error = caught.value
    assert (error.cause, error.fix, error.details) == (
        "Task 3 is bad.", "Give another.", "a detail",
    )  # fmt: skip


def test_a_special_kind_of_error_arrives_as_the_documented_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The server is gone\. Wait for it\."):
        run_tasks("Digest", engine_tasks.lose_server, make_tasks(tmp_path, 5))


@MODES
def test_other_exception_says_what_it_was(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match="KeyError: 'three'"):
        run_tasks("Digest", engine_tasks.fail_third, make_tasks(tmp_path, 5), flags)


@MODES
def test_systems_error_keeps_its_file(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        run_tasks("Digest", engine_tasks.lack_file, make_tasks(tmp_path, 5), flags)
    assert caught.value.filename == str(tmp_path / "work" / "nothing here")


def test_failed_run_can_be_repeated(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 5)
    with pytest.raises(DataError):
        run_tasks("Digest", engine_tasks.refuse_third, tasks)
    run_tasks("Digest", digest_number, tasks)
    assert len(results(tasks)) == 5


def test_task_with_a_result_is_not_run_again(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 5)
    worklist.write_rows(worklist.result_path(tasks[2]), [{"n": "kept"}])
    run_tasks("Digest", digest_number, tasks)
    assert [row["n"] for row in results(tasks)] == [0, 1, "kept", 3, 4]


def test_no_task_is_no_work() -> None:
    run_tasks("Digest", digest_number, [])


def test_function_that_leaves_no_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"FnApiRunner ended Digest with 5 tasks undone, the first"):
        run_tasks("Digest", engine_tasks.leave_nothing, make_tasks(tmp_path, 5))


@pytest.mark.parametrize("flags", [(), PROCESSES], ids=["memory", "processes"])
def test_log_of_a_worker_is_ours_and_no_noise_of_others(
    tmp_path: Path,
    flags: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_tasks("Digest", engine_tasks.warn_in_third, make_tasks(tmp_path, 20), flags)
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("slimworks.test", "task 3 is odd")
    ]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("flags", [(), PROCESSES], ids=["memory", "processes"])
def test_process_that_plans_does_not_import_beam(tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = (
        "import sys; from slimworks.components.ingest.engine.passes import run_tasks; "
        "import engine_tasks as t; from pathlib import Path; "
        "run_tasks('Digest', t.digest_number, t.make_tasks(Path(sys.argv[1]), 20), sys.argv[2:]); "
        "assert 'apache_beam' not in sys.modules"
    )
    folder = Path(engine_tasks.__file__).parent
    subprocess.run([sys.executable, "-c", script, str(tmp_path), *flags], check=True, cwd=folder)


@pytest.mark.parametrize(("flags", "has_beam"), [((), True), (PROCESSES, False)])
def test_process_that_runs_tasks_imports_no_more_than_it_needs(
    tmp_path: Path, flags: tuple[str, ...], has_beam: bool
) -> None:
    tasks = make_tasks(tmp_path, 20)
    run_tasks("Note", engine_tasks.note_imports, tasks, flags)
    needed = {"apache_beam": has_beam, "IPython": False, "pandas": False}
    assert results(tasks) == [needed] * 20
