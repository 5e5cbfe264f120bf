"""PNG files that Pillow and libpng judge differently: libpng decides, as it trains and serves."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image

WIDTH, HEIGHT = 40, 30
PIXELS = np.random.default_rng(1).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes = b"", *, is_damaged: bool = False) -> bytes:
    checksum = zlib.crc32(name + data) ^ is_damaged
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def header(color_type: int = 2, bits: int = 8, packing: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", WIDTH, HEIGHT, bits, color_type) + packing)


def rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


ROWS = rows(PIXELS)
IDAT = chunk(b"IDAT", zlib.compress(ROWS))
END = chunk(b"IEND")
BOMB = zlib.compress(bytes(20_000_000))


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


def graph_decodes(data: bytes) -> np.ndarray:
    from slimworks.components.preprocessing.decoding import decode_image

    return decode_image(data).numpy()


EXTRAS = {
    "text with a wrong checksum": chunk(b"tEXt", b"a\0b", is_damaged=True),
    "gamma with a wrong checksum": chunk(b"gAMA", b"\0\0\xb1\x8f", is_damaged=True),
    "text bomb": chunk(b"zTXt", b"a\0\0" + BOMB),
    "international text bomb": chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB),
    "profile bomb": chunk(b"iCCP", b"icc\0\0" + BOMB),
    "broken profile": chunk(b"iCCP", b"x" * 30),
    "short gamma": chunk(b"gAMA", b"ab"),
    "short resolution": chunk(b"pHYs", b"ab"),
    "short transparency": chunk(b"tRNS", b"x"),
    "unknown": chunk(b"abCd", b"abc"),
}


@pytest.mark.parametrize("name", EXTRAS)
@pytest.mark.parametrize("is_behind", [False, True])
def test_what_stands_beside_the_pixels_does_no_harm(name: str, is_behind: bool) -> None:
    data = png(header(), *((IDAT, EXTRAS[name]) if is_behind else (EXTRAS[name], IDAT)), END)
    outcome = check_image(data, DataConfig())
    assert isinstance(outcome, CheckedImage), outcome
    assert outcome.converted is None
    np.testing.assert_array_equal(graph_decodes(data), PIXELS)


REFUSED = {
    "pixels end early": ((header(), chunk(b"IDAT", zlib.compress(ROWS[: len(ROWS) // 2]))),
                         "truncated"),
    "one row is missing": ((header(), chunk(b"IDAT", zlib.compress(ROWS[: -1 - 3 * WIDTH]))),
                           "truncated"),
    "unknown chunk that matters": ((header(), chunk(b"ABCD"), IDAT), "corrupt"),
    "name of no chunk": ((header(), chunk(b"a\0CD"), IDAT), "corrupt"),
    "two headers": ((header(), header(), IDAT), "corrupt"),
    "pixels apart": ((header(), chunk(b"IDAT", zlib.compress(ROWS)[:200]), chunk(b"tEXt", b"a\0b"),
                      chunk(b"IDAT", zlib.compress(ROWS)[200:])), "corrupt"),
    "no palette": ((header(3), chunk(b"IDAT", zlib.compress(rows(PIXELS[..., 0])))), "corrupt"),
    "unknown compression": ((header(packing=b"\1\0\0"), IDAT), "corrupt"),
    "unknown interlacing": ((header(packing=b"\0\0\2"), IDAT), None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_libpng_refuses_is_rejected(name: str) -> None:
    import tensorflow as tf

    chunks, reason = REFUSED[name]
    outcome = check_image(png(*chunks, END), DataConfig())
    assert isinstance(outcome, Rejection)
    assert reason in (None, outcome.reason)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_decodes(png(*chunks, END))


@pytest.mark.parametrize("lost", [1, 4, 8, 12, 13])
def test_a_cut_end_is_truncated(lost: int) -> None:
    outcome = check_image(png(header(), IDAT, END)[:-lost], DataConfig())
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "truncated"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(9, 7), (64, 48)])
def test_a_black_picture_is_no_cut_one(mode: str, size: tuple[int, int]) -> None:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    assert isinstance(check_image(stream.getvalue(), DataConfig()), CheckedImage)


def test_a_black_interlaced_picture_is_no_cut_one() -> None:
    size = sum(  # of the seven passes, each row with the number of its filter
        -(-(HEIGHT - top) // dy) * (1 + 3 * -(-(WIDTH - left) // dx))
        for left, top, dx, dy in (
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
            (0, 1, 1, 2),
        )
    )  # fmt: skip
    whole, cut = (
        png(header(packing=b"\0\0\1"), chunk(b"IDAT", zlib.compress(bytes(length))), END)
        for length in (size, size - 1)
    )
    assert isinstance(check_image(whole, DataConfig()), CheckedImage)
    assert isinstance(check_image(cut, DataConfig()), Rejection)


def test_orientation_behind_the_pixels_counts() -> None:
    exif = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    outcome = check_image(png(header(), IDAT, chunk(b"eXIf", exif), END), DataConfig())
    assert isinstance(outcome, CheckedImage)
    assert (outcome.height, outcome.width) == (WIDTH, HEIGHT)
