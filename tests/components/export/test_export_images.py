"""Images that exports are compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.export.images import MAX_IMAGES, generated_images, read_images
from slimworks.components.export.inference_graph import checkpoint_probabilities
from slimworks.components.export.source import ExportSource


def test_generated_images_are_always_the_same() -> None:
    assert generated_images() == generated_images()
    assert len(set(generated_images().encoded)) == 16


def test_generated_images_get_different_answers(mobilenet_source: ExportSource) -> None:
    pixels = generated_images().pixels(mobilenet_source)
    probabilities = checkpoint_probabilities(mobilenet_source, pixels)
    assert len(set(probabilities.argmax(axis=-1))) >= 3


def test_folder_of_many_photos_is_sampled_evenly(tmp_path: Path) -> None:
    for number in range(2 * MAX_IMAGES + 1):
        (tmp_path / f"{number:03d}.JPG").write_bytes(bytes([number]))
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    images = read_images(tmp_path)
    assert len(images.names) <= MAX_IMAGES
    assert images.names[:2] == (str(tmp_path / "000.JPG"), str(tmp_path / "003.JPG"))
    assert images.encoded[-1] == bytes([2 * MAX_IMAGES - 1])


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_images(tmp_path)
    assert caught.value.cause == (
        f"--images {tmp_path} holds no image (.jpg, .jpeg, .png, .gif, .bmp)."
    )
    assert caught.value.fix == (
        "Give a folder of photos, or leave --images out: generated ones are taken then."
    )


def test_image_that_cannot_be_decoded(tmp_path: Path, lenet_source: ExportSource) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"no image at all")
    with pytest.raises(DataError) as caught:
        read_images(tmp_path).pixels(lenet_source)
    assert caught.value.cause.startswith(f"{tmp_path / 'cat.jpg'} cannot be decoded: ")
    assert caught.value.fix == "Take it out of the folder given to --images."


def test_pixels_are_the_networks_input(tmp_path: Path, lenet_source: ExportSource) -> None:
    Image.new("L", (28, 28), 192).save(tmp_path / "grey.png")
    pixels = read_images(tmp_path).pixels(lenet_source)
    np.testing.assert_array_equal(pixels, np.full((1, 28, 28, 1), 0.5, np.float32))
