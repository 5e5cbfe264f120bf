from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from serving_models import save_color_model

from slimworks.components.serving.process import ServerProcess


@pytest.fixture(scope="session")
def color_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_color_model(tmp_path_factory.mktemp("color") / "model")


@pytest.fixture(scope="session")
def blue_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers blue, whatever the image."""
    return save_color_model(tmp_path_factory.mktemp("blue") / "model", favourite=2)


@pytest.fixture
def base_path(color_model: Path, tmp_path: Path) -> Path:
    """A serving folder with version 1."""
    shutil.copytree(color_model, tmp_path / "base" / "1")
    return tmp_path / "base"


@pytest.fixture(scope="module")
def server(color_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """A running server with version 3 of `colors`."""
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(color_model, base / "3")
    with ServerProcess(base, "colors") as running:
        yield running
