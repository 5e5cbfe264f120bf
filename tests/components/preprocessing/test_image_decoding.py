"""Decoding inside the graph: every format and mode, the same everywhere."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components.examples import image_formats
from slimworks.components.preprocessing import decoding


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height)]
    rgb = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    if mode == "RGBA":
        rgb.putalpha(Image.fromarray((x * 12 % 256).astype(np.uint8)))
        return rgb
    if mode == "LA":
        grey = rgb.convert("L")
        grey.putalpha(Image.fromarray((y * 20 % 256).astype(np.uint8)))
        return grey
    return rgb.convert(mode)


def on_white(image: Image.Image) -> np.ndarray:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def bmp_with_masks(rgba: np.ndarray) -> bytes:
    """A 32-bit BMP with a V4 header, whose fourth byte is alpha: Pillow does not write these."""
    height, width = rgba.shape[:2]
    masks = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0\0\0\0\xff"
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()

    def number(value: int, size: int = 4) -> bytes:
        return value.to_bytes(size, "little")

    info = number(108) + number(width) + number(height) + number(1, 2) + number(32, 2) + number(3)
    info += number(len(pixels)) + number(2835) * 2 + number(0) * 2 + masks
    info = info.ljust(108, b"\0")
    return b"BM" + number(14 + 108 + len(pixels)) + number(0) + number(122) + info + pixels


def sixteen_bit_grey() -> tuple[bytes, np.ndarray]:
    values = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    return encode(Image.fromarray(values), "PNG"), np.round(values / 257.0).astype(np.uint8)


PALETTE = gradient().quantize(16)
EXACT = {
    "png_rgb": (encode(gradient(), "PNG"), on_white(gradient())),
    "png_grey": (encode(gradient("L"), "PNG"), on_white(gradient("L"))),
    "png_1_bit": (encode(gradient("1"), "PNG"), on_white(gradient("1"))),
    "png_palette_4_bits": (encode(PALETTE, "PNG", bits=4), on_white(PALETTE)),
    "png_palette": (encode(PALETTE, "PNG", bits=8), on_white(PALETTE)),
    "gif": (encode(PALETTE, "GIF"), on_white(PALETTE)),
    "bmp_rgb": (encode(gradient(), "BMP"), on_white(gradient())),
    "bmp_grey": (encode(gradient("L"), "BMP"), on_white(gradient("L"))),
    "bmp_palette": (encode(PALETTE, "BMP"), on_white(PALETTE)),
    "bmp_padded": (encode(gradient("RGBA"), "BMP"), on_white(gradient("RGB"))),
}
DECODE = tf.function(decoding.decode_image, autograph=False)


@pytest.mark.parametrize("name", EXACT)
def test_lossless_formats_give_pillows_pixels(name: str) -> None:
    encoded, expected = EXACT[name]
    np.testing.assert_array_equal(DECODE(tf.constant(encoded)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_png_alpha_is_composited_on_white(mode: str) -> None:
    image = gradient(mode)
    difference = DECODE(tf.constant(encode(image, "PNG"))).numpy() - on_white(image).astype(int)
    assert np.abs(difference).max() <= 1  # Pillow rounds its intermediate sums


def test_png_transparent_color_and_palette_entry_become_white() -> None:
    for mode, transparent in (("RGB", (10, 20, 30)), ("L", 7), ("P", 0)):
        image = Image.new(mode, (4, 4), transparent)
        encoded = encode(image, "PNG", transparency=transparent)
        assert (DECODE(tf.constant(encoded)).numpy() == 255).all(), mode


def test_bmp_alpha_mask_is_composited_on_white() -> None:
    rgba = np.asarray(gradient("RGBA"))
    decoded = DECODE(tf.constant(bmp_with_masks(rgba))).numpy()
    assert np.abs(decoded - on_white(Image.fromarray(rgba)).astype(int)).max() <= 1


def test_sixteen_bits_are_scaled_not_cut() -> None:
    encoded, expected = sixteen_bit_grey()
    np.testing.assert_array_equal(DECODE(tf.constant(encoded))[..., 0], expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_close_to_pillow(mode: str) -> None:
    encoded = encode(gradient(mode, (64, 48)), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    # TensorFlow's default DCT is the fast, coarse one; Pillow's is exact.
    assert np.abs(DECODE(tf.constant(encoded)).numpy() - expected).mean() < 3


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("P", (8, 8), value) for value in (0, 1)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 0, 255])
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (DECODE(tf.constant(encoded)).numpy() == [255, 0, 0]).all()


@pytest.mark.parametrize("name", EXACT)
def test_one_channel_is_pillows_luma(name: str) -> None:
    encoded, rgb = EXACT[name]
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_array_equal(DECODE(tf.constant(encoded), 1)[..., 0], expected)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="num_channels is 4, expected 1 or 3"):
        decoding.decode_image(tf.constant(b""), 4)


@pytest.mark.parametrize(
    "encoded",
    [b"", b"B", b"<html>not found</html>", encode(gradient(), "WEBP"), encode(gradient(), "TIFF")],
    ids=["empty", "one_byte", "html", "webp", "tiff"],
)
def test_other_content_is_refused_with_the_way_out(encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF or BMP image"):
        DECODE(tf.constant(encoded))


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        (b"", "an empty file"),
        (b"<html>not found</html>", "what was sent"),
        (encode(gradient(), "WEBP"), "a WebP file"),
        (encode(gradient(), "TIFF"), "a TIFF file"),
        (encode(gradient(), "JPEG2000"), "a JPEG 2000 file"),
        (encode(gradient(), "ICO"), "an ICO file"),
        (b"\0\0\0\x20ftypavif" + b"\0" * 20, "an AVIF file"),
        (b"\0\0\0\x20ftypheic" + b"\0" * 20, "a HEIC file"),
    ],
    ids=["empty", "html", "webp", "tiff", "jpeg2000", "ico", "avif", "heic"],
)
def test_refusal_names_what_was_sent(encoded: bytes, name: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        DECODE(tf.constant(encoded))
    assert (
        f"{name} is not a JPEG, PNG, GIF or BMP image. WebP, TIFF and other formats must be "
        "converted to PNG or JPEG before they are sent; `slimworks predict` converts them."
    ) in str(caught.value)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
FOREIGN = [
    b"." * start + signature + b"\0" * 8
    for start, signature, kind in image_formats.SIGNATURES
    if kind not in image_formats.STORED_FORMATS
] + [
    b"P6\n9 9\n255\n" + b"\xff" * 243,
    SVG,
    b"\xef\xbb\xbf" + SVG,
    b'\r\n <?xml version="1.0"?>\n<!-- a drawing -->\n' + SVG,
    b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "a.dtd" [ <!ENTITY a "b"> ]>' + SVG + b"\xff",
    b"<svg:svg/>",
]


@pytest.mark.parametrize("encoded", FOREIGN, ids=range(len(FOREIGN)))
def test_graph_names_every_kind_that_ingest_names(encoded: bytes) -> None:
    kind = image_formats.kind_of(encoded)
    assert kind is not None
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        DECODE(tf.constant(encoded))
    name = image_formats.FOREIGN_NAMES[kind]
    assert f"{name} is not a JPEG, PNG, GIF or BMP image." in str(caught.value)


@pytest.mark.parametrize(
    "encoded",
    [b"<!DOCTYPE html><svg/>", b"<html><svg/></html>", b"<?xml version='1.0'?><a/>", b"<svgs/>",
     b"<!-- " + b"-- <!--" * 2000, b"<?>" * 1300],
    ids=["page", "plain_page", "other_xml", "other_tag", "comments", "prologs"],
)  # fmt: skip
def test_text_that_is_no_drawing_has_no_name(encoded: bytes) -> None:
    assert image_formats.kind_of(encoded) is None
    with pytest.raises(tf.errors.InvalidArgumentError, match="what was sent is not a JPEG"):
        DECODE(tf.constant(encoded))


def test_os2_bmp_is_refused_not_misread() -> None:
    """Its header of 12 bytes holds the size in other places; what follows looks like 24 bits."""
    encoded = bytearray(encode(gradient(), "BMP"))
    encoded[14] = 12
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP image that is compressed"):
        DECODE(tf.constant(bytes(encoded)))


@pytest.mark.parametrize("offset", [28, 30], ids=["bits", "compression"])
def test_unusual_bmp_is_refused(offset: int) -> None:
    encoded = bytearray(encode(gradient(), "BMP"))
    encoded[offset] = 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP image that is compressed"):
        DECODE(tf.constant(bytes(encoded)))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_truncated_image_is_an_error(file_format: str) -> None:
    encoded = encode(gradient(size=(64, 64)), file_format)
    with pytest.raises(tf.errors.InvalidArgumentError):
        DECODE(tf.constant(encoded[: len(encoded) // 2]))


def test_eager_dataset_and_map_fn_agree() -> None:
    images = [encoded for encoded, _ in EXACT.values()]
    images += [sixteen_bit_grey()[0], encode(gradient("CMYK"), "JPEG"), encode(PALETTE, "PNG")]
    eager = [decoding.decode_image(tf.constant(encoded)).numpy() for encoded in images]
    decode = tf.autograph.experimental.do_not_convert(decoding.decode_image)
    dataset = tf.data.Dataset.from_tensor_slices(images).map(decode)
    mapped = tf.function(
        lambda batch: tf.map_fn(
            decoding.decode_image, batch, fn_output_signature=tf.TensorSpec([12, 20, 3], tf.uint8)
        )
    )(tf.constant(images))
    np.testing.assert_array_equal(np.stack(list(dataset.as_numpy_iterator())), eager)
    np.testing.assert_array_equal(mapped, eager)
