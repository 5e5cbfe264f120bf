"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Two parallel suites on two cores: let TensorFlow see what is there, not more.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real checkpoints and photos: SLIMWORKS_SHARED, by default ../shared."""
    root = Path(__file__).parents[1]
    folder = (root / os.environ.get("SLIMWORKS_SHARED", "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"shared data not found: {folder} (set SLIMWORKS_SHARED)")
    return folder
