"""What this machine's processors and GPUs are, as the Linux kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path

# Instructions that oneDNN multiplies bfloat16 numbers with.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

_CPUINFO = Path("/proc/cpuinfo")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Instruction sets of the first processor, by the kernel's names; empty where none tells."""
    return frozenset(_first(cpuinfo, "flags").split())


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Name of the first processor, as the kernel gives it; "" where it gives none."""
    return _first(cpuinfo, "model name")


def _first(cpuinfo: Path, key: str) -> str:
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def num_usable_cores(cpu_max: Path = _CPU_MAX) -> float:
    """Cores that this process may use: its affinity, or a container's limit where that is less."""
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    else:
        cores = float(os.cpu_count() or 1)
    quota, _, period = cpu_max.read_text("ascii").partition(" ") if cpu_max.exists() else ("",) * 3
    return min(cores, int(quota) / int(period)) if quota.isdigit() else cores


def nvidia_gpus(folder: Path = _NVIDIA_GPUS) -> list[str]:
    """Models of the GPUs that NVIDIA's driver knows; TensorFlow may still not find them."""
    models = []
    for path in sorted(folder.glob("*/information")):
        lines = path.read_text(encoding="utf-8").splitlines()
        models += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return models
