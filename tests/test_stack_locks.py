"""The locks of both stacks: each fits pyproject.toml's ranges and is the stack that it claims."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

from slimworks.pipeline import stacks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/stacks.md"
LOCKS = {
    "requirements-py310.lock": (stacks.LOCKED, "3.10"),
    "requirements-py311.lock": (stacks.LOCKED, "3.11"),
    "requirements-newest-py313.lock": (stacks.NEWEST, "3.13"),
}


def _locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)", text))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_the_stack_that_doctor_names(name: str) -> None:
    stack, python = LOCKS[name]
    locked = _locked(name)
    assert python in stack.tested_pythons
    assert {p: v for p, v in stack.packages.items() if not locked[p].startswith(v)} == {}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_fits_the_ranges(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    environment = {**default_environment(), "python_version": LOCKS[name][1], "extra": ""}
    locked = _locked(name)
    asked = [Requirement(text) for text in (*extras["client"], *extras["pipeline"])]
    unmet = [
        str(requirement)
        for requirement in asked
        if requirement.name != "slimworks"
        and (requirement.marker is None or requirement.marker.evaluate(environment))
        and not requirement.specifier.contains(locked[_canonical(requirement.name)])
    ]
    assert unmet == []
    python = Requirement(f"python{project['requires-python']}").specifier
    assert python.contains(LOCKS[name][1])


def test_hashes_are_in_the_locks_of_the_newest_stack() -> None:
    for path in ROOT.glob("requirements-newest-*.lock"):
        entries = re.split(r"(?m)^(?=[a-z0-9.-]+==)", path.read_text(encoding="utf-8"))[1:]
        assert len(entries) > 100
        assert [e.splitlines()[0] for e in entries if "--hash=sha256:" not in e] == []


def test_page_says_what_is_locked() -> None:
    """Its table's columns are the locks, in their order."""
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text())
    table = {row[0]: row[1:] for row in rows}
    for package, label in (
        ("tfx", "TFX"),
        ("tensorflow", "TensorFlow"),
        ("apache-beam", "Beam"),
        ("kfp", "kfp"),
        ("ml-metadata", "ML Metadata"),
        ("numpy", "NumPy"),
        ("protobuf", "protobuf"),
    ):
        assert table[label] == tuple(_locked(name)[package] for name in LOCKS), package
    assert all(Version(python) for python in table["Python"])
    assert table["Python"] == tuple(python for _, python in LOCKS.values())
