"""The locks' licences and hashes, and how a report of known vulnerabilities is judged."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slimworks.pipeline import stacks

sys.path.insert(0, str(Path(__file__).with_name("audit")))
import audit
import check_locks

RULES = {
    "allowed": ["MIT", "Apache-2.0"],
    "allowed_in": {"gpu.lock": ["LicenseRef-NVIDIA"]},
    "words": {"MIT License": "MIT"},
    "packages": {"named": "Apache-2.0", "nvidia-x": "LicenseRef-NVIDIA"},
}
HASHED = " \\\n    --hash=sha256:00\n"
TODAY = datetime.date(2026, 11, 22)
PILLOW = {
    "name": "pillow", "version": "12.3.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["12.4.0"]}],
}  # fmt: skip
SOUND = {"name": "click", "version": "8.5.1", "vulns": []}


def test_every_lock_has_hashes_and_licences_that_are_allowed() -> None:
    # Most licences are read off what is installed: on the newest stack those of its own locks.
    newest = sorted(check_locks.ROOT.glob("requirements-newest-*.lock"))
    chosen = newest if stacks.meant_stack() is stacks.NEWEST else []
    command = [sys.executable, check_locks.__file__, *chosen]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("locks: hashes and licences are as they should be\n")
    assert len(newest) == 2
    assert len(check_locks.locks()) >= 12


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a==1\n", "x.lock: a 1 has no hash"),
        (f"a==1{HASHED}b==2{HASHED}", "x.lock: b 2 is under GPL-3.0"),
        (f"a==1{HASHED}c==2{HASHED}", "x.lock: the licence of c 2 is not known: licences.yaml"),
        (f"nvidia_x==2{HASHED}", "x.lock: nvidia-x 2 is under LicenseRef-NVIDIA"),
        ("", "x.lock: it locks nothing"),
    ],
)
def test_what_is_wrong_with_a_lock_is_named(tmp_path: Path, text: str, fault: str) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(text, encoding="utf-8")
    declared = {"a": "MIT License AND Apache-2.0", "b": "MIT OR GPL-3.0"}

    assert list(check_locks.faults_of(lock, declared, RULES)) == [fault]


def test_a_sound_lock_has_no_fault(tmp_path: Path) -> None:
    lock = tmp_path / "gpu.lock"
    lock.write_text(f"a==1{HASHED}Named==1{HASHED}nvidia-x==2{HASHED}", encoding="utf-8")

    assert list(check_locks.faults_of(lock, {"a": "MIT License"}, RULES)) == []


def test_what_an_sbom_lacks_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(f"a-b==1{HASHED}c==2{HASHED}", encoding="utf-8")
    sbom = {"components": [{"name": "a_b", "version": "1"}, {"name": "c", "version": "3"}]}

    assert check_locks.lacking(sbom, lock) == ["c 2"]


def _exception(until: str) -> list[dict[str, object]]:
    text = f"exceptions: [{{id: CVE-2026-1, package: pillow, reason: not loaded, until: {until}}}]"
    return audit.read_exceptions(text)


def test_a_new_finding_fails() -> None:
    assert audit.judge([SOUND, PILLOW], [], TODAY) == (
        1, ["pillow 12.3.0: PYSEC-2026-1; fixed in: 12.4.0"],
    )  # fmt: skip


def test_an_exception_lets_pass_until_its_date() -> None:
    code, lines = audit.judge([SOUND, PILLOW], _exception("2026-11-22"), TODAY)

    assert code == 0
    assert lines == ["pillow 12.3.0: PYSEC-2026-1 is let pass until 2026-11-22: not loaded"]


def test_an_exception_that_has_ended_fails() -> None:
    assert audit.judge([PILLOW], _exception("2026-11-21"), TODAY) == (
        1, ["pillow 12.3.0: PYSEC-2026-1; its exception ended on 2026-11-21"],
    )  # fmt: skip


def test_an_exception_that_nothing_needs_is_named() -> None:
    assert audit.judge([SOUND], _exception("2027-01-01"), TODAY) == (
        0, ["the exception CVE-2026-1 is not needed any more"],
    )  # fmt: skip


def test_packages_that_nobody_was_asked_about_are_no_clean_bill() -> None:
    skipped = {"name": "keras", "skip_reason": "Dependency not found on PyPI"}

    assert audit.judge([SOUND, skipped], [], TODAY) == (2, ["keras: Dependency not found on PyPI"])


@pytest.mark.parametrize(
    "one", ["{id: X, package: pillow, until: 2027-01-01}",
            "{id: X, package: pillow, reason: r, until: soon}",
            "{id: X, package: pillow, reason: '', until: 2027-01-01}"],
)  # fmt: skip
def test_an_exception_has_a_reason_and_a_date(one: str) -> None:
    with pytest.raises(ValueError, match="an exception has id, package, reason, until"):
        audit.read_exceptions(f"exceptions: [{one}]")


def test_the_exceptions_can_be_read() -> None:
    text = audit.EXCEPTIONS.read_text(encoding="utf-8")

    assert all(one["package"] for one in audit.read_exceptions(text))
    assert isinstance(yaml.safe_load(text)["exceptions"], list)
