"""Dark, bright and blurred images stand out of a set, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from slimworks.components.ingest.outliers import Outlier, find_outliers
from slimworks.components.ingest.perceptual import describe


def photos(num_images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    brightness = generator.normal(0.45, 0.1, num_images).clip(0.15, 0.8)
    return brightness, np.exp(generator.normal(6.5, 0.6, num_images).clip(5.3, 7.7))


def test_each_kind_is_found() -> None:
    brightness, sharpness = photos()
    brightness[3], brightness[5], sharpness[7] = 0.004, 0.995, 3.0
    found = find_outliers(brightness, sharpness)
    assert [(outlier.index, outlier.kind) for outlier in found] == [
        (3, "dark"), (5, "bright"), (7, "blurred")
    ]  # fmt: skip
    typical = float(np.median(brightness))
    assert found[0] == Outlier(3, "dark", 0.004, typical)


def test_ordinary_set_has_none() -> None:
    assert find_outliers(*photos()) == []


def test_small_differences_in_a_uniform_set_are_none() -> None:
    brightness = np.full(100, 0.5)
    sharpness = np.full(100, 900.0)
    brightness[0], sharpness[1] = 0.6, 500.0
    assert find_outliers(brightness, sharpness) == []


def test_black_picture_in_a_uniform_set_is_one() -> None:
    brightness, sharpness = np.full(100, 0.5), np.full(100, 900.0)
    brightness[9], sharpness[9] = 0.0, 0.0
    assert [(o.index, o.kind) for o in find_outliers(brightness, sharpness)] == [
        (9, "dark"), (9, "blurred")
    ]  # fmt: skip


@pytest.mark.parametrize("num_images", [0, 1, 2, 50])
def test_even_pictures_are_all_alike(num_images: int) -> None:
    assert find_outliers(np.ones(num_images), np.zeros(num_images)) == []


def test_two_halves_have_none() -> None:
    brightness = np.repeat([0.1, 0.9], 50)
    assert find_outliers(brightness, np.full(100, 500.0)) == []


def test_farthest_come_first_and_their_number_is_limited() -> None:
    brightness, sharpness = photos()
    brightness[:10] = np.linspace(0.004, 0.008, 10)
    found = find_outliers(brightness, sharpness, max_outliers=4)
    assert [outlier.index for outlier in found] == [0, 1, 2, 3]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="brightness"):
        find_outliers(np.ones(2), np.ones(3))


@pytest.mark.shared
def test_spoiled_flowers_are_found(shared: Path) -> None:
    paths = sorted((shared / "data" / "datasets" / "flowers_800").glob("*/*"))[::4]
    images = [Image.open(path) for path in paths]
    images[10] = ImageEnhance.Brightness(images[10]).enhance(0.02)
    images[20] = Image.eval(images[20], lambda value: 240 + value // 17)
    images[30] = images[30].filter(ImageFilter.GaussianBlur(min(images[30].size) / 20))
    described = [describe(image, 1) for image in images]
    found = find_outliers(
        np.array([d.brightness for d in described]), np.array([d.sharpness for d in described])
    )
    kinds = {(outlier.index, outlier.kind) for outlier in found}
    assert {(10, "dark"), (20, "bright"), (30, "blurred")} <= kinds
    assert len({outlier.index for outlier in found}) <= 8  # five of the photos themselves
