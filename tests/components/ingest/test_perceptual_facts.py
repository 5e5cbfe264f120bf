"""Brightness, sharpness, fingerprint and signature of one picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from near_copies import COPIES, reopened, resized, scene
from PIL import Image, ImageFilter

from slimworks.components.ingest import perceptual
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, check_image
from slimworks.components.ingest.perceptual import Appearance, describe


def as_jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95)
    return stream.getvalue()


def distance(first: Appearance, second: Appearance) -> int:
    bits = int.from_bytes(first.fingerprint, "big") ^ int.from_bytes(second.fingerprint, "big")
    return bin(bits).count("1")


def is_comparable(appearance: Appearance) -> bool:
    return len(appearance.signature) == 1024


@pytest.mark.parametrize("name", COPIES)
def test_copies_have_close_fingerprints(name: str) -> None:
    distances = []
    for seed in range(10):
        picture = scene(seed)
        distances.append(distance(describe(picture, 1), describe(COPIES[name](picture), 1)))
    assert max(distances) <= 32


def test_different_pictures_have_far_fingerprints() -> None:
    described = [describe(scene(seed), 1) for seed in range(30)]
    pairs = [(a, b) for number, a in enumerate(described) for b in described[:number]]
    assert min(distance(a, b) for a, b in pairs) > 40


def test_fingerprint_is_the_same_in_every_version() -> None:
    """Catalogues keep fingerprints: a changed one would find no old copy."""
    x, y = np.meshgrid(np.linspace(0, 9, 96), np.linspace(0, 7, 96))
    waves = 127 + 60 * np.sin(x) * np.cos(y * 1.3) + 60 * np.sin(x * y / 9)
    picture = Image.fromarray(waves.clip(0, 255).astype(np.uint8))
    assert describe(picture, 1).fingerprint.hex() == FIXED_FINGERPRINT


FIXED_FINGERPRINT = "f6fe2cdcd1c859175676124f9bb59896a2c9fe6360bd85e9f8e9c748d7c0363d"


def test_picture_is_described_upright() -> None:
    picture = scene(1, (120, 120))
    turned = picture.transpose(Image.Transpose.ROTATE_90)  # orientation 6 turns it back
    upright = describe(picture, 1)
    assert distance(describe(turned, 6), upright) <= 2
    assert describe(turned, 6).sharpness == pytest.approx(upright.sharpness, rel=0.01)
    assert distance(describe(turned, 1), upright) > 50


def test_sizes_of_one_photo_have_similar_sharpness() -> None:
    photo = scene(2, (768, 576))
    half = describe(resized(photo, 0.5), 1).sharpness
    assert half == pytest.approx(describe(photo, 1).sharpness, rel=0.25)


def test_blur_lowers_the_sharpness() -> None:
    photo = scene(3, (400, 300))
    blurred = photo.filter(ImageFilter.GaussianBlur(12))
    assert describe(blurred, 1).sharpness < 0.3 * describe(photo, 1).sharpness


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    values = pixels.astype(float)
    laplacian = (
        values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
        - 4 * values[1:-1, 1:-1]
    )  # fmt: skip
    assert describe(Image.fromarray(pixels), 1).sharpness == pytest.approx(laplacian.var())


def test_even_picture_has_no_sharpness() -> None:
    assert describe(Image.new("RGB", (200, 100), "gray"), 1).sharpness == 0.0


def test_brightness_is_the_mean_luma() -> None:
    photo = scene(4, (500, 375))
    expected = np.asarray(photo.convert("L")).mean() / 255
    assert describe(photo, 1).brightness == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_is_described(mode: str) -> None:
    grey = scene(5).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
    appearance = describe(image, 1)
    assert appearance.brightness == pytest.approx(describe(grey, 1).brightness, abs=0.02)
    assert distance(appearance, describe(grey, 1)) <= 8


def test_transparent_parts_are_white() -> None:
    picture = scene(6).convert("RGBA")
    hole = Image.new("L", picture.size, 255)
    hole.paste(0, (0, 0, 80, 60))
    picture.putalpha(hole)
    white = scene(6)
    white.paste("white", (0, 0, 80, 60))
    assert distance(describe(picture, 1), describe(white, 1)) <= 2


def test_transparent_colour_of_a_large_picture_is_white() -> None:
    """Larger than what is thinned out: the colour must not be lost on the way."""
    image = Image.new("L", (3000, 2100), 7)
    image.info["transparency"] = 7
    assert describe(image, 1).brightness == 1.0


@pytest.mark.parametrize("size", [(8, 8), (31, 200), (1, 5000)])
def test_small_pictures_match_by_equal_pixels_only(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    original = describe(Image.fromarray(pixels), 1)
    same = describe(reopened(Image.fromarray(pixels), "PNG"), 1)
    pixels[-1, -1] ^= 1
    other = describe(Image.fromarray(pixels), 1)
    assert not is_comparable(original)
    assert same.signature == original.signature
    assert distance(other, original) > 50


@pytest.mark.parametrize("color", ["white", "black", (90, 91, 90)])
def test_even_pictures_match_by_equal_pixels_only(color: str | tuple[int, int, int]) -> None:
    image = Image.new("RGB", (300, 1100), color)
    lighter = Image.eval(image, lambda value: min(value + 1, 254))
    assert not is_comparable(describe(image, 1))
    assert distance(describe(image, 1), describe(lighter, 1)) > 50


def test_shaded_area_is_even() -> None:
    ramp = np.linspace(40, 220, 200)[:, None] + np.linspace(0, 30, 150)
    assert not is_comparable(describe(Image.fromarray(ramp.astype(np.uint8)), 1))


def test_even_jpegs_of_other_colours_are_no_copies() -> None:
    """Their grey is equal, and grey is what a JPEG is decoded to at first."""
    red, blue = (Image.new("RGB", (300, 300), color) for color in ((90, 0, 0), (0, 0, 236)))
    first, second = (check_image(as_jpeg(image), DataConfig()) for image in (red, blue))
    assert isinstance(first, CheckedImage)
    assert isinstance(second, CheckedImage)
    assert first.brightness == pytest.approx(second.brightness, abs=0.005)
    assert first.fingerprint != second.fingerprint


def test_digest_of_an_even_picture_covers_its_last_row() -> None:
    image = Image.new("L", (1000, 3000), 255)
    marked = image.copy()
    marked.putpixel((999, 2999), 254)
    assert describe(image, 1).fingerprint != describe(marked, 1).fingerprint


def test_working_size_is_a_multiple_of_the_thumbnail() -> None:
    assert all(side % perceptual.THUMBNAIL_SIZE == 0 for side in perceptual.WORKING_SIZE)
