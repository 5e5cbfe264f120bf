"""The images' locks: whole, of the versions that were tested, enough for what they run."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from slimworks.pipeline import stacks

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "images/locks").glob("*.lock"))


def _versions(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)", lock.read_text(encoding="utf-8")))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_has_hashes_and_the_versions_that_are_tested(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[a-z0-9.-]+==)", text)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    tested = {
        **_versions(ROOT / "requirements-dev-py311.lock"),
        **_versions(ROOT / "requirements-setup.lock"),
    }
    tested["tensorflow-cpu"] = tested["tensorflow"]
    others = {
        name: version
        for name, version in _versions(lock).items()
        if version != tested.get(name) and not name.startswith("nvidia-")
    }
    assert others == {}


@pytest.mark.skipif(
    stacks.meant_stack() is not stacks.LOCKED, reason="the images have the locked stack"
)
def test_cuda_libraries_are_those_that_tensorflow_asks_for() -> None:
    asked = {
        requirement.partition(";")[0].replace(" ", "")
        for requirement in importlib.metadata.requires("tensorflow") or ()
        if "and-cuda" in requirement
    }
    locked = _versions(ROOT / "images/locks/trainer-gpu.lock")
    assert {f"{name}=={version}" for name, version in locked.items()} == asked


def _files(module: str) -> list[Path]:
    """The file of one of our modules, and the `__init__.py` of the folders above."""
    parts = module.split(".")[1:]
    path = ROOT.joinpath(*parts)
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _packages_behind(files: list[Path]) -> set[str]:
    """Top-level names, not ours, that the files import at any depth and distance."""
    seen: set[Path] = set()
    outside: set[str] = set()
    while files:
        file = files.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imports(file):
            if name.split(".")[0] == "slimworks":
                files += _files(name)
            else:
                outside.add(name.split(".")[0])
    return outside - set(sys.stdlib_module_names)


def test_serving_lock_has_what_the_server_imports() -> None:
    homes = importlib.metadata.packages_distributions()
    imported = _packages_behind(list((ROOT / "components/serving").glob("*.py")))
    locked = {name.replace("-", "_") for name in _versions(ROOT / "images/locks/serving.lock")}
    locked.add("tensorflow")  # as tensorflow-cpu
    missing = {
        name
        for name in imported
        if not {home.lower().replace("-", "_") for home in homes.get(name, ())} & locked
    }
    assert missing == set()
