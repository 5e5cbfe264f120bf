"""Killing the real process during each phase; the next run finishes, nothing is half-done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import interrupting
import psutil
import pytest
from pipeline_runs import SETTINGS, run

from slimworks.components import contracts, files
from slimworks.components.pusher.ledger import history

pytestmark = pytest.mark.slow

# Long enough that a signal finds the training at work; a checkpoint after every epoch.
LONG = (
    *SETTINGS[:2], "train.epochs=40", *SETTINGS[3:], "train.save_interval_secs=0",
)  # fmt: skip


class Running:
    """A `slimworks run` in a process group of its own."""

    def __init__(self, photos: Path, root: Path) -> None:
        command = [sys.executable, "-m", "slimworks", "run", "--data", str(photos)]
        command += ["--root", str(root)]
        for setting in LONG:
            command += ["--set", setting]
        self.process = interrupting.start(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Polls until the condition holds; fails where the run ends before."""
        deadline = time.monotonic() + 300
        while not condition():
            assert self.process.poll() is None, "the run ended before the signal"
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(self, signal_number: int) -> int:
        """Signals the run (all of its group, as a terminal does for SIGINT)."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        if signal_number == signal.SIGINT:
            os.killpg(self.process.pid, signal_number)
        else:
            self.process.send_signal(signal_number)
        _, self.stderr = self.process.communicate(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive, "nothing is left running"
        return self.process.returncode


def _work_state(root: Path) -> dict[str, float]:
    states = list((root / "tiny/work").glob("training-*/state.json"))
    return json.loads(states[0].read_text()) if states else {"step": 0}


def _in_ingest(root: Path) -> bool:
    return any((root / "tiny/artifacts/ingest/examples").glob("*"))


def _in_training(root: Path) -> bool:
    return _work_state(root)["step"] >= 30


def _in_export(root: Path) -> bool:
    return any((root / "tiny/artifacts/trainer/model").glob("*/checkpoints/*.index"))


def _in_push(root: Path) -> bool:
    return any((root / "tiny/serving/tiny").glob("*"))


def _check_finished(root: Path, outcome: dict) -> None:
    base_path = root / "tiny/serving/tiny"
    versions = contracts.version_folders(base_path)
    assert list(versions) == [outcome["version"]] == [1]
    assert (versions[1] / "saved_model.pb").is_file()
    left_over = [p.name for p in base_path.iterdir() if p.name not in ("1", ".slimworks")]
    assert left_over == []
    pushed = [entry for entry in history(str(base_path)) if entry.version == 1]
    assert len(pushed) == 1
    assert not list((root / "tiny/work").glob("training-*")), "finished work is removed"
    # Every artifact folder on disk belongs to an execution that succeeded.
    for model in (root / "tiny/artifacts/trainer/model").iterdir():
        assert (model / contracts.MODEL_FACTS_FILE).is_file(), "no partial model is left"


def _case(phase: Callable[[Path], bool], signal_number: int, *, is_big: bool = False) -> Any:
    name = f"{phase.__name__.removeprefix('_in_')}-{signal.Signals(signal_number).name}"
    return pytest.param(phase, signal_number, id=name, marks=[pytest.mark.big] if is_big else [])


@pytest.mark.parametrize(
    ("phase", "signal_number"),
    [
        _case(_in_ingest, signal.SIGINT, is_big=True),
        _case(_in_ingest, signal.SIGKILL, is_big=True),
        _case(_in_training, signal.SIGINT, is_big=True),
        _case(_in_training, signal.SIGKILL),
        _case(_in_export, signal.SIGINT, is_big=True),
        _case(_in_export, signal.SIGKILL, is_big=True),
        _case(_in_push, signal.SIGINT),
        _case(_in_push, signal.SIGKILL, is_big=True),
    ],
)
def test_next_run_finishes(
    tiny_photos: Path, tmp_path: Path, phase: Callable[[Path], bool], signal_number: int
) -> None:
    root = tmp_path / "runs"
    running = Running(tiny_photos, root)
    running.wait_until(lambda: phase(root))
    code = running.send(signal_number)
    assert code == (130 if signal_number == signal.SIGINT else -signal.SIGKILL), running.stderr
    if signal_number == signal.SIGINT:
        assert b"Interrupted." in running.stderr
        assert b"Traceback" not in running.stderr
    saved_step = int(_work_state(root)["step"])
    code, outcome, stderr = run(tiny_photos, root, settings=LONG)
    assert code == 0, stderr
    if phase is _in_training:
        assert f"from the checkpoint of step {saved_step}" in stderr
    if phase is _in_export:
        assert "epoch 1 of" not in stderr, "nothing is trained twice"
    _check_finished(root, outcome)
    model = next((root / "tiny/artifacts/trainer/model").iterdir())
    steps = [
        line["step"]
        for line in files.read_jsonl(model / contracts.METRICS_FILE)
        if line["split"] == "eval"
    ]
    assert steps == sorted(set(steps)), "no epoch is recorded twice"
    assert len(steps) == 40
