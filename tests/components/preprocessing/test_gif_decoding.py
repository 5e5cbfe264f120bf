"""First frame of a GIF: transparency, screens larger than the frame, damaged files."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components.preprocessing import decoding, gif

DECODE = tf.function(
    gif.decode_first_frame, autograph=False, input_signature=[tf.TensorSpec([], tf.string)]
)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def encode(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "GIF", **options)
    return stream.getvalue()


def picture(num_colors: int = 16) -> Image.Image:
    return Image.fromarray(PIXELS).quantize(num_colors)


def on_white(encoded: bytes) -> np.ndarray:
    rgba = Image.open(io.BytesIO(encoded)).convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def parts(encoded: bytes) -> tuple[bytes, bytes]:
    """Header with palette, and the file from its first image descriptor on."""
    palette_bytes = 3 << (encoded[10] % 8 + 1) if encoded[10] & 0x80 else 0
    end = 13 + palette_bytes
    return encoded[:end], encoded[encoded.index(b",", end) :]


def control(transparent: int, flags: int = 1) -> bytes:
    return bytes([0x21, 0xF9, 4, flags, 0, 0, transparent, 0])


def on_screen(width: int, height: int, left: int, top: int, before: bytes = b"") -> bytes:
    """The picture as a frame somewhere on a screen, with blocks before it."""
    head, body = parts(encode(picture()))
    screen = head[:6] + struct.pack("<HH", width, height) + head[10:]
    return screen + before + body[:1] + struct.pack("<HH", left, top) + body[5:]


@pytest.mark.parametrize("num_colors", [2, 4, 16, 256])
@pytest.mark.parametrize(
    "options",
    [{}, {"transparency": 0}, {"transparency": 1}, {"interlace": 0}, {"interlace": 1},
     {"transparency": 1, "comment": b"x" * 700}],
    ids=["opaque", "first", "second", "in_order", "interlaced", "behind_a_comment"],
)  # fmt: skip
def test_pixels_are_pillows_on_white(num_colors: int, options: dict[str, Any]) -> None:
    encoded = encode(picture(num_colors), **options)
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), on_white(encoded))


def test_transparent_pixels_are_white_not_black() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 1), 1)
    decoded = DECODE(tf.constant(encode(image, transparency=0))).numpy()
    assert decoded[1, 1].tolist() == [200, 0, 0]
    assert (np.delete(decoded.reshape(16, 3), 5, axis=0) == 255).all()


def test_palette_of_the_image_is_taken_before_the_files() -> None:
    head, body = parts(encode(picture(4)))
    palette = bytes(range(12))
    own = body[:9] + bytes([body[9] | 0x81]) + palette + body[10:]
    encoded = head + control(2) + own
    expected = on_white(encoded)
    assert (expected == 255).all(axis=-1).any()
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), expected)


def test_without_any_palette_pixels_are_grey() -> None:
    head, body = parts(encode(picture(256)))
    encoded = head[:10] + bytes([head[10] & 0x7F]) + head[11:13] + body
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), expected)


@pytest.mark.parametrize("before", [b"", control(3)], ids=["opaque", "transparent"])
def test_screen_around_the_frame_is_white(before: bytes) -> None:
    encoded = on_screen(80, 70, 20, 10, before)
    decoded = DECODE(tf.constant(encoded)).numpy()
    assert decoded.shape == (70, 80, 3)
    np.testing.assert_array_equal(decoded[10:50, 20:70], on_white(encoded)[10:50, 20:70])
    outside = np.ones((70, 80), bool)
    outside[10:50, 20:70] = False
    assert (decoded[outside] == 255).all()


def test_frame_beyond_the_screen_is_shown_whole() -> None:
    encoded = on_screen(30, 30, 20, 10, control(3))
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), on_white(encoded))


def test_later_frames_change_nothing() -> None:
    first, later = picture(), Image.fromarray(PIXELS[::-1]).quantize(8)
    animation = encode(first, save_all=True, append_images=[later, later], transparency=5)
    np.testing.assert_array_equal(DECODE(tf.constant(animation)), on_white(animation))


def in_sub_blocks(body: bytes, sizes: Any) -> bytes:
    """The same image with its pixels in sub-blocks of these sizes, the last for all others."""
    pixels, position = b"", 11
    while body[position]:
        pixels += body[position + 1 : position + 1 + body[position]]
        position += 1 + body[position]
    blocks, start = b"", 0
    while start < len(pixels):
        block = pixels[start : start + next(sizes)]
        blocks, start = blocks + bytes([len(block)]) + block, start + len(block)
    return body[:11] + blocks + b"\0"


@pytest.mark.parametrize("largest", [255, 254, 3, 2, 1])
def test_pixels_come_in_sub_blocks_of_any_size(largest: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (150, 200, 3), np.uint8)
    encoded = encode(Image.fromarray(noise).quantize(256))
    head, body = parts(encoded)
    assert len(body) > 3 * 8192
    for sizes in (itertools.repeat(largest), itertools.cycle((largest, 1, largest, 7))):
        first = head + in_sub_blocks(body, sizes)
        later = in_sub_blocks(b",\0\0\0\0" + struct.pack("<HH", 900, 900) + body[9:], sizes)
        np.testing.assert_array_equal(DECODE(tf.constant(first + later + b";")), on_white(encoded))


def test_frames_behind_the_first_are_not_unpacked() -> None:
    """500 frames of 2000x2000, of two megabytes, would take six gigabytes; these take 0.6."""
    head, body = parts(encode(Image.new("P", (2000, 2000))))
    frame = body[:-1]
    alone, many = tf.constant(head + frame + b";"), tf.constant(head + frame * 50 + b";")
    DECODE(alone)
    peaks = []
    for encoded in (alone, many):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        DECODE(encoded)
        text = Path("/proc/self/status").read_text()
        peaks.append(int(text.partition("VmHWM:")[2].split()[0]) << 10)
    assert peaks[1] - peaks[0] < 100 << 20


def test_a_first_image_behind_very_many_blocks_is_an_error_not_a_bomb() -> None:
    head, body = parts(encode(picture()))
    with pytest.raises(tf.errors.InvalidArgumentError):
        DECODE(tf.constant(head + b"\x21\xfe\0" * 8192 + body))


def test_extension_of_very_many_sub_blocks_is_skipped() -> None:
    encoded = on_screen(50, 40, 0, 0, b"\x21\xff" + b"\x01a\x02bc" * 9000 + b"\0" + control(7))
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), on_white(encoded))


@pytest.mark.parametrize(
    "before",
    [control(3, flags=0), b"\0\0", b"\x21\xfe" + b"\xff" + b"a" * 255 + b"\x03abc\0",
     b"\x21\xff\x0bXMP DataXMP" + bytes([255, *range(255, -1, -1)]) + b"\0"],
    ids=["no_transparency", "junk", "comment", "application"],
)  # fmt: skip
def test_blocks_before_the_image_are_skipped(before: bytes) -> None:
    encoded = on_screen(50, 40, 0, 0, before + control(7))
    assert (on_white(encoded) == 255).all(axis=-1).any()
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), on_white(encoded))


def test_every_cut_of_a_file_is_an_error() -> None:
    encoded = encode(picture(4), transparency=1, comment=b"abc")
    for length in range(4, len(encoded) - 8, 13):
        with pytest.raises(tf.errors.InvalidArgumentError):
            DECODE(tf.constant(encoded[:length]))


def test_huge_screen_is_refused_before_it_fills_the_memory() -> None:
    encoded = on_screen(65_535, 65_535, 0, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a GIF image of more than 178956970"):
        DECODE(tf.constant(encoded))


def test_eager_dataset_and_decode_image_agree() -> None:
    encoded = encode(picture(), transparency=3)
    expected = gif.decode_first_frame(tf.constant(encoded))
    decode = tf.autograph.experimental.do_not_convert(decoding.decode_image)
    dataset = tf.data.Dataset.from_tensors(encoded).map(decode)
    np.testing.assert_array_equal(next(iter(dataset)), expected)
