"""Image formats by their first bytes: what the graph reads, what is converted, what is refused.

One list for ingest and for the client of a server. No imports but the standard library's: the
client starts with it.
"""

from __future__ import annotations

import struct

# Kind -> value of image/format. Kinds are Pillow's names.
STORED_FORMATS = {"JPEG": "jpeg", "PNG": "png", "GIF": "gif", "BMP": "bmp"}
# Read through Pillow and kept as PNG. These decoders alone run on users' files: Pillow's others
# are rarely used and rarely attacked by good people (EPS, for one, starts Ghostscript).
CONVERTED_FORMATS = {"WEBP": "webp", "TIFF": "tiff", "JPEG2000": "jpeg2000", "PPM": "ppm"}
READ_FORMATS = STORED_FORMATS | CONVERTED_FORMATS
READ_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"II+\x00", "TIFF"), (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"8BPS", "PSD"), (b"\x00\x00\x01\x00", "ICO"), (b"%PDF", "PDF"), (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"), (b"%!PS", "EPS"),
)  # fmt: skip
_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF",
}  # fmt: skip
_BMP_HEADER_BYTES = 40  # BITMAPINFOHEADER; shorter ones have other fields


def kind_of(data: bytes) -> str | None:
    """Name of an image file's format: a key of READ_FORMATS, another name, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "an ISO media file")
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"  # with its bitmaps (P1, P4) and greymaps (P2, P5)
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def is_stored_as_it_is(data: bytes) -> bool:
    """Whether these bytes need no conversion: JPEG, PNG, GIF, and BMP of plain 24 bits.

    The graph reads some more kinds of BMP; Pillow knows all of them.
    """
    kind = kind_of(data)
    return kind in STORED_FORMATS and (kind != "BMP" or _is_plain_bmp(data))


def _is_plain_bmp(data: bytes) -> bool:
    """24 bits a pixel, uncompressed."""
    if len(data) < 34:
        return False
    header_bytes, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    return bool(header_bytes >= _BMP_HEADER_BYTES and bits == 24 and compression == 0)
