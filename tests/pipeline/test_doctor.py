from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import pytest

from slimworks.components import processor
from slimworks.pipeline import doctor, stacks


def _check(name: str, root: Path) -> doctor.Check:
    return next(c for c in doctor.examine(str(root), None, "default") if c.name == name)


def test_processor_says_where_bfloat16_has_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset({"avx", "avx2", "avx512_bf16"}))
    monkeypatch.setattr(processor, "num_usable_cores", lambda: 1.5)
    check = _check("processor", tmp_path)
    assert check.is_healthy
    assert "1.5 of them usable, avx2, avx512_bf16; train.bfloat16 has" in check.found


def test_processor_without_avx_is_unhealthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset({"sse4_2"}))
    check = _check("processor", tmp_path)
    assert not check.is_healthy
    assert "no vector extensions known" in check.found


def test_gpu_that_tensorflow_does_not_see_is_unhealthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(processor, "nvidia_gpus", lambda: ["NVIDIA H200"])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    check = _check("gpu", tmp_path)
    assert not check.is_healthy
    assert check.found == "NVIDIA H200; TensorFlow sees 0 of 1"
    assert "tensorflow[and-cuda]" in check.fix


def test_machine_without_gpu_is_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "nvidia_gpus", list)
    assert _check("gpu", tmp_path).is_healthy


@pytest.mark.parametrize(
    ("mode", "tunables", "found"),
    [
        ("always [madvise] never", "", "madvise; GLIBC_TUNABLES=glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.hugetlb=1", "madvise"),
        ("[always] madvise never", "", "always"),
        ("always madvise [never]", "", "never"),
    ],
)
def test_huge_pages_come_with_a_hint_where_one_helps(
    mode: str, tunables: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "enabled"
    path.write_text(mode)
    monkeypatch.setattr(doctor, "HUGE_PAGES", path)
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    check = _check("huge pages", tmp_path)
    assert check.is_healthy
    assert check.found.startswith(found)
    assert ("lets training" in check.found) == (";" in found)


def test_quick_look_leaves_out_what_a_run_itself_uses_up(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(str(tmp_path), None, "default", True)}
    assert {"python", "tensorflow", "disk", "write permission"} <= checks.keys()
    assert not {"memory", "gpu", "loopback"} & checks.keys()


@pytest.mark.parametrize(
    ("tfx", "stack"),
    [("1.16.0", stacks.LOCKED), ("1.17.1", stacks.NEWEST), ("1.21.0", stacks.NEWEST)],
)
def test_stack_is_told_by_tfx(
    tfx: str, stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: tfx)
    assert stacks.meant_stack() is stack


@pytest.mark.parametrize(("minor", "stack"), [("11", stacks.LOCKED), ("12", stacks.NEWEST)])
def test_stack_is_told_by_python_without_tfx(
    minor: str, stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_found)
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", minor, "1"))
    assert stacks.meant_stack() is stack


def test_stack_of_this_environment_is_named_with_its_c_library(tmp_path: Path) -> None:
    check = _check("stack", tmp_path)
    assert check.is_healthy
    assert check.found.startswith((f"{stacks.LOCKED.name}, ", f"{stacks.NEWEST.name}, "))
    assert all(_check(name, tmp_path).is_healthy for name in stacks.meant_stack().packages)


def test_mixed_stack_is_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**stacks.NEWEST.packages, "tensorflow": "2.16.2"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    assert _check("tfx", tmp_path).is_healthy
    check = _check("tensorflow", tmp_path)
    assert not check.is_healthy
    assert check.fix.startswith("Install tensorflow 2.21.x: make setup, or the lock that docs/")


def test_python_without_wheels_is_unhealthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "12", "1"))
    monkeypatch.setattr(importlib.metadata, "version", stacks.LOCKED.packages.__getitem__)
    check = _check("python", tmp_path)
    assert not check.is_healthy
    assert check.fix == "TFX 1.16.x has wheels for Python 3.10 to 3.11: use one of these."


def test_python_that_nobody_tested_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "12", "1"))
    monkeypatch.setattr(importlib.metadata, "version", stacks.NEWEST.packages.__getitem__)
    check = _check("python", tmp_path)
    assert check.is_healthy
    assert check.found.endswith(", not tested: docs/stacks.md")
