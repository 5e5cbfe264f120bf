"""How many pieces a JPEG 2000 codestream is cut into, by its headers.

Decoders hold each code-block of a tile, and each precinct, before they read one byte of them: some
hundred bytes for a pixel, if a header of a hundred bytes says so.

Layout: ITU-T T.800, annexes A (markers), B (the division) and I (boxes). No imports but the
standard library's: the client starts with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_SIZE, _STYLE, _COMPONENT_STYLE, _TILE_PART = 0xFF51, 0xFF52, 0xFF53, 0xFF90
_PIXELS, _END = 0xFF93, 0xFFD9
# What OpenJPEG knows. It looks for the next of them two bytes on where it meets another one,
# whose length it does not read: neither is it read here.
_SEGMENTS = frozenset({
    0xFF50, _SIZE, _STYLE, _COMPONENT_STYLE, 0xFF55, 0xFF57, 0xFF58, 0xFF59, 0xFF5C, 0xFF5D,
    0xFF5E, 0xFF5F, 0xFF60, 0xFF61, 0xFF63, 0xFF64, 0xFF74, 0xFF75, 0xFF77, 0xFF78, _TILE_PART,
})  # fmt: skip
_MAX_CHANNELS, _MAX_LEVELS = 4, 32  # more channels are read by nobody here
_WHOLE = 15  # exponent of a precinct, where none is given
# 64x64 and 32x32 are what encoders write; 8x8 in colour passes. Tiles of 16x16 have few pixels in
# each of many pieces.
_FEW_PIECES, _PIXELS_OF_A_PIECE = 1 << 16, 16
# A tile costs ten kilobytes before it is reached, and has one piece for each level and channel.
_FEW_TILES, _PIXELS_OF_A_TILE = 1 << 12, 1 << 8
_MAX_TILES = 65_535  # of the format


class _Grid(NamedTuple):
    """Corners of the image and of its tiles, and how far apart each channel's samples are."""

    left_top: tuple[int, int]
    right_bottom: tuple[int, int]
    tile: tuple[int, int]
    tile_start: tuple[int, int]
    steps: tuple[tuple[int, int], ...]

    @property
    def num_pixels(self) -> int:
        return self._extent(0) * self._extent(1)

    def _extent(self, axis: int) -> int:
        return self.right_bottom[axis] - self.left_top[axis]

    def num_tiles(self, axis: int) -> int:
        return _ceil(self.right_bottom[axis] - self.tile_start[axis], self.tile[axis])

    def tile_edges(self, axis: int) -> Iterator[tuple[int, int]]:
        for number in range(self.num_tiles(axis)):
            start = self.tile_start[axis] + number * self.tile[axis]
            end = min(start + self.tile[axis], self.right_bottom[axis])
            yield max(start, self.left_top[axis]), end


class _Style(NamedTuple):
    """Exponents (width, height) of the code-blocks and, from the smallest level, of precincts."""

    levels: int
    block: tuple[int, int]
    precincts: tuple[tuple[int, int], ...]

    def finest(self, other: _Style) -> _Style:
        """What cuts at least as finely as either."""
        levels = max(self.levels, other.levels)
        return _Style(
            levels,
            (min(self.block[0], other.block[0]), min(self.block[1], other.block[1])),
            # Level by level from the largest, as a lower number of levels means.
            tuple(
                (min(a[0], b[0]), min(a[1], b[1]))
                for a, b in zip(self._padded(levels), other._padded(levels), strict=True)
            ),
        )

    def _padded(self, levels: int) -> tuple[tuple[int, int], ...]:
        return ((_WHOLE, _WHOLE),) * (levels - self.levels) + self.precincts


def fault(data: bytes, num_pixels: int) -> str:
    """What is out of proportion in a file's headers; empty where nothing is.

    Args:
        data: A codestream, or a JP2 file with one.
        num_pixels: That the caller takes the image for, by the file's own header.
    """
    try:
        return _fault(data, _start_of_codestream(data), num_pixels)
    except (struct.error, IndexError):
        return "its header is cut short"


