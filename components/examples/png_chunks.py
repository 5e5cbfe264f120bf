"""PNG files chunk by chunk: what Pillow passes over or stumbles on, by libpng's measure.

libpng decodes for TensorFlow and for nearly every viewer. It refuses what Pillow takes (pixels that
end early, unknown chunks that matter) and takes what Pillow refuses: damaged or huge texts, color
profiles and other extras beside the pixels. Layout: https://www.w3.org/TR/png-3/#5DataRep.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_SIGNATURE_BYTES = 8
_HEADER = struct.Struct(">I4s")  # length of the data, name of the chunk
_CHECKSUM = struct.Struct(">I")
_FRAMING_BYTES = _HEADER.size + _CHECKSUM.size
_IMAGE_HEADER = struct.Struct(">IIBBBBB")
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_CRITICAL, b"tRNS", b"eXIf")  # pixels, their transparency, their orientation
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_TRANSPARENCY_BYTES = {0: 2, 2: 6}  # by color type; of a palette: one for each entry
_PALETTE = 3
# First column and row of each pass of an interlaced image, and the steps to the next ones.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip
_PIECE_BYTES = 1 << 20


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields start, end and name of each chunk up to IEND; the end may lie behind the file's."""
    position = _SIGNATURE_BYTES
    while position + _HEADER.size <= len(data):
        length, name = _HEADER.unpack_from(data, position)
        yield position, position + _FRAMING_BYTES + length, name
        if name == b"IEND":
            return
        position += _FRAMING_BYTES + length


def without_extras(data: bytes) -> bytes:
    """The file without texts, profiles, further frames and the like; never fails.

    What cannot be told apart, such as the rest of a damaged file, stays in.
    """
    parts = [data[:_SIGNATURE_BYTES]]
    position = _SIGNATURE_BYTES
    for start, end, name in _chunks(data):
        position = end
        if end > len(data) or _is_needed(data, start, end, name):
            parts.append(data[start:end])
    parts.append(data[position:])
    return b"".join(parts) if sum(map(len, parts)) < len(data) else data


def _is_needed(data: bytes, start: int, end: int, name: bytes) -> bool:
    """Also an unknown chunk that matters: `verify` shall see it."""
    if name == b"tRNS":
        color_type = data[_SIGNATURE_BYTES + _HEADER.size + 9 :][:1]
        expected = _TRANSPARENCY_BYTES.get(color_type[0]) if color_type else None
        return expected in (None, end - start - _FRAMING_BYTES)
    return name in _KEPT or _is_critical(name)


def _is_critical(name: bytes) -> bool:
    return not name[0] & 0x20  # the case of its first letter says so


def verify(data: bytes, image: Image.Image) -> None:
    """Checks what Pillow's decoder does not look at.

    Args:
        data: A PNG file.
        image: What Pillow decoded of it.

    Raises:
        SyntaxError: libpng would refuse it.
        EOFError: It ends early.
    """
    last, has_palette, has_pixels = b"", False, False
    for start, end, name in _chunks(data):
        if end > len(data):
            raise EOFError(f"truncated in its chunk {name!r}")
        if not name.isalpha():
            raise SyntaxError(f"no chunk can be called {name!r}")
        if _is_critical(name):
            _require_place(name, last, has_pixels)
            _require_checksum(data, start, end, name)
        has_palette |= name == b"PLTE"
        if name == b"IDAT" and not has_pixels:
            _require_header(data, has_palette)
            has_pixels = True
        last = name
    if last != b"IEND":
        raise EOFError("truncated, its last chunk is missing")
    # Pillow leaves zeros where the pixels end early: counting all of them would cost half a decode.
    if any(_is_blank(image, row) for row in range(max(0, image.height - 2), image.height)):
        _require_all_pixels(data)


def _is_blank(image: Image.Image, row: int) -> bool:
    return not any(image.crop((0, row, image.width, row + 1)).tobytes())


def _require_place(name: bytes, last: bytes, has_pixels: bool) -> None:
    if name not in _CRITICAL:
        raise SyntaxError(f"the unknown chunk {name!r} is needed to read it")
    if (name == b"IHDR") == bool(last):
        raise SyntaxError("it has no header, or two")
    if name == b"IDAT" and has_pixels and last != name:
        raise SyntaxError("another chunk stands between its pixels")


def _require_header(data: bytes, has_palette: bool) -> None:
    """Pillow goes on without a palette, and takes any other number for zero or one."""
    *_, color_type, compression, filters, interlacing = _image_header(data)
    if color_type == _PALETTE and not has_palette:
        raise SyntaxError("its palette is missing")
    if compression or filters or interlacing > 1:
        raise SyntaxError("its pixels are packed in an unknown way")


def _image_header(data: bytes) -> tuple[int, ...]:
    return _IMAGE_HEADER.unpack_from(data, _SIGNATURE_BYTES + _HEADER.size)


def _require_checksum(data: bytes, start: int, end: int, name: bytes) -> None:
    (checksum,) = _CHECKSUM.unpack_from(data, end - _CHECKSUM.size)
    if checksum != zlib.crc32(memoryview(data)[start + 4 : end - _CHECKSUM.size]):
        raise SyntaxError(f"the chunk {name!r} does not match its checksum")


def _require_all_pixels(data: bytes) -> None:
    missing = _num_filtered_bytes(data)
    inflater = zlib.decompressobj()
    view = memoryview(data)
    for start, end, name in _chunks(data):
        packed = bytes(view[start + _HEADER.size : end - _CHECKSUM.size])
        while name == b"IDAT" and packed and missing > 0:
            missing -= len(inflater.decompress(packed, min(missing, _PIECE_BYTES)))
            packed = inflater.unconsumed_tail
    if missing > 0:
        raise EOFError("truncated, its pixels end early")


def _num_filtered_bytes(data: bytes) -> int:
    """Size of the unpacked pixels, each row with the number of its filter."""
    width, height, bits, color_type, _, _, is_interlaced = _image_header(data)
    pixel_bits = bits * _CHANNELS[color_type]
    total = 0
    for left, top, step_x, step_y in _PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * pixel_bits + 7) // 8)
    return total
