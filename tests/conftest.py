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


def write_tiny_photos(folder: Path, num_per_class: int = 40, seed: int = 0) -> Path:
    """Three classes of 32 x 32 photos that a small net tells apart: the place of a bright bar."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(seed)
    for number, class_name in enumerate(("left", "middle", "right")):
        class_folder = folder / class_name
        class_folder.mkdir(parents=True, exist_ok=True)
        for index in range(num_per_class):
            pixels = generator.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            start = 2 + 10 * number + int(generator.integers(0, 3))
            pixels[:, start : start + 6] = 255 - generator.integers(0, 60, (32, 6, 3))
            suffix = "jpg" if index % 2 else "png"
            Image.fromarray(pixels).save(class_folder / f"{seed}-{index:03d}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 120 tiny photos in three classes; do not change it."""
    return write_tiny_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def tiny_examples(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingested and transformed `tiny_photos`: examples/, label_map/, graph/, stored/ (lenet)."""
    from slimworks.components.contracts import LabelMap
    from slimworks.components.ingest.config import DataConfig
    from slimworks.components.ingest.ingest import IngestOutputs, ingest
    from slimworks.components.transform.config import TransformSettings
    from slimworks.components.transform.transform import TransformOutputs, transform

    folder = tmp_path_factory.mktemp("tiny")
    outputs = IngestOutputs(*(str(folder / name) for name in ("examples", "label_map", "report")))
    ingest(str(tiny_photos), outputs, DataConfig(), LabelMap())
    transform(
        str(folder / "examples"),
        TransformOutputs(str(folder / "graph"), str(folder / "stored")),
        TransformSettings(family="lenet", stored_size=28, num_channels=1),
    )
    return folder
