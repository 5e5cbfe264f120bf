from __future__ import annotations

import os
from pathlib import Path

from slimworks.components import processor

_INFORMATION = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 62\n"


def test_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nprocessor\t: 1\n")
    assert processor.cpu_flags(cpuinfo) == {"fpu", "avx2", "avx512_bf16"}


def test_machine_without_cpuinfo_has_no_known_flags(tmp_path: Path) -> None:
    assert processor.cpu_flags(tmp_path / "none") == frozenset()


def test_usable_cores_follow_a_container_s_limit(tmp_path: Path) -> None:
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text("50000 100000\n")
    assert processor.num_usable_cores(cpu_max) == 0.5


def test_usable_cores_without_a_limit_are_those_of_the_affinity(tmp_path: Path) -> None:
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text("max 100000\n")
    assert processor.num_usable_cores(cpu_max) == len(os.sched_getaffinity(0))
    assert processor.num_usable_cores(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_gpus_are_named_by_the_driver(tmp_path: Path) -> None:
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(_INFORMATION)
    assert processor.nvidia_gpus(tmp_path) == ["NVIDIA H200", "NVIDIA H200"]
    assert processor.nvidia_gpus(tmp_path / "none") == []
