"""Encoded bytes to pixels, inside the graph: one decoder for training, evaluation and serving.

Rules: upright by the EXIF orientation of a JPEG or PNG; CMYK as libjpeg converts it; alpha (a
GIF's too) composited on white; 16 bits scaled to 8; the first frame of a GIF; palettes expanded;
grey by ITU-R 601 luma. Only TensorFlow's own ops, so that TensorFlow Serving loads the graph.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.examples import image_formats
from slimworks.components.preprocessing import exif, gif

NOT_DECODABLE = (
    " is not a JPEG, PNG, GIF or BMP image. WebP, TIFF and other formats must be converted to PNG "
    "or JPEG before they are sent; `slimworks predict` converts them."
)
BMP_NOT_DECODABLE = (
    "a BMP image that is compressed or has neither 8, 24 nor 32 bits a pixel. It must be converted "
    "to PNG before it is sent; `slimworks predict` converts it."
)

# What TensorFlow's builds take by default, and so what TF-Slim's nets were trained with. Named
# here because each build is free to choose another one.
_JPEG_DCT_METHOD = "INTEGER_FAST"
# Pillow's and libjpeg's integer luma, out of 65536: exact for grey pixels.
_LUMA_WEIGHTS = (19595, 38470, 7471)
_PNG_BIT_DEPTH_OFFSET = 24  # in the IHDR chunk, which is always first


def decode_image(encoded: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Decodes one image of any supported format, upright.

    Args:
        encoded: string [], the bytes of a JPEG, PNG, GIF or BMP file.
        num_channels: 3 for RGB, 1 for luma.

    Returns:
        uint8 [H, W, num_channels].

    Raises:
        tf.errors.InvalidArgumentError: (from the graph) Another format, or a damaged image.
    """
    if num_channels not in (1, 3):
        raise ValueError(f"num_channels is {num_channels}, expected 1 or 3.")
    # Padding keeps substr in range for a file of a few bytes.
    head = tf.strings.substr(tf.strings.join([encoded, b"\0" * 4]), 0, 4)
    formats = (
        (tf.strings.substr(head, 0, 3) == b"\xff\xd8\xff", _decode_jpeg),
        (head == b"\x89PNG", _decode_png),
        (head == b"GIF8", gif.decode_first_frame),
        (tf.strings.substr(head, 0, 2) == b"BM", _decode_bmp),
    )
    rgb = tf.case(
        [(is_format, lambda decode=decode: decode(encoded)) for is_format, decode in formats],
        default=lambda: _refused(tf.strings.join([_name_of(encoded), NOT_DECODABLE])),
    )
    rgb = tf.ensure_shape(rgb, [None, None, 3])
    return rgb if num_channels == 3 else luma(rgb)


