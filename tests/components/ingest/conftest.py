"""Fixtures of the ingest tests."""

from pathlib import Path

import pytest
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
