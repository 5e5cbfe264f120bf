"""How many files one task of the first pass has."""

import math

import pytest

from slimworks.components.ingest.checking import FILES_PER_TASK, MAX_TASKS, files_per_task


@pytest.mark.parametrize("num_files", [1, 1_000, FILES_PER_TASK * MAX_TASKS])
def test_tasks_are_small(num_files: int) -> None:
    assert files_per_task(num_files) == FILES_PER_TASK


@pytest.mark.parametrize("num_files", [FILES_PER_TASK * MAX_TASKS + 1, 100_000_000])
def test_tasks_are_not_too_many_for_one_folder(num_files: int) -> None:
    assert math.ceil(num_files / files_per_task(num_files)) <= MAX_TASKS
