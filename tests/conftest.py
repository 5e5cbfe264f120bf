"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from photo_samples import write_tiny_photos

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


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 120 tiny photos in three classes; do not change it."""
    return write_tiny_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def tiny_examples(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingested and transformed `tiny_photos`: examples/, label_map/, graph/, stored/ (lenet)."""
    from slimworks.components.ingest.config import DataConfig
    from slimworks.components.ingest.ingest import IngestOutputs, ingest
    from slimworks.components.transform.config import TransformSettings
    from slimworks.components.transform.transform import TransformOutputs, transform

    folder = tmp_path_factory.mktemp("tiny")
    outputs = IngestOutputs(*(str(folder / name) for name in ("examples", "label_map", "report")))
    ingest(str(tiny_photos), outputs, DataConfig(), str(folder / "state"))
    transform(
        str(folder / "examples"),
        TransformOutputs(str(folder / "graph"), str(folder / "stored")),
        TransformSettings(family="lenet", stored_size=28, num_channels=1),
    )
    return folder
