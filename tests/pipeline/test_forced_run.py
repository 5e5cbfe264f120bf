"""`run --force`: past the gate's refusal, with a reason, and never without one."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_runs import run
from refusals import told

from slimworks.components import files
from slimworks.components.pusher.ledger import history

REFUSING = ("--set", "gate.min_accuracy=1.0")
REASON = "the old model fails\non the new camera"


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_force_without_a_reason_is_refused(tmp_path: Path, tiny_photos: Path, reason: str) -> None:
    root = tmp_path / "runs"
    assert told("run", "--data", tiny_photos, "--root", root, "--force", reason) == (
        "--force has no reason.",
        'Say why, for the ledger: --force "the old model fails on the new camera".',
    )
    assert not root.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_force_pushes_what_the_gate_refused_and_the_ledger_knows(
    tmp_path: Path, tiny_photos: Path
) -> None:
    root = tmp_path / "runs"
    code, outcome, stderr = run(tiny_photos, root, *REFUSING)
    assert (code, outcome["version"]) == (10, None), stderr

    code, outcome, stderr = run(tiny_photos, root, *REFUSING, "--force", REASON)
    assert (code, outcome["version"]) == (0, 1), stderr
    assert outcome["verdict"] != "pass"
    states = {step["name"]: step["state"] for step in outcome["steps"]}
    assert states["evaluator"] == "reused"
    assert states["gate"] == "ran"
    assert "(--force)" in stderr
    base_path = Path(outcome["pushed_to"]).parent
    (entry,) = history(base_path)
    forced = entry.facts["forced"]
    assert forced["by"].startswith(f"{getpass.getuser()}@")
    assert forced["reason"] == "the old model fails on the new camera"
    shown = subprocess.run(
        [sys.executable, "-m", "slimworks", "history", "--root", str(root)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"forced by {forced['by']}: {forced['reason']}" in shown

    # The gate's own word is what it was.
    code, outcome, stderr = run(tiny_photos, root, *REFUSING)
    assert (code, outcome["version"]) == (10, None), stderr
    assert files.read_json(base_path / "1" / "assets.extra" / "model.json")["net"] == "lenet"
