"""Images that TensorFlow cannot decode, as PNG: the one conversion of ingest and of the client.

Rules: nothing is lost at 8 bits a channel, nor at 16 bits of grey or of RGB(A) TIFF. The picture is
turned upright by its EXIF orientation, metadata stays behind, transparency stays in (the graph
composites it on white). The first frame or page counts. CMYK becomes RGB as libjpeg's readers do
it; grey of 9 to 15 bits is spread over 16. Above 8 bits, JPEG 2000 in colour and CMYK or
premultiplied TIFF keep their upper 8 bits: Pillow gives no more of them. Pixels without a known
range (float, CIELAB, HSV, integers beyond 16 bits) are refused, and so are sizes above
`max_pixels`, before a pixel is decoded.

Needs Pillow only, which is imported where it is used.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from slimworks.components.examples import (
    image_formats,
    jpeg2000_markers,
    jpeg_markers,
    png_chunks,
)
from slimworks.components.examples.image_formats import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image, ImageFile

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_MODES_WITHOUT_RANGE = ("F", "LAB", "HSV")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_MAX_16_BIT = 65_535
_EXIF_HEADER = b"Exif\0\0"
_TIFF_HEADER_BYTES, _DIRECTORY_ENTRY_BYTES = 8, 12
_ORIENTATION_TAG, _SHORT = 0x0112, 3
_TRANSPOSITIONS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
_BITS_TAG = 258
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 262, 0
_PLANES_TAG, _APART = 284, 2
_TILE_TAGS = (322, 323)  # width, length
# Tiles at the edge reach over the image, by up to a whole tile: 256x256 is usual, 4096x4096 rare.
_LARGE_TILE, _TILES_PIXELS_PER_PIXEL = 4096 * 4096, 4
_JPEG_BITS = 8
_CODESTREAM_END = b"\xff\xd9"  # of JPEG 2000
_TRUNCATION_WORDS = ("truncated", "unexpected end", "eof", "incomplete", "not enough image data")
_PNG_COLOR_TYPES = {"RGB": 2, "RGBA": 6}


class UnreadableImageError(ValueError):
    """An image that cannot be read.

    Attributes:
        reason: One word for counting: not_an_image, unsupported_format, unsupported_pixels,
            too_many_pixels, truncated or corrupt.
        detail: For people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def to_png(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """Converts one image file.

    Args:
        data: A file of a format in image_formats.READ_FORMATS.
        max_pixels: Larger images are refused by their header.

    Returns:
        A PNG file.

    Raises:
        UnreadableImageError: Another format, a damaged file, pixels without a known range, or too
            many of them.
    """
    with opened(data) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise UnreadableImageError(
                "too_many_pixels", f"{width}x{height} pixels, at most {max_pixels} are read"
            )
        load(image, data)
        return upright_png(image, data)


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Opens an image by its header; no pixel is decoded, and Pillow's warnings are off.

    Raises:
        UnreadableImageError: A format that is not read, or a damaged header.
    """
    kind = image_formats.kind_of(data)
    if kind is None:
        raise UnreadableImageError("not_an_image", f"the content starts with {data[:12]!r}")
    if kind not in image_formats.READ_FORMATS:
        detail = f"{kind} is not read; export it as JPEG or PNG"
        raise UnreadableImageError("unsupported_format", detail)
    import PIL.Image

    with warnings.catch_warnings():
        # Pillow warns on broken EXIF, large images and odd palettes; each has its own rule here.
        warnings.simplefilter("ignore")
        with named_failures(kind, data):
            # A JPEG file with two pictures is opened as Pillow's MPO.
            pixels = png_chunks.without_extras(data) if kind == "PNG" else data
            image = PIL.Image.open(io.BytesIO(pixels), formats=(kind,))
        with image:
            yield image


def load(image: Image.Image, data: bytes) -> None:
    """Decodes all pixels of an opened image; a TIFF is upright afterwards.

    Raises:
        UnreadableImageError: The file is damaged or cut short, or its decoder would hold far more
            than the image.
    """
    _check_pieces(image, data)
    with named_failures(str(image.format), data):
        image.load()


def _check_pieces(image: Image.Image, data: bytes) -> None:
    """Refuses headers by which a decoder takes memory out of proportion to the image."""
    num_pixels = image.width * image.height
    if image.format == "JPEG2000":
        fault = jpeg2000_markers.fault(data, num_pixels)
        if fault:
            raise UnreadableImageError("corrupt", f"JPEG2000 of {len(data)} bytes: {fault}")
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        width, length = (tags.get(tag) for tag in _TILE_TAGS)
        if not (isinstance(width, int) and isinstance(length, int)):
            return  # strips
        limit = min(max(_LARGE_TILE, _TILES_PIXELS_PER_PIXEL * num_pixels), MAX_PIXELS)
        if width * length > limit:
            detail = f"TIFF with tiles of {width}x{length} pixels for {num_pixels} pixels"
            raise UnreadableImageError("too_many_pixels", f"{detail}, at most {limit} are read")


@contextlib.contextmanager
def named_failures(kind: str, data: bytes) -> Iterator[None]:
    """Turns what Pillow raises on damaged files into an UnreadableImageError."""
    import PIL.Image

    try:
        yield
    except PIL.Image.DecompressionBombError as error:  # Pillow's own limit, MAX_PIXELS
        raise UnreadableImageError("too_many_pixels", str(error).split(",")[0]) from error
    # Pillow's decoders raise these on broken data (its documentation names OSError and
    # SyntaxError; damaged files find the others): all mean that the pixels cannot be had.
    except (
        OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, AttributeError,
        EOFError, OverflowError, struct.error, NotImplementedError, AssertionError,
    ) as error:  # fmt: skip
        raise _undecodable(kind, error, data) from error


def _undecodable(kind: str, error: Exception, data: bytes) -> UnreadableImageError:
    text = str(error) or type(error).__name__
    if text.startswith("cannot identify"):
        text = "its header cannot be read"
    detail = f"{kind} of {len(data)} bytes: {text}"
    frame = jpeg_markers.read_frame(data) if kind == "JPEG" else None
    if frame and frame.bits != _JPEG_BITS:
        return UnreadableImageError("unsupported_pixels", f"{detail}; {frame.bits} bits a sample")
    if any(word in text.lower() for word in _TRUNCATION_WORDS) or _is_short(kind, data):
        return UnreadableImageError("truncated", detail)
    return UnreadableImageError("truncated" if isinstance(error, EOFError) else "corrupt", detail)


def _is_short(kind: str, data: bytes) -> bool:
    """Whether a file that does not decode has lost its end, as far as its format tells."""
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "JPEG2000":
        return _CODESTREAM_END not in data
    return False


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a loaded image, 1 to 8; 1 where there is none, or a broken one.

    It is what the graph reads (`components/preprocessing/exif.py`): the tag as a short number in
    the first directory. Of a TIFF always 1: Pillow turns it while loading.
    """
    block = image.info.get("exif")
    if not block or image.format == "TIFF":
        return 1
    block = block.removeprefix(_EXIF_HEADER)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < _TIFF_HEADER_BYTES:
        return 1
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    if start + 2 > len(block):
        return 1
    (num_entries,) = struct.unpack_from(f"{order}H", block, start)
    value = max(_orientations(block[start + 2 :], order, num_entries), default=1)
    return value if 1 <= value <= 8 else 1


def _orientations(entries: bytes, order: str, num_entries: int) -> Iterator[int]:
    for number in range(min(num_entries, len(entries) // _DIRECTORY_ENTRY_BYTES)):
        tag, kind, value = struct.unpack_from(
            f"{order}HH4xH", entries, number * _DIRECTORY_ENTRY_BYTES
        )
        if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
            yield value


def with_known_range(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as mode I;16 over the whole range; other modes as they are.

    Raises:
        UnreadableImageError: Float, CIELAB, HSV, or integers beyond 16 bits.
    """
    if image.mode in _MODES_WITHOUT_RANGE:
        raise _unsupported(image, "their range is unknown")
    if image.mode not in _SIXTEEN_BIT_MODES:
        return image
    if image.format == "TIFF" and image.mode == "I":
        raise _unsupported(image, "32 bits, or signed: their range is unknown")
    low, high = cast(tuple[int, int], image.convert("I").getextrema())
    if low < 0 or high > _MAX_16_BIT:
        raise _unsupported(image, f"values from {low} to {high} are no 16-bit grey")
    if image.mode != "I;16":
        image_16 = image.convert("I").convert("I;16")
        image_16.format = image.format
        return image_16
    return _spread(image) if image.format == "TIFF" else image


def _spread(image: Image.Image) -> Image.Image:
    """Undoes what Pillow leaves of a TIFF: 12 bits as they are, white as zero."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_TAG, (16,))[0]
    scale, offset = _MAX_16_BIT / ((1 << bits) - 1), 0
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        scale, offset = -scale, _MAX_16_BIT
    if (scale, offset) == (1.0, 0):
        return image
    spread = image.point(lambda value: value * scale + offset)
    spread.format = image.format
    return spread


def _unsupported(image: Image.Image, why: str) -> UnreadableImageError:
    detail = f"{image.format} with pixels of mode {image.mode}: {why}"
    return UnreadableImageError("unsupported_pixels", detail)


def upright_png(image: Image.Image, data: bytes) -> bytes:
    """Writes a loaded image as PNG, upright.

    Args:
        image: As `opened` and `load` leave it.
        data: The file it was opened from.

    Raises:
        UnreadableImageError: Its pixels have no known range.
    """
    low_bytes = _low_bytes(image, data) if image.format == "TIFF" else None
    if low_bytes is not None:
        return _sixteen_bit_png(image, low_bytes)
    orientation = orientation_of(image)
    plain = with_known_range(image)
    if plain.mode not in _PNG_MODES:
        plain = plain.convert("RGBA" if plain.has_transparency_data else "RGB")
    transparency = plain.info.get("transparency")
    plain = upright(plain, orientation)
    plain.info = {} if transparency is None else {"transparency": transparency}
    stream = io.BytesIO()
    plain.save(stream, format="PNG")
    return stream.getvalue()


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """A copy, turned by its EXIF orientation, 1 to 8."""
    import PIL.Image

    if orientation == 1:
        return image.copy()
    return image.transpose(PIL.Image.Transpose[_TRANSPOSITIONS[orientation]])


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG file in pixels, by its header."""
    width, height = struct.unpack_from(">II", png, 16)
    return width, height


def _low_bytes(high: Image.Image, data: bytes) -> Image.Image | None:
    """The lower bytes of a 16-bit RGB(A) TIFF, None for another one.

    Pillow reads the upper byte of each sample and drops the other. In the other byte order it
    reads the other byte.
    """
    with opened(data) as image:
        file: Any = image
        if max(file.tag_v2.get(_BITS_TAG, (8,))) > 8 and file.tag_v2.get(_PLANES_TAG) == _APART:
            raise _unsupported(high, "16-bit planes stored apart")  # Pillow would mix them up
        if not all(re.fullmatch(r"RGB[AX]?;16[NLB]", tile[3][0]) for tile in file.tile):
            return None
        file.tile = [
            (codec, extents, offset, (mode[:-1] + _other_order(mode[-1]), *arguments))
            for codec, extents, offset, (mode, *arguments) in file.tile
        ]
        load(image, data)
        return image.copy()


def _other_order(order: str) -> str:
    native = "L" if sys.byteorder == "little" else "B"
    return {"L": "B", "B": "L"}[native if order == "N" else order]


def _sixteen_bit_png(high: Image.Image, low: Image.Image) -> bytes:
    """PNG of 16 bits a channel from the two bytes of each sample, which Pillow cannot write."""
    width, height = high.size
    num_channels = len(high.getbands())
    samples = bytearray(2 * width * height * num_channels)
    samples[0::2], samples[1::2] = high.tobytes(), low.tobytes()
    row_bytes = 2 * width * num_channels
    rows = (samples[start : start + row_bytes] for start in range(0, len(samples), row_bytes))
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[high.mode], 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))  # 0: rows without a filter
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
