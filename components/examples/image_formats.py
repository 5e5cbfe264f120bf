"""Image formats by their first bytes: what the graph reads, what is converted, what is refused.

One list for ingest, for the client of a server and for the graph that it serves. No imports but the
standard library's: the client starts with it.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

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
# Second bytes of a JPEG's markers (ITU-T T.81, table B.1). Frames: baseline, extended, progressive;
# then the same with arithmetic coding. Others are lossless, hierarchical, or no frame (C4, C8, CC).
_PLAIN_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEGMENTS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xD9))
_ADOBE = 0xEE
_JPEG_ENDS = (0xDA, 0xD9)  # a scan, the end of the image
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
        return _is_plain_jpeg(data)
    return kind in STORED_FORMATS and (kind != "BMP" or _is_plain_bmp(data))


class JpegFrame(NamedTuple):
    """What a JPEG's header says of its pixels.

    Attributes:
        coding: Second byte of the marker of its frame.
        bits: Of a sample.
        num_channels: 1 to 4.
        is_adobe: Whether Adobe's marker says how its four channels are meant; False for fewer.
    """

    coding: int
    bits: int
    num_channels: int
    is_adobe: bool


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """Reads a JPEG's header up to its first scan; None where it holds no frame."""
    frame, is_adobe = None, False
    position = data.find(b"\xff", 2)
    while 0 <= position < len(data) - 10:
        marker = data[position + 1]
        if marker in _JPEG_ENDS:
            break
        if marker not in _JPEG_SEGMENTS:  # fill bytes and junk, as libjpeg takes them
            position = data.find(b"\xff", position + 1)
            continue
        if marker in _JPEG_FRAMES:
            frame = marker, data[position + 4], data[position + 9]
            if frame[-1] != 4:
                break  # Adobe's marker matters for CMYK only, and may stand behind its frame
        elif marker == _ADOBE:
            is_adobe = is_adobe or data.startswith(b"Adobe", position + 4)
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        position = data.find(b"\xff", position + 2 + length)
    return JpegFrame(*frame, is_adobe) if frame else None


def _is_plain_jpeg(data: bytes) -> bool:
    """What TensorFlow's libjpeg decodes, and CMYK only where its inversion is no matter of taste.

    Without Adobe's marker TensorFlow takes CMYK as it is; Pillow, and most viewers, as inverted.
    """
    frame = jpeg_frame(data)
    if frame is None:
        return True  # nobody decodes it
    return frame.coding in _PLAIN_JPEG_FRAMES and (frame.num_channels != 4 or frame.is_adobe)


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
