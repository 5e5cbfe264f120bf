"""The same work on a real Flink: embedded, and as a cluster of its own processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import engine_tasks
import psutil
import pytest
from engine_ingests import (
    FILES_PER_TASK,
    Reference,
    go_on,
    ingest_every_kind,
    kill_ingest,
    kill_workers,
    outcome,
)
from engine_tasks import digest_number, make_tasks, results
from ports import free_port

from slimworks.components.errors import DataError
from slimworks.components.ingest import checking
from slimworks.components.ingest.engine.passes import run_tasks

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ENGINES = Path(os.environ.get("SLIMWORKS_ENGINES", Path(__file__).parents[3] / ".engines"))
FLINK = ENGINES / "flink"
PAGE = Path(__file__).parents[3] / "docs" / "engines.md"
# The tests' task functions are no part of what is installed.
PATH = f"PYTHONPATH={shlex.quote(str(Path(__file__).parent))}"
START_SECONDS = 120.0
OPENS = [
    f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "nio", "time", "util")
]


@pytest.fixture(scope="session")
def jar() -> Path:
    path = FLINK / "flink-job-server.jar"
    if not path.exists():
        pytest.fail(f"{path} is missing: make engines")
    return path


@pytest.fixture
def flags(jar: Path) -> list[str]:
    return [
        "--runner=FlinkRunner", f"--flink_job_server_jar={jar}", "--parallelism=2",
        # Half the time that it takes to start.
        "--job_server_jvm_properties=-XX:TieredStopAtLevel=1",
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FILES_PER_TASK", FILES_PER_TASK)


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    started = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(list(started), timeout=10)
    assert not alive
    # Workers of a killed runner are no children of this process.
    end = time.monotonic() + 10
    while orphans := [p for p in psutil.process_iter(["cmdline"]) if _is_worker(p)]:
        assert time.monotonic() < end, orphans
        time.sleep(0.1)


def _is_worker(process: psutil.Process) -> bool:
    return any("ingest.engine.worker_boot" in part for part in process.info["cmdline"] or ())


@pytest.mark.parametrize("environment", ["LOOPBACK", "PROCESS"])
def test_ingest_on_flink_writes_the_same_bytes(
    reference: Reference, tmp_path: Path, flags: list[str], environment: str
) -> None:
    source, expected = reference
    ingest_every_kind(source, tmp_path, [*flags, f"--environment_type={environment}"])
    assert outcome(tmp_path) == expected


def test_worker_killed_in_the_middle_loses_and_doubles_nothing(
    reference: Reference, tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, expected = reference
    kill_workers(source, tmp_path, [*flags, "--environment_type=PROCESS"], monkeypatch)
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize("environment", ["LOOPBACK", "PROCESS"])
def test_killed_ingest_leaves_no_process_and_the_next_one_goes_on(
    reference: Reference,
    tmp_path: Path,
    flags: list[str],
    caplog: pytest.LogCaptureFixture,
    environment: str,
) -> None:
    source, expected = reference
    kill_ingest(source, tmp_path, [*flags, f"--environment_type={environment}"])
    num_files = len(list(source.glob("*/*")))
    assert go_on(source, tmp_path, (), caplog) <= num_files - 5 * FILES_PER_TASK
    assert outcome(tmp_path) == expected


def test_error_for_the_user_arrives_as_it_was_raised(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        run_tasks(
            "Digest", engine_tasks.refuse_third, make_tasks(tmp_path, 5),
            [*flags, "--environment_type=PROCESS"],
        )  # fmt: skip
    assert (caught.value.cause, caught.value.details) == ("Task 3 is bad.", "a detail")


def test_engine_that_loses_every_job_is_an_error(tmp_path: Path, flags: list[str]) -> None:
    task = make_tasks(tmp_path, 4)[3]
    with pytest.raises(DataError, match=r"FlinkRunner ended Digest with 1 tasks undone") as caught:
        run_tasks("Digest", engine_tasks.die_always, [task], [*flags, "--environment_type=PROCESS"])
    assert "finished tasks are kept" in caught.value.fix


def test_killed_job_server_loses_and_doubles_nothing(tmp_path: Path, flags: list[str]) -> None:
    tasks = make_tasks(tmp_path, 20)
    run_tasks("Digest", engine_tasks.kill_java_once, tasks, [*flags, "--environment_type=PROCESS"])
    assert (tmp_path / "work" / "died").exists()
    assert [row["n"] for row in results(tasks)] == list(range(20))


@pytest.fixture
def cluster(jar: Path, tmp_path: Path) -> Iterator[str]:
    """A job manager and a task manager in processes of their own; yields the REST address."""
    rest = free_port()
    folder = tmp_path / "flink"
    folder.mkdir()
    (folder / "flink-conf.yaml").write_text(
        f"jobmanager.rpc.address: localhost\njobmanager.rpc.port: {free_port()}\n"
        "jobmanager.bind-host: localhost\n"
        f"rest.address: localhost\nrest.bind-address: localhost\nrest.port: {rest}\n"
        "jobmanager.memory.process.size: 800m\ntaskmanager.numberOfTaskSlots: 2\n"
        "taskmanager.host: localhost\ntaskmanager.bind-host: localhost\n"
        "taskmanager.cpu.cores: 2\ntaskmanager.memory.task.heap.size: 256m\n"
        "taskmanager.memory.task.off-heap.size: 0b\ntaskmanager.memory.network.min: 64m\n"
        "taskmanager.memory.network.max: 64m\ntaskmanager.memory.managed.size: 128m\n"
        "taskmanager.memory.framework.heap.size: 128m\n"
        "taskmanager.memory.framework.off-heap.size: 128m\n"
        "taskmanager.memory.jvm-metaspace.size: 256m\n"
        "taskmanager.memory.jvm-overhead.min: 192m\ntaskmanager.memory.jvm-overhead.max: 192m\n"
        f"io.tmp.dirs: {folder}\n"
    )
    processes = [
        _java(folder, "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"),
        _java(folder, "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"),
    ]
    try:
        _await_slots(rest, processes)
        yield f"localhost:{rest}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _java(folder: Path, main_class: str) -> subprocess.Popen[bytes]:
    with open(folder / f"{main_class}.log", "wb") as log:
        return subprocess.Popen(
            ["java", *OPENS, "-Xmx512m", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}",
             "-cp", f"{FLINK}/*", main_class, "--configDir", str(folder)],
            stdout=log, stderr=log,
        )  # fmt: skip


def _await_slots(rest: int, processes: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert all(process.poll() is None for process in processes)
        try:
            with urllib.request.urlopen(f"http://localhost:{rest}/overview", timeout=5) as answer:
                if b'"slots-total":2' in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError("Flink did not start")


def test_standalone_cluster_writes_the_same_results_with_the_documented_boot_program(
    tmp_path: Path, flags: list[str], cluster: str
) -> None:
    here, there = make_tasks(tmp_path / "a", 20), make_tasks(tmp_path / "b", 20)
    run_tasks("Digest", digest_number, here)
    (text,) = re.findall(r"^#!/bin/sh\nexec .*\n", PAGE.read_text(), re.MULTILINE)
    assert "/opt/slimworks/.venv/bin/python" in text
    program = tmp_path / "boot"
    program.write_text(
        text.replace("exec /opt/slimworks/.venv/bin/python", f"exec env {PATH} {sys.executable}")
    )
    program.chmod(0o755)
    run_tasks(
        "Digest", digest_number, there,
        [*flags, f"--flink_master={cluster}", "--environment_type=PROCESS",
         f"--environment_config={json.dumps({'command': str(program)})}"],
    )  # fmt: skip
    assert results(here) == results(there)
