"""An installation with the extra `client` only: a wheel, its dependencies, and nothing else.

The packages are this environment's own, so that no index is asked: what the wheel's metadata
names, and what that needs in turn, is copied into a new virtual environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from serving_models import png

from slimworks.components.serving.process import ServerProcess

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
BUILD = "from setuptools import build_meta; build_meta.build_wheel('built')"
TAKEN = ("slimworks", "pipeline", "components", "setup.py", "pyproject.toml", "README.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in TAKEN:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored, symlinks=True)
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "built").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True)
    (built,) = (source / "built").glob("*.whl")
    return built


def needed(requirements: list[str], extra: str) -> Iterator[str]:
    """Names of the packages that the requirements come to, with theirs."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield canonicalize_name(requirement.name)
            yield from needed(importlib.metadata.requires(requirement.name) or [], "")


def requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(path).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the new environment."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    for name in set(needed(requirements_of(wheel), "client")):
        for file in importlib.metadata.files(name) or []:
            if ".." not in file.parts:
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return folder / "bin" / "python"


def test_extra_names_grpc_protobuf_and_pillow_alone(wheel: Path) -> None:
    assert set(needed(requirements_of(wheel), "client")) == {
        "click", "grpcio", "typing-extensions", "pillow", "protobuf",
    }  # fmt: skip


def run(python: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_predict_without_tensorflow(python: Path, server: ServerProcess, tmp_path: Path) -> None:
    for name, content in {"a.jpg": png("red", "JPEG"), "b.webp": png("blue", "WEBP")}.items():
        (tmp_path / name).write_bytes(content)
    where = ("--server", server.address, "--model-name", "colors")
    done = run(python, "-m", "slimworks", "predict", ".", *where, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["predictions"]
    assert [row["classes"][0]["class_name"] for row in rows] == ["red", "blue"]


CLIENTS = """
import asyncio, importlib.util, json, sys
from slimworks.components.serving.client import AsyncClient, Client

async def ask():
    async with AsyncClient({address!r}, "colors", num_retries=2) as client:
        return await client.predict_files(["a.jpg"])

with Client({address!r}, "colors", num_retries=2) as client:
    answers = client.predict_files(["a.jpg"]) + asyncio.run(ask())
names = ("tensorflow", "numpy", "pydantic", "yaml", "tornado")
print(json.dumps({{
    "classes": [answer.class_names[0] for answer in answers],
    "there": [name for name in names if importlib.util.find_spec(name)],
}}))
"""


def test_both_clients_without_tensorflow(
    python: Path, server: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(png("green", "JPEG"))
    done = run(python, "-c", CLIENTS.format(address=server.address), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"classes": ["green", "green"], "there": []}


def test_verb_that_needs_more_says_what_to_install(python: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = run(python, "-m", "slimworks", "run", "--data", "photos", folder=tmp_path)
    cause, fix = done.stderr.splitlines()
    assert cause.endswith(" is not installed: this verb needs more than is there.")
    assert fix.startswith("Fix:   pip install 'slimworks[pipeline]'")
    assert done.returncode == 2


def test_every_light_verb_shows_its_help(python: Path, tmp_path: Path) -> None:
    for arguments in (["--help"], ["predict", "--help"], ["--version"]):
        done = run(python, "-m", "slimworks", *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
