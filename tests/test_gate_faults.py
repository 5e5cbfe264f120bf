"""Every fault of the fault bench is refused or repaired, for its own reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "gate_faults.py"


@pytest.mark.big
@pytest.mark.timeout(1_800)
def test_every_fault_is_caught_for_the_right_reason() -> None:
    done = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    wrong = [row for row in result["faults"] if not row["is_right"]]
    assert wrong == []
    assert done.returncode == 0
    assert result["num_faults"] >= 15
    assert result["faults"][0]["fault"] == "none", "what has no fault must pass"
