"""Checkpoints shared by the tests of exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export_samples import write_checkpoint

from slimworks.components.export.export import export_saved_model
from slimworks.components.export.images import ComparisonImages, generated_images
from slimworks.components.export.inference_graph import checkpoint_probabilities
from slimworks.components.export.source import ExportSource, from_checkpoint


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("lenet"), "lenet", 28, num_channels=1)


@pytest.fixture(scope="session")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("mobilenet"), "mobilenet_v1_025", 32)


@pytest.fixture(scope="session")
def lenet_source(lenet: Path) -> ExportSource:
    return from_checkpoint(lenet)


@pytest.fixture(scope="session")
def mobilenet_source(mobilenet: Path) -> ExportSource:
    return from_checkpoint(mobilenet, image_size=32)


@pytest.fixture(scope="session")
def images() -> ComparisonImages:
    return generated_images(5)


@pytest.fixture(scope="session")
def mobilenet_pixels(mobilenet_source: ExportSource, images: ComparisonImages) -> np.ndarray:
    return images.pixels(mobilenet_source)


@pytest.fixture(scope="session")
def mobilenet_probabilities(
    mobilenet_source: ExportSource, mobilenet_pixels: np.ndarray
) -> np.ndarray:
    return checkpoint_probabilities(mobilenet_source, mobilenet_pixels)


@pytest.fixture(scope="session")
def exported(
    mobilenet_source: ExportSource,
    images: ComparisonImages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A SavedModel of `mobilenet`."""
    output = tmp_path_factory.mktemp("exported") / "saved_model"
    export_saved_model(mobilenet_source, output, images, top_k=3)
    return output
