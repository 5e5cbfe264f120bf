"""What a step used is measured where it ran."""

from __future__ import annotations

import subprocess
import sys
import time

from slimworks.pipeline.launcher import RAN, NodeResult, resources_used


def test_cpu_time_of_this_process_is_counted() -> None:
    before, peak = resources_used()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert resources_used()[0] - before >= 0.04
    assert peak > 10 * 2**20, "bytes, not kilobytes"


def test_processes_that_a_step_starts_are_counted_too() -> None:
    before, _ = resources_used()
    size = 300 * 2**20
    script = f"b = bytearray({size})\nimport time\nwhile time.process_time() < 0.25: pass"
    subprocess.run([sys.executable, "-c", script], check=True)
    seconds, peak = resources_used()
    assert seconds - before >= 0.2
    assert peak >= size


def test_result_of_a_step_carries_it_to_the_run_record() -> None:
    value = NodeResult("trainer", RAN, 1.0, "why", cpu_seconds=1.23456, peak_memory_bytes=7)
    assert value.to_json()["cpu_seconds"] == 1.235
    assert value.to_json()["peak_memory_bytes"] == 7
