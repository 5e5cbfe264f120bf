"""Image formats by their first bytes: what the graph reads, what is converted, what is refused.

One list for ingest, for the client of a server and for the graph that it serves. Imports the
standard library only: the client starts with it.
"""

from __future__ import annotations

import re
import struct

from slimworks.components.examples import jpeg_markers

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

# (start, bytes there, kind); the first that fits counts. The graph's refusals name files by it too.
SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG"), (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"), (0, b"MM\0*", "TIFF"), (0, b"II+\0", "TIFF"), (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG2000"), (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"8BPS", "PSD"), (0, b"\0\0\1\0", "ICO"), (0, b"%PDF", "PDF"), (0, b"%!PS", "EPS"),
    (0, b"\xff\x0a", "JPEG XL"), (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypavif", "AVIF"), (4, b"ftypavis", "AVIF"), (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"), (4, b"ftypmif1", "HEIF"), (4, b"ftyp", "ISO media"),
)  # fmt: skip
# (regular expression, kind) of files that start with text, for the first TEXT_BYTES. Python's re
# and TensorFlow's RE2 read these expressions alike. PPM is found with its bitmaps (P1, P4) and
# greymaps (P2, P5); SVG behind the prolog of XML, so that a web page with a drawing is none.
TEXT_SIGNATURES = (
    (r"P[1-6][\t-\r ]", "PPM"),
    (
        "(\ufeff)?"  # byte order mark
        r"\s*((<\?[^>]*>|<!--([^-]|-[^-])*-->|<!DOCTYPE\s+svg[^>\[]*(\[[^\]]*\]\s*)?>)\s*)*"
        r"<(svg:)?svg[\s/>]",
        "SVG",
    ),
)
TEXT_BYTES = 4096
# Kind -> what messages call a file of a kind that the graph does not read.
FOREIGN_NAMES = {
    "WEBP": "a WebP file", "TIFF": "a TIFF file", "JPEG2000": "a JPEG 2000 file",
    "PPM": "a PPM file", "AVIF": "an AVIF file", "HEIC": "a HEIC file", "HEIF": "a HEIF file",
    "ISO media": "an ISO media file", "JPEG XL": "a JPEG XL file", "ICO": "an ICO file",
    "PSD": "a Photoshop file", "PDF": "a PDF file", "EPS": "an EPS file", "SVG": "an SVG file",
}  # fmt: skip
# What TensorFlow's decoders take: 2**29 bytes of RGB. Pillow opens nothing larger either.
MAX_PIXELS = 2**29 // 3
_BMP_HEADER_BYTES = 40  # BITMAPINFOHEADER; shorter ones have other fields


def kind_of(data: bytes) -> str | None:
    """Name of an image file's format: a key of READ_FORMATS, another name, or None."""
    for start, signature, kind in SIGNATURES:
        if data.startswith(signature, start):
            return kind
    head = data[:TEXT_BYTES]
    return next(
        (kind for pattern, kind in TEXT_SIGNATURES if re.match(pattern.encode(), head)), None
    )


def is_stored_as_it_is(data: bytes) -> bool:
    """Whether these bytes need no conversion: PNG, GIF, plain JPEG, and BMP of plain 24 bits.

    The graph reads some more kinds of BMP; Pillow knows all of them.
    """
    kind = kind_of(data)
    if kind == "JPEG":
        frame = jpeg_markers.read_frame(data)
        return frame is None or frame.is_plain  # without a frame nobody decodes it
    return kind in STORED_FORMATS and (kind != "BMP" or _is_plain_bmp(data))


def _is_plain_bmp(data: bytes) -> bool:
    """24 bits a pixel, uncompressed, nothing behind the pixels: TensorFlow refuses the rest."""
    if len(data) < 34:
        return False
    start, header_bytes, width, height, bits, compression = struct.unpack_from(
        "<IIii2xHI", data, 10
    )
    end = start + (3 * width + 3) // 4 * 4 * abs(height)  # rows are padded to four bytes
    is_plain = header_bytes >= _BMP_HEADER_BYTES and bits == 24 and compression == 0
    return bool(is_plain and end == len(data))
