"""What an interrupted run says: what is saved, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import interrupting
import pytest

from slimworks.components import files
from slimworks.pipeline.interruption import interrupted_run
from slimworks.pipeline.launcher import FAILED, RAN, REUSED, NodeResult
from slimworks.pipeline.paths import PipelinePaths

COMMAND = "slimworks run --data 'my photos'"
_BEFORE, _AFTER = 1_000_000_000, 2_000_000_000


@pytest.fixture
def paths(tmp_path: Path) -> PipelinePaths:
    paths = PipelinePaths(tmp_path, "tiny")
    files.write_json(paths.run("r1") / "run.json", {"state": "running"})
    os.utime(paths.run("r1") / "run.json", (1_500_000_000, 1_500_000_000))
    for name, step, written in (("training-a", 7, _AFTER), ("training-b", 90, _BEFORE)):
        state = paths.work / name / "state.json"
        files.write_json(state, {"step": step})
        os.utime(state, (written, written))
    return paths


def _result(name: str, state: str) -> NodeResult:
    return NodeResult(name, state, 1.0, "")


def test_finished_steps_and_this_runs_training_are_named(paths: PipelinePaths) -> None:
    results = [_result("ingest", RAN), _result("statistics", REUSED), _result("schema", FAILED)]

    found = interrupted_run("r1", paths, results, COMMAND)

    assert found.cause == "Interrupted. Saved: ingest, statistics, the training up to step 7."
    assert found.fix == f"Run the same command again: it goes on. {COMMAND}"
    assert found.facts == {
        "run_id": "r1", "saved_steps": ["ingest", "statistics"], "training_step": 7,
    }  # fmt: skip


def test_a_training_that_is_over_is_named_as_a_step(paths: PipelinePaths) -> None:
    found = interrupted_run("r1", paths, [_result("trainer", RAN)], COMMAND)

    assert found.cause == "Interrupted. Saved: trainer."


def test_another_runs_training_is_not_this_ones(paths: PipelinePaths) -> None:
    os.utime(paths.work / "training-a/state.json", (_BEFORE, _BEFORE))

    found = interrupted_run("r1", paths, [], COMMAND)

    assert found.cause == "Interrupted. No step was over."
    assert found.facts["training_step"] is None


def test_a_run_that_is_interrupted_while_it_starts_is_no_killed_one(
    tiny_photos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "slimworks", "run", "--data", str(tiny_photos), "--json"]
    command += ["--set", "name=tiny", "--root", str(tmp_path)]
    process = interrupting.start(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    runs = tmp_path / "tiny/runs"
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/run.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=120)

    error = json.loads(out)["error"]
    run_id = next(runs.iterdir()).name
    assert process.returncode == error["exit_code"] == 130
    assert (error["run_id"], error["saved_steps"]) == (run_id, [])
    assert error["cause"] == "Interrupted. No step was over."
    assert error["fix"].endswith(f" --set name=tiny --root {tmp_path}")
    assert "Traceback" not in errors
    assert files.read_json(runs / run_id / "run.json")["state"] == "interrupted"
