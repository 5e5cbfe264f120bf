"""Whole ingests on the engines of this machine: the same result on each, whatever is killed."""

from pathlib import Path

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

from slimworks.components.ingest import checking

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
IN_MEMORY_AND_PROCESSES = pytest.mark.parametrize(
    "flags", [(), PROCESSES], ids=["memory", "processes"]
)


@pytest.fixture(autouse=True)
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FILES_PER_TASK", FILES_PER_TASK)


@pytest.mark.parametrize("flags", [(), THREADS, PROCESSES], ids=["memory", "threads", "processes"])
def test_every_engine_writes_the_same_bytes(
    reference: Reference, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    source, expected = reference
    ingest_every_kind(source, tmp_path, flags)
    assert outcome(tmp_path) == expected


@pytest.mark.slow
@IN_MEMORY_AND_PROCESSES
def test_worker_killed_in_the_middle_loses_and_doubles_nothing(
    reference: Reference, tmp_path: Path, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, expected = reference
    kill_workers(source, tmp_path, flags, monkeypatch)
    assert outcome(tmp_path) == expected


@pytest.mark.slow
@IN_MEMORY_AND_PROCESSES
def test_killed_ingest_leaves_no_process_and_the_next_one_goes_on(
    reference: Reference,
    tmp_path: Path,
    flags: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, expected = reference
    kill_ingest(source, tmp_path, flags)
    num_files = len(list(source.glob("*/*")))
    assert go_on(source, tmp_path, flags, caplog) <= num_files - 5 * FILES_PER_TASK
    assert outcome(tmp_path) == expected
