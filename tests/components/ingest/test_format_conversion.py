"""Formats that TensorFlow cannot decode: what ingest makes of them, and that the client agrees."""

from __future__ import annotations

import csv
import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import sixteen_bit_tiff, twelve_bit_tiff

from slimworks.components.examples import image_conversion, image_formats
from slimworks.components.examples.image_conversion import UnreadableImageError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image
from slimworks.components.serving.image_bytes import servable

NOISE = np.random.default_rng(0)
RGBA = NOISE.integers(0, 256, (14, 18, 4), np.uint8)
WIDE = NOISE.integers(0, 65_536, (14, 18, 4)).astype(np.uint16)
LOSSLESS = {"WEBP": {"lossless": True, "exact": True}, "JPEG2000": {"irreversible": False}}


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **LOSSLESS.get(image_format, {}), **options)
    return stream.getvalue()


def picture(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(WIDE[..., 0])
    if mode == "P":
        return Image.fromarray(RGBA[..., :3]).quantize(16)
    return Image.fromarray(RGBA).convert(mode)


def accepted(data: bytes, **settings: Any) -> CheckedImage:
    outcome = check_image(data, DataConfig(**settings))
    assert isinstance(outcome, CheckedImage), outcome
    return outcome


def kept(data: bytes) -> Image.Image:
    """What ingest keeps, after checking that a client would send the same bytes."""
    checked = accepted(data)
    assert checked.converted is not None
    assert servable(data, "a file") == checked.converted
    image = Image.open(io.BytesIO(checked.converted))
    assert (image.height, image.width) == (checked.height, checked.width)
    assert image.format == "PNG"
    return image


def sixteen_bits(png: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_png(png, dtype=tf.uint16).numpy()


CASES = [
    ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ("TIFF", "1"), ("TIFF", "L"), ("TIFF", "LA"), ("TIFF", "P"), ("TIFF", "RGB"), ("TIFF", "RGBA"),
    ("TIFF", "I;16"),
    ("JPEG2000", "L"), ("JPEG2000", "LA"), ("JPEG2000", "RGB"), ("JPEG2000", "RGBA"),
    ("JPEG2000", "I;16"),
    ("PPM", "1"), ("PPM", "L"), ("PPM", "RGB"), ("PPM", "I;16"),
    ("BMP", "1"), ("BMP", "L"), ("BMP", "P"),
]  # fmt: skip


@pytest.mark.parametrize(("image_format", "mode"), CASES)
def test_conversion_loses_nothing_and_the_client_does_the_same(
    image_format: str, mode: str
) -> None:
    image = picture(mode)
    converted = kept(encode(image, image_format))
    rgba = "RGBA" if mode != "I;16" else "I"
    np.testing.assert_array_equal(
        np.asarray(converted.convert(rgba)), np.asarray(image.convert(rgba))
    )


@pytest.mark.parametrize(("image_format", "mode"), CASES)
def test_digest_and_format_of_the_original_are_kept(image_format: str, mode: str) -> None:
    data = encode(picture(mode), image_format)
    checked = accepted(data)
    assert checked.image_id == hashlib.sha256(data).hexdigest()
    assert checked.original_format == image_format.lower()
    assert checked.format == "png"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_what_tensorflow_decodes_stays_as_it_is(image_format: str) -> None:
    data = encode(picture("RGB"), image_format)
    assert accepted(data).converted is None
    assert servable(data, "a file") == data


def test_rle_bmp_is_converted() -> None:
    """Two rows of four pixels: 3 x colour 1 + 1 x colour 0, then four literals."""
    pixels = b"\x03\x01\x01\x00\x00\x00" + b"\x00\x04\x00\x01\x00\x01\x00\x00" + b"\x00\x01"
    palette = bytes([0, 0, 255, 0, 255, 0, 0, 0])  # red, blue
    info = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(pixels), 0, 0, 2, 2)
    start = 14 + len(info) + len(palette)
    data = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + palette + pixels
    outcome = accepted(data, min_image_size_pixels=1)
    assert servable(data, "rle.bmp") == outcome.converted
    image = Image.open(io.BytesIO(outcome.converted or b"")).convert("RGB")
    red, blue = [255, 0, 0], [0, 0, 255]
    assert np.asarray(image).tolist() == [[red, blue, red, blue], [blue, blue, blue, red]]


@pytest.mark.parametrize("predictor", [0, 1, 2], ids=["raw", "deflate", "differences"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colour_tiff_keeps_both_bytes(order: str, predictor: int) -> None:
    data = sixteen_bit_tiff(WIDE[..., :3], order=order, predictor=predictor)
    checked = accepted(data)
    assert servable(data, "scan.tif") == checked.converted
    np.testing.assert_array_equal(sixteen_bits(checked.converted or b""), WIDE[..., :3])


@pytest.mark.parametrize(("kind", "channels"), [(0, 3), (2, 4)], ids=["unused", "alpha"])
def test_fourth_channel_of_a_16_bit_tiff(kind: int, channels: int) -> None:
    data = sixteen_bit_tiff(WIDE, more=((338, kind),))
    np.testing.assert_array_equal(
        sixteen_bits(accepted(data).converted or b""), WIDE[..., :channels]
    )


def test_16_bit_colour_tiff_is_turned_upright() -> None:
    checked = accepted(sixteen_bit_tiff(WIDE[..., :3], more=((274, 6),)))
    assert (checked.height, checked.width) == (18, 14)
    expected = np.rot90(WIDE[..., :3], -1)
    np.testing.assert_array_equal(sixteen_bits(checked.converted or b""), expected)


def test_12_bit_grey_is_spread_over_the_whole_range() -> None:
    values = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)
    pixels = np.asarray(kept(twelve_bit_tiff(values)))
    np.testing.assert_allclose(pixels, values * (65_535 / 4095), rtol=0, atol=1)
    assert len(np.unique(pixels)) == 64
    assert accepted(twelve_bit_tiff(values)).brightness == pytest.approx(0.5, abs=0.01)


def test_16_bit_grey_with_white_as_zero_is_inverted() -> None:
    data = sixteen_bit_tiff(WIDE[..., :1], photometric=0)
    np.testing.assert_array_equal(np.asarray(kept(data)), 65_535 - WIDE[..., 0])


def test_cmyk_tiff_becomes_rgb_as_in_a_jpeg() -> None:
    cyan, _, _, black = (RGBA[..., channel].astype(int) for channel in range(4))
    converted = kept(encode(Image.fromarray(RGBA, "CMYK"), "TIFF"))
    expected = (255 - cyan) * (255 - black) / 255
    assert converted.mode == "RGB"
    np.testing.assert_allclose(np.asarray(converted)[..., 0], expected, atol=1)


@pytest.mark.parametrize("image_format", ["WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(image_format: str, orientation: int) -> None:
    from PIL import ImageOps

    tag = Image.Exif()
    tag[0x0112] = orientation
    data = encode(picture("RGB"), image_format, exif=tag)
    plain = picture("RGB")
    plain.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(plain)
    np.testing.assert_array_equal(np.asarray(kept(data)), np.asarray(expected))


def test_png_with_an_orientation_stays_for_the_graph_to_turn() -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    data = encode(picture("RGB"), "PNG", exif=tag)
    checked = accepted(data)
    assert (checked.converted, checked.height, checked.width) == (None, 18, 14)
    assert servable(data, "a file") == data


@pytest.mark.parametrize("image_format", ["WEBP", "TIFF"])
def test_first_frame_or_page_counts(image_format: str) -> None:
    later = Image.new("RGB", (18, 14), "green")
    data = encode(picture("RGB"), image_format, save_all=True, append_images=[later])
    np.testing.assert_array_equal(np.asarray(kept(data)), RGBA[..., :3])


def test_metadata_stays_behind() -> None:
    tag = Image.Exif()
    tag[0x010E] = "taken at 52 N 13 E"
    converted = accepted(encode(picture("RGB"), "WEBP", exif=tag)).converted or b""
    assert b"52 N" not in converted


def big(image_format: str) -> bytes:
    """The first bytes of an image of 300 x 200: its header, and too little to decode."""
    return encode(Image.new("RGB", (300, 200)), image_format)


@pytest.mark.parametrize("image_format", ["WEBP", "TIFF", "JPEG2000", "PPM"])
def test_size_is_checked_before_decoding(
    image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ingest by its setting, in the client by what TensorFlow takes."""
    data = big(image_format)

    def fail(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(image_conversion, "load", fail)
    outcome = check_image(data, DataConfig(max_pixels=59_999))
    assert outcome == Rejection("too_many_pixels", "300x200 pixels, data.max_pixels is 59999")
    with pytest.raises(UnreadableImageError, match="300x200 pixels, at most 59999 are read"):
        image_conversion.to_png(data, max_pixels=59_999)


REFUSED = {
    "float": (encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "unsupported_pixels"),
    "32 bits": (
        encode(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"),
        "unsupported_pixels",
    ),
    "negative": (
        encode(Image.fromarray(np.full((8, 8), -1, np.int32)), "TIFF"),
        "unsupported_pixels",
    ),
    "32 bits of small values": (
        encode(Image.fromarray(np.full((8, 8), 200, np.int32)), "TIFF"),
        "unsupported_pixels",
    ),
    "lab": (encode(Image.new("LAB", (8, 8)), "TIFF"), "unsupported_pixels"),
    "planes apart": (
        sixteen_bit_tiff(WIDE[..., :3], more=((284, 2),)), "unsupported_pixels",
    ),
    "ico": (encode(picture("RGBA"), "ICO"), "unsupported_format"),
    "psd": (b"8BPS\0\1" + b"\0" * 30, "unsupported_format"),
    "avif": (b"\0\0\0\x20ftypavif" + b"\0" * 30, "unsupported_format"),
    "heic": (b"\0\0\0\x20ftypheic" + b"\0" * 30, "unsupported_format"),
    "jpeg xl": (b"\xff\x0a" + b"\0" * 30, "unsupported_format"),
    "svg": (b'<?xml version="1.0"?>\n<svg width="9"/>', "unsupported_format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported_format"),
    "pdf": (b"%PDF-1.7", "unsupported_format"),
    "text": (b"P1ease read me", "not_an_image"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_ingest_and_client_refuse_the_same(name: str) -> None:
    data, reason = REFUSED[name]
    outcome = check_image(data, DataConfig())
    assert isinstance(outcome, Rejection)
    with pytest.raises(UnreadableImageError) as caught:
        image_conversion.to_png(data)
    assert outcome.reason == reason
    assert caught.value.reason in (reason, "corrupt")


@pytest.mark.parametrize("image_format", ["WEBP", "TIFF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("keep", [0.2, 0.6])
def test_cut_file_is_refused_by_both(image_format: str, keep: float) -> None:
    data = encode(Image.effect_noise((64, 64), 60).convert("RGB"), image_format)
    cut = data[: int(len(data) * keep)]
    outcome = check_image(cut, DataConfig())
    assert isinstance(outcome, Rejection)
    assert outcome.reason in ("truncated", "corrupt")
    with pytest.raises(UnreadableImageError):
        image_conversion.to_png(cut)


@pytest.mark.parametrize("image_format", ["WEBP", "JPEG2000"])
@pytest.mark.parametrize("lost", [1, 100])
def test_a_lost_end_is_called_truncated(image_format: str, lost: int) -> None:
    data = encode(Image.effect_noise((64, 64), 60).convert("RGB"), image_format)
    outcome = check_image(data[:-lost], DataConfig())
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "truncated"


@pytest.mark.shared
def test_formats_of_awkward_files_are_named(shared: Path) -> None:
    folder = shared / "data" / "awkward"
    with open(folder / "manifest.tsv", encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream, delimiter="\t")]
    unknown = [
        name for name in names if image_formats.kind_of((folder / name).read_bytes()) is None
    ]
    assert unknown == ["made_empty.jpg", "made_text.jpg", "Thumbs.db"]


@pytest.mark.shared
def test_awkward_16_bit_tiff_keeps_both_bytes(shared: Path) -> None:
    data = (shared / "data" / "awkward" / "pil_tiff_16bit_RGB.tiff").read_bytes()
    pixels = sixteen_bits(accepted(data).converted or b"")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(pixels >> 8, np.asarray(image))
    assert len(np.unique(pixels & 255)) > 1