def luma(rgb: tf.Tensor) -> tf.Tensor:
    """Grey by ITU-R 601 weights. rgb: uint8 [..., 3] -> uint8 [..., 1]."""
    weighted = tf.cast(rgb, tf.int32) * _LUMA_WEIGHTS
    total = tf.reduce_sum(weighted, axis=-1, keepdims=True)
    return tf.cast((total + 32768) // 65536, tf.uint8)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method=_JPEG_DCT_METHOD)
    return exif.upright(image, exif.jpeg_orientation(encoded))


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    """Upright. Four channels bring every kind of transparency (tRNS too) as alpha."""
    padded = tf.strings.join([encoded, b"\0" * 32])
    header = tf.strings.substr(padded, _PNG_BIT_DEPTH_OFFSET, 1)
    bit_depth = tf.cast(tf.io.decode_raw(header, tf.uint8)[0], tf.int32)
    rgba = tf.cond(
        bit_depth == 16,
        lambda: _eight_bits(tf.io.decode_png(encoded, channels=4, dtype=tf.uint16)),
        lambda: tf.io.decode_png(encoded, channels=4),
    )
    # libpng fills the alpha of an opaque image with ones, but below 8 bits only as many as the
    # bit depth: a black and white scan comes with alpha 1 of 255.
    opaque = tf.bitwise.left_shift(1, tf.minimum(bit_depth, 8)) - 1
    return exif.upright(on_white(rgba, tf.cast(opaque, tf.uint8)), exif.png_orientation(encoded))


def _eight_bits(image: tf.Tensor) -> tf.Tensor:
    """Uint16 -> uint8, rounded: TensorFlow's own conversion cuts the low byte off."""
    return tf.cast((tf.cast(image, tf.int32) + 128) // 257, tf.uint8)


def on_white(rgba: tf.Tensor, opaque: tf.Tensor | int = 255) -> tf.Tensor:
    """Composites on white. rgba: uint8 [..., 4] -> uint8 [..., 3].

    An image whose alpha is `opaque` everywhere is taken as it is.
    """

    def composited() -> tf.Tensor:
        color, alpha = tf.cast(rgba[..., :3], tf.int32), tf.cast(rgba[..., 3:], tf.int32)
        return tf.cast((color * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    is_opaque = tf.reduce_all(rgba[..., 3] == opaque)
    return tf.cond(is_opaque, lambda: rgba[..., :3], composited)


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Uncompressed 8 (palette), 24 and 32 bits; TensorFlow checks neither palette nor masks."""
    padded = tf.strings.join([encoded, b"\0" * 70])
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, 70), tf.uint8), tf.int32)
    header_bytes, bits, compression = header[14], header[28], header[30]
    masks = tf.strings.substr(padded, 54, 12)
    # A shorter header (OS/2) has other fields in other places.
    has_fields = header_bytes >= 40
    has_masks = has_fields & (compression == 3)
    is_plain = has_fields & (compression == 0) & tf.reduce_any(bits == [8, 24, 32])
    # The only masks that TensorFlow's decoder assumes: blue, green, red, alpha in this order.
    is_bgra = has_masks & (bits == 32) & (masks == b"\0\0\xff\0\0\xff\0\0\xff\0\0\0")
    # Without an alpha mask the fourth byte is padding, often zero: not "transparent".
    has_alpha = is_bgra & (header_bytes >= 56) & (header[69] == 255)
    return tf.case(
        [
            (is_plain & (bits == 8), lambda: _palette_bmp(encoded, header)),
            (has_alpha, lambda: on_white(tf.io.decode_bmp(encoded, channels=4))),
            (is_plain | is_bgra, lambda: _first_channels(tf.io.decode_bmp(encoded))),
        ],
        default=lambda: _refused(tf.constant(BMP_NOT_DECODABLE)),
    )


def _palette_bmp(encoded: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """Looks the indices up in the palette of blue, green, red, unused bytes."""
    indices = tf.cast(tf.io.decode_bmp(encoded, channels=0)[..., 0], tf.int32)
    start = 14 + header[14]
    pixels_start = header[10] + 256 * header[11]
    size = tf.clip_by_value(pixels_start - start, 0, 1024)
    palette = tf.io.decode_raw(tf.strings.substr(encoded, start, size - size % 4), tf.uint8)
    palette = tf.reshape(palette, [-1, 4])[:, 2::-1]
    return tf.gather(palette, indices)


def _first_channels(image: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(image[..., :3], [None, None, 3])


def _name_of(encoded: tf.Tensor) -> tf.Tensor:
    """What a file is that no decoder here reads. string [] -> string []."""
    head = tf.strings.substr(tf.strings.join([encoded, b"\0" * 16]), 0, image_formats.TEXT_BYTES)
    name = tf.where(tf.strings.length(encoded) == 0, "an empty file", "what was sent")
    for pattern, kind in image_formats.TEXT_SIGNATURES:
        # \C: any byte. The expression must fit the whole string.
        is_known = tf.strings.regex_full_match(head, pattern + r"\C*")
        name = tf.where(is_known, image_formats.FOREIGN_NAMES[kind], name)
    for start, signature, kind in reversed(image_formats.SIGNATURES):
        if kind not in image_formats.STORED_FORMATS:
            is_known = tf.strings.substr(head, start, len(signature)) == signature
            name = tf.where(is_known, image_formats.FOREIGN_NAMES[kind], name)
    return name


def _refused(message: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
        return tf.zeros([1, 1, 3], tf.uint8)
