"""Runs of the pipeline by the command line, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTINGS = (
    "name=tiny", "model.net=lenet", "train.epochs=6", "train.optimizer=adam",
    "train.learning_rate=0.002", "train.batch_size=16",
)  # fmt: skip


def run(
    photos: Path, root: Path, *more: str, settings: tuple[str, ...] = SETTINGS
) -> tuple[int, dict[str, Any], str]:
    """Runs the pipeline; returns (exit code, outcome, stderr)."""
    command = [sys.executable, "-m", "slimworks", "run", "--data", str(photos), "--json"]
    command += ["--root", str(root), *more]
    for setting in settings:
        command += ["--set", setting]
    result = subprocess.run(command, capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout + result.stderr
    return result.returncode, json.loads(lines[0]), result.stderr
