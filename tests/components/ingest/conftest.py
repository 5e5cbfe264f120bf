"""Fixtures of the ingest tests."""

from pathlib import Path

import pytest
from engine_ingests import Reference, make_reference
from photo_folders import MakePhotos, photo_bytes


@pytest.fixture
def make_photos(tmp_path: Path) -> MakePhotos:
    """Returns a function that writes `count` different photos into each class folder."""

    def make(*classes: str, count: int = 20, folder: str = "photos") -> Path:
        source = tmp_path / folder
        for number, name in enumerate(classes):
            (source / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                path = source / name / f"{index:03d}.png"
                path.write_bytes(photo_bytes(1_000 * number + index))
        return source

    return make


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A source with files of every kind, and what an ingest without any engine makes of it."""
    return make_reference(tmp_path_factory.mktemp("reference"))
