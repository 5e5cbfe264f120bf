"""EXIF orientation, read and undone inside the graph."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from slimworks.components.examples import image_conversion
from slimworks.components.preprocessing import decoding, exif

ORIENTATION = tf.function(exif.jpeg_orientation, autograph=False)
DECODE = tf.function(decoding.decode_image, autograph=False)


def photo() -> bytes:
    """A JPEG of 16 x 24 pixels without EXIF, different in all corners."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def tiff(orientation: int, order: str = "<", kind: int = 3, offset: int = 8, tag: int = 0x0112):
    """TIFF block with one other entry before the orientation."""
    mark = b"II" if order == "<" else b"MM"
    entries = struct.pack(order + "HHIHH", 0x010F, 2, 4, 0x4142, 0)
    entries += struct.pack(order + "HHIHH", tag, kind, 1, orientation, 0)
    directory = struct.pack(order + "H", 2) + entries + b"\0" * 4
    return mark + struct.pack(order + "HI", 42, offset) + b"\0" * (offset - 8) + directory


def with_segment(payload: bytes, marker: int = 0xE1, before: bytes = b"") -> bytes:
    """The photo with a segment behind its JFIF header."""
    encoded = photo()
    end_of_jfif = 4 + struct.unpack(">H", encoded[4:6])[0]
    segment = struct.pack(">HH", 0xFF00 | marker, len(payload) + 2) + payload
    return encoded[:end_of_jfif] + before + segment + encoded[end_of_jfif:]


def with_exif(block: bytes) -> bytes:
    return with_segment(b"Exif\0\0" + block)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation: int, order: str) -> None:
    encoded = with_exif(tiff(orientation, order))
    stored = Image.fromarray(DECODE(tf.constant(photo())).numpy())
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    assert ORIENTATION(tf.constant(encoded)) == orientation
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), expected)
    assert Image.open(io.BytesIO(encoded)).getexif()[0x0112] == orientation


@pytest.mark.parametrize("offset", [9, 300])
def test_directory_may_lie_anywhere(offset: int) -> None:
    assert ORIENTATION(tf.constant(with_exif(tiff(6, ">", offset=offset)))) == 6


@pytest.mark.parametrize(
    "before",
    [b"\xff\xe2\x00\x08abcdef", b"\xff\xfe\x00\x05abc", b"\xff", b"\x00\xff\x00junk"],
    ids=["color_profile", "comment", "fill_byte", "junk"],
)
def test_segments_and_junk_before_exif_are_skipped(before: bytes) -> None:
    encoded = with_segment(b"Exif\0\0" + tiff(8), before=before)
    assert ORIENTATION(tf.constant(encoded)) == 8


def with_exif_before(marker: bytes) -> bytes:
    """The photo with EXIF in front of its first segment of a kind, behind all that stand before."""
    encoded = photo()
    place = encoded.index(b"\xff" + marker)
    block = b"Exif\0\0" + tiff(6)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    return encoded[:place] + segment + encoded[place:]


@pytest.mark.parametrize("marker", [b"\xc0", b"\xc4", b"\xda"], ids=["frame", "huffman", "scan"])
def test_exif_behind_tables_is_found_as_pillow_and_ingest_find_it(marker: bytes) -> None:
    encoded = with_exif_before(marker)
    assert encoded.index(b"\xff\xdb") < encoded.index(b"\xff\xe1")  # behind the DQT segments
    with Image.open(io.BytesIO(encoded)) as image:
        assert image_conversion.orientation_of(image) == 6
        expected_size = ImageOps.exif_transpose(image).size
    decoded = DECODE(tf.constant(encoded))
    assert (decoded.shape[1], decoded.shape[0]) == expected_size == (16, 24)
    assert ORIENTATION(tf.constant(encoded)) == 6


def test_exif_behind_a_restart_interval_and_a_stray_restart_marker_is_found() -> None:
    before = b"\xff\xdd\x00\x04\x00\x00" + b"\xff\xd0"
    assert ORIENTATION(tf.constant(with_segment(b"Exif\0\0" + tiff(8), before=before))) == 8


