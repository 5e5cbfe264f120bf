from __future__ import annotations

from pathlib import Path

import pytest
from shadow_samples import THRESHOLDS, save_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SavedModels by side; they disagree on images between two levels."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(folder / name, limit) for name, limit in THRESHOLDS.items()}
