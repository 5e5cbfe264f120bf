from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components import processor
from slimworks.pipeline import doctor


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