BROKEN = {
    "no_exif": photo(),
    "behind_the_image": photo() + with_exif(tiff(6))[2:],
    "in_the_scan": with_segment(b"Exif\0\0" + tiff(6), before=b"\xff\xda\x00\x02"),
    "behind_more_junk_than_is_walked": with_segment(b"Exif\0\0" + tiff(6), before=b"\0" * 600),
    "inside_a_segment": with_segment(b"\xff\xe1\0\x40Exif\0\0" + tiff(6), marker=0xFE),
    "xmp_segment": with_segment(b"http://ns.adobe.com/xap/1.0/\0" + tiff(6)),
    "other_segment": with_segment(b"Exif\0\0" + tiff(6), marker=0xE2),
    "empty_block": with_exif(b""),
    "three_bytes": with_exif(b"II*"),
    "no_byte_order": with_exif(b"XX" + tiff(6)[2:]),
    "no_magic_number": with_exif(tiff(6)[:2] + b"\0\0" + tiff(6)[4:]),
    "directory_beyond_block": with_exif(tiff(6)[:4] + struct.pack("<I", 60_000) + tiff(6)[8:]),
    "directory_beyond_file": with_exif(tiff(6)[:4] + b"\xff\xff\xff\xff" + tiff(6)[8:]),
    "cut_in_entry": with_exif(tiff(6)[:30]),
    "value_zero": with_exif(tiff(0)),
    "value_nine": with_exif(tiff(9)),
    "value_large": with_exif(tiff(0xFFFF)),
    "wrong_type": with_exif(tiff(6, kind=2)),
    "other_tag": with_exif(tiff(6, tag=0x0113)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_missing_or_broken_exif_means_upright(name: str) -> None:
    assert ORIENTATION(tf.constant(BROKEN[name])) == 1


@pytest.mark.parametrize("length", [0, 1, 3, 11, 30, 60])
def test_cut_file_means_upright(length: int) -> None:
    assert ORIENTATION(tf.constant(with_exif(tiff(6))[:length])) == 1


def test_orientation_in_dataset_equals_eager() -> None:
    images = [with_exif(tiff(value)) for value in range(1, 9)] + list(BROKEN.values())
    dataset = tf.data.Dataset.from_tensor_slices(images).map(exif.jpeg_orientation)
    eager = [int(exif.jpeg_orientation(tf.constant(encoded))) for encoded in images]
    assert list(dataset.as_numpy_iterator()) == eager


PNG_ORIENTATION = tf.function(exif.png_orientation, autograph=False)


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(behind_the_pixels: bool = False, orientation: int = 6, order: str = "<") -> bytes:
    """A PNG of 16 x 24 pixels with an eXIf chunk."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo())).save(stream, "PNG")
    encoded = stream.getvalue()
    place = encoded.index(b"IEND" if behind_the_pixels else b"IDAT") - 4
    return encoded[:place] + chunk(b"eXIf", tiff(orientation, order)) + encoded[place:]


@pytest.mark.parametrize("behind_the_pixels", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_is_turned_as_pillow_turns_it(
    orientation: int, order: str, behind_the_pixels: bool
) -> None:
    encoded = png(behind_the_pixels, orientation, order)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    assert PNG_ORIENTATION(tf.constant(encoded)) == orientation
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), expected)


@pytest.mark.parametrize(
    "content",
    [b"", b"eXI", b"XIf" + tiff(6), b"eXIf", b"eXIfII*", b"eXIfXX*\0" + tiff(6)[4:], b"eXIf" * 9],
)
def test_png_without_a_sound_exif_chunk_is_upright(content: bytes) -> None:
    assert PNG_ORIENTATION(tf.constant(content)) == 1


def test_orientation_of_a_png_in_dataset_equals_eager() -> None:
    images = [png(orientation=value) for value in range(1, 9)]
    dataset = tf.data.Dataset.from_tensor_slices(images).map(exif.png_orientation)
    assert list(dataset.as_numpy_iterator()) == list(range(1, 9))
