"""PNG files made of bare pixels, for sets that have no image files (MNIST, CIFAR-10).

The pixels are stored, not compressed, and the file is put together here: its bytes, hence the
image's id, split and shard, depend on no version of Pillow or zlib.
"""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2}  # channels: grey, RGB
_LARGEST_BLOCK_BYTES = 65_535  # of deflate's stored blocks (RFC 1951, 3.2.4)


def png_of_pixels(pixels: bytes, height: int, width: int, channels: int) -> bytes:
    """PNG file (https://www.w3.org/TR/png/) of 8-bit pixels [height, width, channels].

    Raises:
        ValueError: The number of bytes or of channels does not fit.
    """
    row = width * channels
    if channels not in _COLOR_TYPES or len(pixels) != height * row or not pixels:
        raise ValueError(f"{len(pixels)} bytes are not {height} x {width} x {channels} pixels")
    rows = (b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    data = _stored(b"".join(rows))
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _stored(data: bytes) -> bytes:
    """A zlib stream (RFC 1950) of stored blocks."""
    parts = [b"\x78\x01"]
    for start in range(0, len(data), _LARGEST_BLOCK_BYTES):
        block = data[start : start + _LARGEST_BLOCK_BYTES]
        is_last = start + len(block) == len(data)
        parts.append(struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF) + block)
    return b"".join((*parts, struct.pack(">I", zlib.adler32(data))))
