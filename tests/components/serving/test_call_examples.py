"""The printed examples, run as they are printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import png

from slimworks.components.serving.call_examples import call_examples
from slimworks.components.serving.process import ServerProcess

ROOT = Path(__file__).parents[3]
MODEL_NAME = "it's 100% blue"  # a folder may be called so


@pytest.fixture(scope="module")
def named(color_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    base = tmp_path_factory.mktemp("named")
    shutil.copytree(color_model, base / "3")
    with ServerProcess(base, MODEL_NAME) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds cat.jpg, which fits in no argument of a command."""
    (tmp_path / "cat.jpg").write_bytes(png("blue", "JPEG") + b"\0" * 200_000)
    return tmp_path


def examples(server: ServerProcess, version: int | None) -> dict[str, str]:
    text = call_examples(MODEL_NAME, server.address, server.rest_address, version=version)
    return dict(re.findall(r"^# (\w+)\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL))


def run(example: str, folder: Path) -> str:
    path = os.pathsep.join(map(str, (folder, Path(sys.executable).parent)))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PATH": path + os.pathsep + os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", [None, 3])
def test_curl(named: ServerProcess, folder: Path, version: int | None) -> None:
    answer = json.loads(run(examples(named, version)["curl"], folder))
    assert answer["predictions"][0]["classes"][0] == "blue", answer


@pytest.mark.parametrize("version", [None, 3])
def test_python_and_slimworks(named: ServerProcess, folder: Path, version: int | None) -> None:
    printed = examples(named, version)
    assert re.fullmatch(r"blue 0\.96\d+ True\n", run(printed["Python"], folder))
    assert re.search(r"^cat\.jpg +blue ", run(printed["slimworks"], folder), re.MULTILINE)


@pytest.mark.engine
def test_grpcurl(named: ServerProcess, folder: Path) -> None:
    engines = Path(os.environ.get("SLIMWORKS_ENGINES", ROOT / ".engines"))
    (built,) = engines.glob("grpcurl-v*")
    (folder / "grpcurl").symlink_to(built.resolve())
    answer = json.loads(run(examples(named, 3)["grpcurl"], folder))
    assert answer["outputs"]["is_known"]["bool_val"] == [True]


def test_version_that_is_asked_for_is_in_every_call(named: ServerProcess) -> None:
    with_version, without = examples(named, 77), examples(named, None)
    assert list(with_version) == ["slimworks", "curl", "grpcurl", "Python"]
    assert all("77" in call for call in with_version.values())
    assert not any("version" in call for call in without.values())


@pytest.mark.parametrize(("page", "name"), [("serving", "photos"), ("clients", "flowers")])
def test_pages_show_the_same_curl(page: str, name: str) -> None:
    printed = call_examples(name, "127.0.0.1:8500", "127.0.0.1:8501")
    (curl,) = re.findall(r"# curl\n(.*?)\n\n", printed, re.DOTALL)
    assert curl in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def test_server_without_rest_has_no_curl() -> None:
    assert "curl -d" not in call_examples("m", "127.0.0.1:8500")