def _fault(data: bytes, start: int, num_pixels: int) -> str:
    if start < 0:
        return "it holds no codestream"
    grid: _Grid | None = None
    styles: dict[int, _Style] = {}  # of a channel; -1: of all others
    for marker, segment in _segments(data, start + 2):
        if marker == _SIZE and grid is None:
            grid = _read_grid(segment)
            if not grid.steps or min(*grid.tile, *(min(step) for step in grid.steps)) < 1:
                return "its sizes are impossible"
            if min(grid.num_tiles(0), grid.num_tiles(1), grid.num_pixels) < 1:
                return "its sizes are impossible"
            if len(grid.steps) > _MAX_CHANNELS:
                return f"{len(grid.steps)} channels"
            if grid.num_pixels > num_pixels:
                return f"{grid.num_pixels} pixels behind a header of {num_pixels}"
            num_tiles = grid.num_tiles(0) * grid.num_tiles(1)
            limit = max(_FEW_TILES, num_pixels // _PIXELS_OF_A_TILE)
            if num_tiles > min(limit, _MAX_TILES):
                return f"{num_tiles} tiles for {num_pixels} pixels"
        elif marker == _STYLE:
            style = _read_style(segment[5:], bool(segment[0] & 1))
            styles = {
                channel: style.finest(known) for channel, known in {-1: style, **styles}.items()
            }
        elif marker == _COMPONENT_STYLE:
            # Channels have one byte here: there are four at most.
            style = _read_style(segment[2:], bool(segment[1] & 1))
            styles[segment[0]] = style.finest(styles.get(segment[0], style))
    if grid is None or -1 not in styles:
        return "its header is cut short"
    limit = max(_FEW_PIECES, num_pixels // _PIXELS_OF_A_PIECE)
    num_pieces = 0
    for number, step in enumerate(grid.steps):
        num_pieces += _num_pieces(grid, step, styles.get(number, styles[-1]))
    return f"{num_pieces} code-blocks for {num_pixels} pixels" if num_pieces > limit else ""


def _start_of_codestream(data: bytes) -> int:
    """Position of the codestream, -1 where a JP2 file has none."""
    if data.startswith(b"\xff\x4f"):
        return 0
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        header_bytes = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            header_bytes = 16
        if kind == b"jp2c":
            return position + header_bytes
        if size < header_bytes:
            return -1
        position += size
    return -1


def _segments(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment of the main header and of the tile-parts' headers."""
    part_start = part_bytes = 0
    while position + 4 <= len(data):
        marker, size = struct.unpack_from(">HH", data, position)
        if marker == _PIXELS:
            if part_bytes == 0:
                return  # goes on to the end
            position = part_start + max(part_bytes, position + 2 - part_start)
            continue
        if marker == _END:
            return
        if marker not in _SEGMENTS or size < 2:
            position += 2
            continue
        if marker == _TILE_PART:
            part_start = position
            (part_bytes,) = struct.unpack_from(">I", data, position + 6)
        yield marker, data[position + 4 : position + 2 + size]
        position += 2 + size


def _read_grid(segment: bytes) -> _Grid:
    right, bottom, left, top, *tile = struct.unpack_from(">8I", segment, 2)
    (num_channels,) = struct.unpack_from(">H", segment, 34)
    steps = tuple(
        (segment[37 + 3 * number], segment[38 + 3 * number])
        for number in range(min(num_channels, _MAX_CHANNELS + 1))
    )
    return _Grid((left, top), (right, bottom), (tile[0], tile[1]), (tile[2], tile[3]), steps)


def _read_style(segment: bytes, has_precincts: bool) -> _Style:
    levels = min(segment[0], _MAX_LEVELS)
    precincts = ((_WHOLE, _WHOLE),) * (levels + 1)
    if has_precincts:
        precincts = tuple(
            (segment[5 + level] & 15, segment[5 + level] >> 4) for level in range(levels + 1)
        )
    return _Style(levels, ((segment[1] & 15) + 2, (segment[2] & 15) + 2), precincts)


def _num_pieces(grid: _Grid, step: tuple[int, int], style: _Style) -> int:
    """Precincts and code-blocks of one channel in all tiles.

    Along each axis a tile's number depends on its own column or row only: the sums are multiplied.
    """
    total = 0
    for level in range(style.levels + 1):
        down = style.levels - level  # halvings
        sums = [_sums(grid, axis, step[axis], style, level, down) for axis in (0, 1)]
        num_bands = 1 if level == 0 else 3
        total += sums[0][0] * sums[1][0] + num_bands * sums[0][1] * sums[1][1]
    return total


def _sums(
    grid: _Grid, axis: int, step: int, style: _Style, level: int, down: int
) -> tuple[int, int]:
    """Precincts and code-blocks of one level, added over the tiles of an axis."""
    precinct = style.precincts[level][axis]
    # Levels but the smallest have bands of half their size: their precincts too.
    half = 1 if level else 0
    block = min(style.block[axis], max(precinct - half, 0))
    num_precincts = num_blocks = 0
    for tile_start, tile_end in grid.tile_edges(axis):
        start, end = (_ceil(_ceil(edge, step), 1 << down) for edge in (tile_start, tile_end))
        if end > start:
            num_precincts += _ceil(end, 1 << precinct) - (start >> precinct)
            num_blocks += _ceil(_ceil(end, 1 << half), 1 << block) - (start >> half >> block)
    return num_precincts, num_blocks


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
