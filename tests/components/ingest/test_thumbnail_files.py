"""Thumbnails: small, upright, on white; what cannot be decoded is left out."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from near_copies import encoded, scene
from PIL import Image

from slimworks.components.ingest.thumbnails import (
    keep_thumbnails,
    reuse_thumbnails,
    write_thumbnails,
)


def written(folder: Path, data: bytes, size: int = 96) -> Image.Image:
    assert write_thumbnails([("ab", data)], folder, size) == 1
    image = Image.open(io.BytesIO((folder / "ab.jpg").read_bytes()))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 300), (96, 72)), ((30, 60), (30, 60)), ((1, 5000), (1, 96)), ((5000, 1000), (96, 19))],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_longer_side_is_bounded(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int], image_format: str
) -> None:
    data = encoded(Image.new("RGB", size, "red"), image_format)
    assert written(tmp_path, data).size == expected


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_thumbnail_is_upright(tmp_path: Path, image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = written(tmp_path, encoded(scene(0, (200, 100)), image_format, exif=exif))
    assert image.size == ((48, 96) if orientation == 6 else (96, 48))


def test_transparency_is_white(tmp_path: Path) -> None:
    data = encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG")
    assert written(tmp_path, data).getpixel((25, 25)) == (255, 255, 255)


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    pixels = np.full((50, 50), 32_768, np.uint16)
    image = written(tmp_path, encoded(Image.fromarray(pixels), "PNG"))
    assert image.getpixel((5, 5)) == (128, 128, 128)


def test_metadata_stays_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at 52 N 13 E"
    written(tmp_path, encoded(scene(0), exif=exif))
    assert b"52 N" not in (tmp_path / "ab.jpg").read_bytes()


def test_what_cannot_be_decoded_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = [("bad", b"\xff\xd8\xff\xe0rest"), ("text", b"<html>"), ("good", encoded(scene(0)))]
    with caplog.at_level(logging.WARNING):
        assert write_thumbnails(items, tmp_path / "new") == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["good.jpg"]
    assert "No thumbnail of bad" in caplog.text


def test_thumbnails_are_small(tmp_path: Path) -> None:
    noise = Image.effect_noise((2000, 1500), 90).convert("RGB")
    written(tmp_path, encoded(noise, quality=95))
    assert (tmp_path / "ab.jpg").stat().st_size < 16_000


def test_known_thumbnails_are_not_made_again(tmp_path: Path) -> None:
    first, second, kept = (tmp_path / name for name in ("first", "second", "kept"))
    assert reuse_thumbnails(["a", "b"], kept, first) == ["a", "b"]
    write_thumbnails([(name, encoded(scene(number))) for number, name in enumerate("ab")], first)
    keep_thumbnails(first, kept)
    assert reuse_thumbnails(["b", "c"], kept, second) == ["c"]
    assert [path.name for path in second.iterdir()] == ["b.jpg"]
    assert (second / "b.jpg").read_bytes() == (first / "b.jpg").read_bytes()


def test_only_the_last_thumbnails_are_kept(tmp_path: Path) -> None:
    first, second, kept = (tmp_path / name for name in ("first", "second", "kept"))
    write_thumbnails([(name, encoded(scene(0))) for name in "ab"], first)
    write_thumbnails([(name, encoded(scene(1))) for name in "bc"], second)
    keep_thumbnails(first, kept)
    keep_thumbnails(second, kept)
    assert sorted(path.name for path in kept.iterdir()) == ["b.jpg", "c.jpg"]


def test_a_report_without_thumbnails_keeps_none(tmp_path: Path) -> None:
    first, second, kept = (tmp_path / name for name in ("first", "second", "kept"))
    write_thumbnails([("a", encoded(scene(0)))], first)
    keep_thumbnails(first, kept)
    assert reuse_thumbnails([], kept, second) == []
    keep_thumbnails(second, kept)
    assert list(kept.iterdir()) == []
