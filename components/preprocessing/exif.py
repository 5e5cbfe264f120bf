"""EXIF orientation of a JPEG or PNG, read and applied inside the graph.

TensorFlow's decoders ignore it: a phone's photo would be trained upright by one program and
served lying on its side by another. Only TensorFlow's own ops are used, so that TensorFlow Serving
runs this too. A broken EXIF block means "upright", never an error.

Layout: the JPEG segments of ITU-T T.81 annex B, the eXIf chunk of PNG 3, the TIFF header and
directory of Exif 2.3.
"""

from __future__ import annotations

import tensorflow as tf

_EXIF_HEADER = b"Exif\x00\x00"
_ORIENTATION_TAG = 0x0112
_SHORT = 3
# Exif 2.3 puts its segment right behind the start of the image; some writers put it behind tables,
# and Pillow finds it anywhere before the scan.
_APP1, _END_OF_IMAGE, _START_OF_SCAN = 0xFFE1, 0xFFD9, 0xFFDA
_FIRST_WITH_LENGTH, _FIRST_RESTART, _LAST = 0xFFC0, 0xFFD0, 0xFFFE
_ENTRY_BYTES = 12
_PNG_CHUNK = b"eXIf"
_TIFF_HEADERS = (b"II*\0", b"MM\0*")
# Of one directory with some text: a block's orientation is among the first entries of the first
# directory.
_MAX_TIFF_BYTES = 1 << 16
_MAX_STEPS = 512  # files have a few such segments; more steps are junk bytes


def jpeg_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation of a JPEG. encoded: string [] -> int32 [] in 1..8; 1 where there is none."""
    # Walking to the scan costs up to half as much as decoding the photo; a search for the header,
    # a twentieth. So only a file that has one somewhere is walked.
    pieces = tf.strings.split(encoded, _EXIF_HEADER, maxsplit=1)
    return tf.cond(
        tf.size(pieces) > 1, lambda: _orientation_by_walking(encoded), lambda: tf.constant(1)
    )


def png_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation of a PNG. encoded: string [] -> int32 [] in 1..8; 1 where there is none.

    The eXIf chunk may stand behind the pixels, which come in any number of chunks: it is searched
    for by its name and the TIFF header behind it instead of walking from chunk to chunk.
    """
    behind = tf.strings.split(encoded, _PNG_CHUNK)[1:]
    heads = tf.strings.substr(behind, 0, 4)
    is_exif = tf.reduce_any(heads[:, tf.newaxis] == _TIFF_HEADERS, axis=1)
    blocks = tf.boolean_mask(behind, is_exif)
    return tf.cond(
        tf.size(blocks) > 0,
        lambda: _orientation_of_tiff(tf.strings.substr(blocks[0], 0, _MAX_TIFF_BYTES)),
        lambda: tf.constant(1),
    )


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undoes an EXIF orientation. image: [H, W, C] -> [H, W, C], or [W, H, C] for 5..8."""
    image = tf.ensure_shape(image, [None, None, None])
    return tf.cond(orientation == 1, lambda: image, lambda: _turned(image, orientation))


def _turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Each orientation is a transposition (5..8) followed by flips."""
    permutation = tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2])
    flips_rows = tf.reduce_any(orientation == [3, 4, 7, 8])
    flips_columns = tf.reduce_any(orientation == [2, 3, 6, 7])
    axes = tf.boolean_mask([0, 1], tf.stack([flips_rows, flips_columns]))
    return tf.reverse(tf.transpose(image, permutation), axes)


def _orientation_by_walking(encoded: tf.Tensor) -> tf.Tensor:
    start, end = _find_exif(encoded)
    return tf.cond(
        start > 0,
        lambda: _orientation_of_tiff(tf.strings.substr(encoded, start, end - start)),
        lambda: tf.constant(1),
    )


def _find_exif(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Start and end of the TIFF block in the first Exif segment; (0, 0) where there is none."""
    length = tf.strings.length(encoded)

    def goes_on(position: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        del end
        return (start == 0) & (position + 10 <= length)

    def step(position: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = tf.strings.substr(encoded, position, 10)
        words = tf.io.decode_raw(head, tf.uint16, little_endian=False)
        marker, size = tf.unstack(tf.cast(words[:2], tf.int32), num=2)
        is_end = (marker == _START_OF_SCAN) | (marker == _END_OF_IMAGE)
        is_table = (marker >= _FIRST_WITH_LENGTH) & (marker < _FIRST_RESTART)
        is_segment = is_table | ((marker > _START_OF_SCAN) & (marker <= _LAST))
        # Bytes between segments are skipped one by one, as libjpeg does.
        next_position = position + tf.where(is_segment, 2 + size, 1)
        is_exif = (marker == _APP1) & (tf.strings.substr(head, 4, 6) == _EXIF_HEADER)
        start = tf.where(is_exif, position + 10, 0)
        end = tf.where(is_exif, tf.minimum(next_position, length), 0)
        return tf.where(is_end, length, next_position), start, end

    zero = tf.constant(0)
    _, start, end = tf.while_loop(
        goes_on,
        step,
        (tf.constant(2), zero, zero),  # 2: behind the start-of-image marker
        parallel_iterations=1,
        maximum_iterations=_MAX_STEPS,
    )
    return start, tf.maximum(start, end)


def _orientation_of_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the first directory. tiff: string [] -> int32 []."""
    data = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    num_bytes = tf.size(data)
    # Padding makes the reads below valid for a block that is cut short.
    data = tf.concat([data, tf.zeros([_ENTRY_BYTES], tf.int32)], axis=0)
    is_big_endian = tf.reduce_all(data[:2] == [0x4D, 0x4D])
    is_little_endian = tf.reduce_all(data[:2] == [0x49, 0x49])

    def number(values: tf.Tensor) -> tf.Tensor:
        """Two bytes -> unsigned, in the file's byte order, along the last axis."""
        high, low = values[..., 0], values[..., 1]
        return tf.where(is_big_endian, high * 256 + low, low * 256 + high)

    # A directory beyond the segment (64 KiB) is broken: the upper half of its offset must be 0.
    offset = tf.where(is_big_endian, number(data[6:8]), number(data[4:6]))
    upper = tf.where(is_big_endian, number(data[4:6]), number(data[6:8]))
    is_valid = (is_big_endian | is_little_endian) & (number(data[2:4]) == 42) & (upper == 0)
    offset = tf.where(is_valid, tf.minimum(offset, num_bytes), num_bytes)
    room = tf.maximum(0, (num_bytes - offset - 2) // _ENTRY_BYTES)
    num_entries = tf.minimum(number(data[offset : offset + 2]), room)
    entries = data[offset + 2 : offset + 2 + num_entries * _ENTRY_BYTES]
    entries = tf.reshape(entries, [-1, _ENTRY_BYTES])
    is_orientation = (number(entries[:, 0:2]) == _ORIENTATION_TAG) & (
        number(entries[:, 2:4]) == _SHORT
    )
    values = tf.boolean_mask(number(entries[:, 8:10]), is_orientation)
    value = tf.reduce_max(tf.concat([values, [0]], axis=0))
    return tf.where((value >= 1) & (value <= 8), value, 1)
