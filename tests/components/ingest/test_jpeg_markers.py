"""JPEG files that Pillow and TensorFlow's libjpeg judge differently."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slimworks.components.examples import image_formats, jpeg_markers
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image
from slimworks.components.serving.image_bytes import servable

PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 72))
)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def start_of_pixels(data: bytes) -> int:
    scan = data.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")


def accepted(data: bytes) -> CheckedImage:
    outcome = check_image(data, DataConfig())
    assert isinstance(outcome, CheckedImage), outcome
    return outcome


def pixels_of(png: bytes | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png or b"")))


def lossless_jpeg(grey: np.ndarray) -> bytes:
    """ITU-T T.81 annex H, each sample predicted by its left neighbour. grey: [H, W] uint8."""
    height, width = grey.shape
    bits = ""
    for y in range(height):
        for x in range(width):
            above = int(grey[y - 1, 0]) if y else 128
            predicted = int(grey[y, x - 1]) if x else above
            difference = int(grey[y, x]) - predicted
            length = abs(difference).bit_length()
            bits += f"{length:05b}"  # the table below gives each length a code of five bits
            if length:
                value = difference if difference > 0 else difference + (1 << length) - 1
                bits += f"{value:0{length}b}"
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    table = b"\xff\xc4\0\x24\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    scan = b"\xff\xda\0\x08\1\1\0\1\0\0"
    return b"\xff\xd8" + frame + table + scan + coded + b"\xff\xd9"


def test_a_lossless_jpeg_which_tensorflow_cannot_read_becomes_a_png() -> None:
    grey = PIXELS[..., 0]
    data = lossless_jpeg(grey)
    checked = accepted(data)
    assert (checked.original_format, checked.format) == ("jpeg", "png")
    np.testing.assert_array_equal(pixels_of(checked.converted), grey)
    assert servable(data, "scan.jpg") == checked.converted


def without_adobe_marker(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def test_cmyk_without_the_marker_of_adobe_means_what_it_means_with_it() -> None:
    """TensorFlow would take it as not inverted: a black picture."""
    from slimworks.components.preprocessing.decoding import decode_image

    marked = jpeg("CMYK")
    bare = without_adobe_marker(marked)
    assert accepted(marked).converted is None
    checked = accepted(bare)
    np.testing.assert_allclose(
        pixels_of(checked.converted).astype(int), decode_image(marked).numpy(), atol=4
    )
    assert servable(bare, "print.jpg") == checked.converted


def test_samples_of_12_bits_are_named() -> None:
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = 0xC1, 12
    outcome = check_image(bytes(data), DataConfig())
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "unsupported_pixels"
    assert outcome.detail.endswith("12 bits a sample")


HONEST = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_blocks=2),
    "grey": jpeg("L"),
    "garbage behind": jpeg() + b"\xff\xd8garbage\xff\x02",
    "two files": jpeg() + jpeg(progressive=True),
    "fill bytes": jpeg().replace(b"\xff\xd9", b"\xff\xff\xff\xd9"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_files_are_kept(name: str) -> None:
    data = HONEST[name]
    jpeg_markers.verify(data, start_of_pixels(data))
    assert image_formats.is_stored_as_it_is(data)
    assert isinstance(check_image(data, DataConfig()), CheckedImage)


@pytest.mark.parametrize("marker", [0x01, 0x02, 0xBF, 0xC0, 0xD8, 0xE5, 0xFE])
def test_a_marker_in_the_middle_of_the_pixels_is_found(marker: int) -> None:
    data = bytearray(jpeg())
    middle = (start_of_pixels(bytes(data)) + len(data)) // 2
    data[middle : middle + 2] = bytes([0xFF, marker])
    with pytest.raises((SyntaxError, EOFError)):
        jpeg_markers.verify(bytes(data), start_of_pixels(bytes(data)))


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_file_that_is_filled_up_with_zeros_is_truncated(
    keep: float, progressive: bool
) -> None:
    data = jpeg(progressive=progressive)
    cut = data[: int(len(data) * keep)].ljust(len(data), b"\0")
    with pytest.raises(EOFError, match="truncated, its end marker is missing"):
        jpeg_markers.verify(cut, start_of_pixels(cut))


def test_a_long_number_is_no_orientation() -> None:
    """The graph reads the tag as EXIF defines it, as a short number: so do the image's facts."""
    entry = struct.pack(">HHII", 0x0112, 4, 1, 6)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry + b"\0\0\0\0"
    data = jpeg(exif=exif)
    checked = accepted(data)
    assert (checked.height, checked.width) == (72, 96)
