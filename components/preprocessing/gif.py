"""First frame of a GIF with its transparency, inside the graph.

TensorFlow's decoder paints transparent pixels black, and its picture has the size of the largest
frame, so that a first frame in the middle of the screen is cut off. So the file is read up to its
first image and a plain one is made of it: one frame in the top left corner whose palette has white
where the original is transparent. The decoder does the rest; what the frame leaves uncovered of
the screen is white too. The file ends there behind that frame: the decoder would unpack all of
them, gigabytes of a file of two megabytes, for the first.

Layout: GIF89a specification (CompuServe 1990), sections 17 to 25.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.examples.image_formats import MAX_PIXELS

_EXTENSION, _IMAGE, _GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9
_SCREEN_BYTES = 13  # signature and logical screen descriptor
_DESCRIPTOR_BYTES = 10  # of an image, with its separator
_PALETTE_BYTES = 768
# A byte of junk or a block each: real files have a handful.
_MAX_STEPS = 8192
# A chain of sub-blocks, which have 256 bytes at most with their size, is read in windows. Encoders
# write them equally long but for the last, so that a window needs one step. Chains that advance
# slowly after some steps are followed in another way, in smaller windows.
_LARGEST_MOVE = 256
_WINDOW_BYTES = 1 << 16
_FREE_STEPS, _SLOW_BYTES = 4, 2048
_DOUBLINGS = 13
_SMALL_WINDOW_BYTES = 1 << _DOUBLINGS
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
        # Has no image in reach: let the decoder say so of its header.
        lambda: _decode(tf.strings.substr(encoded, 0, _SCREEN_BYTES)),
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

    def goes_on(position: tf.Tensor, found: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (found == 0) & (position < length)

    def step(position: tf.Tensor, _: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, ...]:
        data = _numbers(encoded, position, 7)
        is_extension = data[0] == _EXTENSION
        is_control = is_extension & (data[1] == _GRAPHIC_CONTROL) & (data[2] >= 4)
        is_transparent = is_control & (data[3] % 2 == 1)
        found = tf.where(data[0] == _IMAGE, position, 0)
        behind = tf.cond(
            is_extension,
            lambda: _end_of_sub_blocks(encoded, position + 2) + 1,
            lambda: position + 1,  # junk
        )
        return behind, found, tf.where(is_transparent, data[6], transparent)

    _, found, transparent = tf.while_loop(
        goes_on,
        step,
        (start, tf.constant(0), tf.constant(_OPAQUE)),
        parallel_iterations=1,
        maximum_iterations=_MAX_STEPS,
    )
    return found, transparent


def _end_of_sub_blocks(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Position of the empty sub-block that ends a chain; behind the file where none does."""
    length = tf.strings.length(encoded)

    def goes_on(_: tf.Tensor, position: tf.Tensor, is_end: tf.Tensor) -> tf.Tensor:
        del position
        return ~is_end

    def step(number: tf.Tensor, position: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        window = tf.strings.substr(encoded, tf.minimum(position, length), _WINDOW_BYTES)
        data = tf.cast(tf.io.decode_raw(window, tf.uint8), tf.int32)
        # Zeros behind it: there every chain of the file ends.
        data = tf.pad(data, [[0, _SMALL_WINDOW_BYTES + _LARGEST_MOVE]])
        move = _equal_sub_blocks(data)
        is_slow = (number >= _FREE_STEPS) & (move < _SLOW_BYTES) & (data[move] > 0)
        move, window_bytes = tf.cond(
            is_slow,
            lambda: (_any_sub_blocks(data), _SMALL_WINDOW_BYTES),
            lambda: (move, _WINDOW_BYTES),
        )
        return number + 1, position + move, (data[move] == 0) & (move < window_bytes)

    _, end, _ = tf.while_loop(
        goes_on, step, (tf.constant(0), start, tf.constant(False)), parallel_iterations=1
    )
    return end


def _equal_sub_blocks(data: tf.Tensor) -> tf.Tensor:
    """Bytes of the sub-blocks at the start that are as long as the first. int32 [N] -> int32 []."""
    stride = data[0] + 1
    sizes = tf.ensure_shape(data[::stride], [None])
    is_equal = (sizes == data[0]) & (sizes > 0)
    return stride * tf.argmin(tf.cast(is_equal, tf.int32), output_type=tf.int32)


def _any_sub_blocks(data: tf.Tensor) -> tf.Tensor:
    """Bytes up to the end of a chain, or to what leaves the small window. int32 [N] -> int32 [].

    Each byte is taken for a sub-block that leads to the next; then all lead twice as far, until
    the first has reached the end: cheaper than a step for each of very many.
    """
    here = tf.range(_SMALL_WINDOW_BYTES + _LARGEST_MOVE)
    sizes = data[: _SMALL_WINDOW_BYTES + _LARGEST_MOVE]
    # The end leads to itself, and so does what stands behind the window.
    leads_to = tf.where((here < _SMALL_WINDOW_BYTES) & (sizes > 0), here + 1 + sizes, here)
    for _ in range(_DOUBLINGS):
        leads_to = tf.gather(leads_to, leads_to)
    return leads_to[0]


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
    margins = [[top, total_height - top - height], [left, total_width - left - width], [0, 0]]
    return tf.cond(
        tf.reduce_any(tf.stack(margins) > 0),
        lambda: tf.pad(frame, margins, constant_values=tf.constant(255, tf.uint8)),
        lambda: frame,
    )


def _as_plain_file(encoded: tf.Tensor, position: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
    """The file's first image alone, with a palette of its own."""
    length = tf.strings.length(encoded)
    size = tf.strings.substr(encoded, position + 5, 4)
    flags = _numbers(encoded, position + 9, 1)[0]
    pixels = position + _DESCRIPTOR_BYTES + _palette_bytes(flags)
    end = _end_of_sub_blocks(encoded, pixels + 1) + 1  # the first byte is the size of the codes
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
        tf.strings.substr(encoded, tf.minimum(pixels, length), end - pixels),
        tf.where(end <= length, b";", b""),
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
