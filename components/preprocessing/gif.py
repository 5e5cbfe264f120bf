"""First frame of a GIF with its transparency, inside the graph.

TensorFlow's decoder paints transparent pixels black, and its picture has the size of the largest
frame, so that a first frame in the middle of the screen is cut off. So the file is read up to its
first image and a plain one is made of it: one frame in the top left corner whose palette has white
where the original is transparent. The decoder does the rest; what the frame leaves uncovered of
the screen is white too.

Layout: GIF89a specification (CompuServe 1990), sections 17 to 25.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.examples.image_formats import MAX_PIXELS

_EXTENSION, _IMAGE, _GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9
_SCREEN_BYTES = 13  # signature and logical screen descriptor
_DESCRIPTOR_BYTES = 10  # of an image, with its separator
_PALETTE_BYTES = 768
# A byte of junk, a block or a sub-block (at most 255 bytes) each: real files have a handful.
_MAX_STEPS = 8192
_OPAQUE = -1
TOO_LARGE = f"a GIF image of more than {MAX_PIXELS} pixels (width, height):"
_GREY_RAMP = bytes(value for value in range(256) for _ in range(3))


def decode_first_frame(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, composited on white.

    Args:
        encoded: string [], a GIF file.

    Returns:
        uint8 [H, W, 3], as large as the screen, or as the frame where that reaches further.

    Raises:
        tf.errors.InvalidArgumentError: (from the graph) A damaged file.
    """
    position, transparent = _find_first_image(encoded)
    return tf.cond(
        position > 0,
        lambda: _decode_frame_at(encoded, position, transparent),
        lambda: _decode(encoded),  # has no image: let the decoder say so
    )


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def _numbers(encoded: tf.Tensor, position: int | tf.Tensor, size: int) -> tf.Tensor:
    """Bytes as int32 [size]; zeros behind the end of the file."""
    rest = tf.strings.substr(encoded, tf.minimum(position, tf.strings.length(encoded)), size)
    padded = tf.strings.substr(tf.strings.join([rest, b"\0" * size]), 0, size)
    return tf.ensure_shape(tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int32), [size])


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Size of the palette that follows a descriptor with these flags; 0 where there is none."""
    return tf.where(flags >= 0x80, tf.bitwise.left_shift(6, flags % 8), 0)


def _find_first_image(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Position of the first image descriptor (0: none) and its transparent index, or _OPAQUE."""
    length = tf.strings.length(encoded)
    start = _SCREEN_BYTES + _palette_bytes(_numbers(encoded, 10, 1)[0])

    def goes_on(position: tf.Tensor, found: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (found == 0) & (position < length)

    def step(
        position: tf.Tensor, found: tf.Tensor, transparent: tf.Tensor, in_extension: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        data = _numbers(encoded, position, 7)
        starts_extension = ~in_extension & (data[0] == _EXTENSION)
        is_control = starts_extension & (data[1] == _GRAPHIC_CONTROL) & (data[2] >= 4)
        is_transparent = is_control & (data[3] % 2 == 1)
        found = tf.where(~in_extension & (data[0] == _IMAGE), position, 0)
        # Inside an extension: a sub-block with its size in front; size 0 ends it. Elsewhere: the
        # start of an extension has two bytes; anything else is junk.
        move = tf.where(in_extension, 1 + data[0], tf.where(starts_extension, 2, 1))
        in_extension = starts_extension | (in_extension & (data[0] > 0))
        return position + move, found, tf.where(is_transparent, data[6], transparent), in_extension

    _, found, transparent, _ = tf.while_loop(
        goes_on,
        step,
        (start, tf.constant(0), tf.constant(_OPAQUE), tf.constant(False)),
        parallel_iterations=1,
        maximum_iterations=_MAX_STEPS,
    )
    return found, transparent


def _decode_frame_at(encoded: tf.Tensor, position: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
    descriptor = _numbers(encoded, position, _DESCRIPTOR_BYTES)
    left, top, width, height = tf.unstack(descriptor[1:9:2] + 256 * descriptor[2:9:2])
    screen = _numbers(encoded, 6, 4)
    total_width = tf.maximum(screen[0] + 256 * screen[1], left + width)
    total_height = tf.maximum(screen[2] + 256 * screen[3], top + height)
    num_pixels = tf.cast(total_width, tf.int64) * tf.cast(total_height, tf.int64)
    # The decoder sees the frame only: a screen of 4 gigapixels costs a header 44 bytes.
    too_large = tf.debugging.Assert(
        num_pixels <= MAX_PIXELS, [TOO_LARGE, total_width, total_height]
    )
    with tf.control_dependencies([too_large]):
        frame = _decode(_as_plain_file(encoded, position, transparent))
    # Later frames may be larger, and the decoder's picture with them.
    frame = frame[:height, :width]
    margins = [[top, total_height - top - height], [left, total_width - left - width], [0, 0]]
    return tf.cond(
        tf.reduce_any(tf.stack(margins) > 0),
        lambda: tf.pad(frame, margins, constant_values=tf.constant(255, tf.uint8)),
        lambda: frame,
    )


def _as_plain_file(encoded: tf.Tensor, position: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
    """The file from its first image on, that image with a palette of its own."""
    size = tf.strings.substr(encoded, position + 5, 4)
    flags = _numbers(encoded, position + 9, 1)[0]
    pixels = position + _DESCRIPTOR_BYTES + _palette_bytes(flags)
    is_interlaced = tf.bitwise.bitwise_and(flags, 0x40) > 0
    palette = _palette(encoded, position, flags)
    start = 3 * tf.maximum(transparent, 0)
    whitened = tf.strings.join([
        tf.strings.substr(palette, 0, start),
        b"\xff\xff\xff",
        tf.strings.substr(palette, start + 3, _PALETTE_BYTES),
    ])  # fmt: skip
    return tf.strings.join([
        b"GIF89a", size, b"\0\0\0",  # a screen of the frame's size, no palette
        b",\0\0\0\0", size, tf.where(is_interlaced, b"\xc7", b"\x87"),  # 0x87: 256 colours follow
        tf.where(transparent == _OPAQUE, palette, whitened),
        tf.strings.substr(encoded, pixels, tf.strings.length(encoded)),
    ])  # fmt: skip


def _palette(encoded: tf.Tensor, position: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """The image's own palette, else the file's, else greys; filled up with black."""
    own_size = _palette_bytes(flags)
    shared_size = _palette_bytes(_numbers(encoded, 10, 1)[0])
    start = tf.where(own_size > 0, position + _DESCRIPTOR_BYTES, _SCREEN_BYTES)
    size = tf.where(own_size > 0, own_size, shared_size)
    given = tf.strings.substr(encoded, tf.minimum(start, tf.strings.length(encoded)), size)
    filled = tf.strings.substr(tf.strings.join([given, b"\0" * _PALETTE_BYTES]), 0, _PALETTE_BYTES)
    return tf.where(size > 0, filled, _GREY_RAMP)
