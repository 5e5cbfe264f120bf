"""What readers of the tutorials have: photos, a checkpoint, a package index."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOLAR_CELLS = "elpv-dataset==1.0.0.post1"


@pytest.fixture
def desk(shared: Path, tmp_path: Path) -> Path:
    """The folder that a reader types in, with the published checkpoint downloaded already."""
    for path in (shared / "data/checkpoints/mobilenet_v1_0.25_128").glob("*.ckpt.*"):
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def some_flowers(shared: Path, tmp_path: Path) -> Path:
    """24 photos of each of five flowers, as a reader's own folders."""
    folder = tmp_path / "some_flowers"
    for source in sorted((shared / "data/datasets/flowers_800").iterdir()):
        (folder / source.name).mkdir(parents=True)
        for path in sorted(source.iterdir())[:24]:
            shutil.copy(path, folder / source.name)
    return folder


@pytest.fixture(scope="session")
def package_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of solar cells, from the package index."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    done = subprocess.run([*command, str(folder), SOLAR_CELLS], capture_output=True, text=True)
    assert done.returncode == 0, f"{SOLAR_CELLS} cannot be downloaded:\n{done.stderr}"
    return folder
