"""check_image on real odd files and on made ones."""

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image

REJECTED = {
    "pil_hopper.ico": "unsupported_format",
    "pil_hopper.avif": "unsupported_format",
    "pil_hopper.psd": "unsupported_format",
    "pil_decompression_bomb.gif": "too_many_pixels",
    "made_bomb_60000x60000.png": "too_many_pixels",
    "pil_shortfile.bmp": "truncated",
    "made_truncated_half.jpg": "truncated",
    "pil_broken.png": "corrupt",
    "made_empty.jpg": "empty",
    "made_text.jpg": "not_an_image",
    "made_1x1.jpg": "too_small",
}
CONVERTED = {"pil_hopper.webp", "pil_flower2.webp", "pil_tiff_16bit_RGB.tiff"}
SKIPPED = {"Thumbs.db"}


def check(data: bytes, **settings: object) -> CheckedImage | Rejection:
    return check_image(data, DataConfig(**settings))


def accepted(data: bytes, **settings: object) -> CheckedImage:
    outcome = check(data, **settings)
    assert isinstance(outcome, CheckedImage), outcome
    return outcome


def rejected(data: bytes, **settings: object) -> Rejection:
    outcome = check(data, **settings)
    assert isinstance(outcome, Rejection)
    return outcome


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def awkward(shared: Path) -> dict[str, bytes]:
    folder = shared / "data" / "awkward"
    with open(folder / "manifest.tsv", encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream, delimiter="\t")]
    return {name: (folder / name).read_bytes() for name in names if name not in SKIPPED}


@pytest.mark.shared
def test_every_awkward_file_has_the_outcome_of_the_manifest(awkward: dict[str, bytes]) -> None:
    outcomes = {}
    for name, data in awkward.items():
        outcome = check(data)
        if isinstance(outcome, Rejection):
            outcomes[name] = outcome.reason
        elif outcome.converted:
            outcomes[name] = "converted"
    assert outcomes == REJECTED | dict.fromkeys(CONVERTED, "converted")


@pytest.mark.shared
def test_tensorflow_decodes_what_is_stored_of_awkward_files(awkward: dict[str, bytes]) -> None:
    import tensorflow as tf

    for name, data in awkward.items():
        outcome = check(data)
        if isinstance(outcome, Rejection):
            continue
        stored = outcome.converted or data
        pixels = tf.io.decode_image(stored, expand_animations=False).numpy()
        assert sorted(pixels.shape[:2]) == sorted((outcome.height, outcome.width)), name


@pytest.mark.shared
@pytest.mark.parametrize("name", ["exif_Landscape_1.jpg", "exif_Landscape_6.jpg"])
def test_size_is_upright_after_the_orientation(awkward: dict[str, bytes], name: str) -> None:
    image = accepted(awkward[name])
    assert (image.height, image.width) == (1200, 1800)


@pytest.mark.shared
def test_brightness_of_cmyk_is_that_of_its_rgb_conversion(awkward: dict[str, bytes]) -> None:
    data = awkward["pil_pil_sample_cmyk.jpg"]
    luma = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").convert("L"))
    assert accepted(data).brightness == pytest.approx(luma.mean() / 255, abs=0.02)
    assert accepted(data).channels == 4


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
    image = accepted(encode(Image.fromarray(ramp)))
    assert image.brightness == pytest.approx(0.5, abs=0.01)
    assert image.converted is None


def test_16_bit_tiff_keeps_its_bits_as_png() -> None:
    ramp = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
    image = accepted(encode(Image.fromarray(ramp), "TIFF"))
    assert (image.format, image.original_format, image.colorspace) == ("png", "tiff", "Grayscale")
    kept = Image.open(io.BytesIO(image.converted or b""))
    assert np.array_equal(np.asarray(kept).astype(np.uint16), ramp)


def test_float_tiff_is_rejected_because_its_range_is_unknown() -> None:
    pixels = Image.fromarray(np.full((8, 8), 0.5, np.float32))
    assert rejected(encode(pixels, "TIFF")).reason == "unsupported_pixels"


def test_webp_is_converted_without_loss() -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8))
    data = encode(pixels, "WEBP", lossless=True)
    kept = Image.open(io.BytesIO(accepted(data).converted or b""))
    assert np.array_equal(np.asarray(kept), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("image_format", ["WEBP", "TIFF"])
def test_orientation_outside_of_jpeg_is_applied_to_the_pixels(image_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = accepted(encode(Image.new("RGB", (30, 20), "red"), image_format, exif=exif))
    kept = Image.open(io.BytesIO(image.converted or b""))
    assert (image.height, image.width) == (30, 20)
    assert kept.size == (20, 30)
    assert kept.getexif().get(0x0112, 1) == 1


def test_palette_and_32_bit_bmp_are_converted_and_24_bit_is_kept() -> None:
    picture = Image.effect_noise((16, 16), 50)
    assert accepted(encode(picture.convert("P"), "BMP")).converted
    assert accepted(encode(picture.convert("RGBA"), "BMP")).converted
    assert accepted(encode(picture.convert("RGB"), "BMP")).converted is None


@pytest.mark.parametrize(
    ("mode", "channels", "colorspace"),
    [("L", 1, "Grayscale"), ("LA", 2, "Grayscale"), ("RGB", 3, "RGB"), ("RGBA", 4, "RGB")],
)
def test_channels_are_those_of_the_stored_file(mode: str, channels: int, colorspace: str) -> None:
    image = accepted(encode(Image.new(mode, (8, 8))))
    assert (image.channels, image.colorspace) == (channels, colorspace)


def test_transparent_parts_count_as_white() -> None:
    assert accepted(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))).brightness == 1.0


def test_8x8_scan_is_accepted() -> None:
    assert accepted(encode(Image.new("L", (8, 8)))).height == 8


def test_size_limits_hold_before_decoding() -> None:
    data = encode(Image.new("L", (20, 10)))[:60]  # the header only: decoding would fail
    assert rejected(data, max_pixels=199).detail == "20x10 pixels, data.max_pixels is 199"
    assert rejected(data, min_image_size_pixels=11).reason == "too_small"


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_truncated_file_is_rejected(image_format: str, keep: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels), image_format)
    assert rejected(data[: int(len(data) * keep)]).reason in ("truncated", "corrupt")


def test_png_with_a_wrong_checksum_is_rejected() -> None:
    data = bytearray(encode(Image.effect_noise((16, 16), 50)))
    data[-14] ^= 1  # inside the last data chunk's checksum
    assert rejected(bytes(data)).reason == "corrupt"


def test_random_bytes_behind_a_signature_are_rejected_not_raised() -> None:
    noise = np.random.default_rng(0)
    starts = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
    for start in (*starts, b"RIFF\x10\x00\x00\x00WEBP"):
        for length in (0, 1, 30, 500):
            assert isinstance(check(start + noise.bytes(length)), Rejection)


def test_pillow_warnings_do_not_leak(recwarn: pytest.WarningsRecorder) -> None:
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff"
    accepted(encode(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    with warnings.catch_warnings(record=True) as caught:
        rejected(encode(Image.new("L", (20, 10))), max_pixels=10)
    assert not caught
    assert not recwarn.list
