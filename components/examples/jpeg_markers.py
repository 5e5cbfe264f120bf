"""JPEG files marker by marker: what Pillow passes over and TensorFlow's libjpeg does not.

Layout: ITU-T T.81, annex B. No imports but the standard library's: the client starts with it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Second bytes of the markers (table B.1). Frames: baseline, extended, progressive, then the same
# with arithmetic coding; others are lossless, hierarchical, or no frame (C4, C8, CC).
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEGMENTS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xD9))
_SCAN, _END, _ADOBE, _FILL = 0xDA, 0xD9, 0xEE, 0xFF
# Tables, comments and the next scan: what may follow a scan.
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, _SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
# In coded pixels FF is followed by 00 where it is a byte of theirs, or by D0 to D7 (restarts).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")


class Frame(NamedTuple):
    """What a JPEG's header says of its pixels.

    Attributes:
        coding: Second byte of the frame's marker.
        bits: Of a sample.
        num_channels: 1 to 4.
        is_adobe: Whether Adobe's marker says how its four channels are meant; False for fewer.
    """

    coding: int
    bits: int
    num_channels: int
    is_adobe: bool

    @property
    def is_plain(self) -> bool:
        """What TensorFlow's libjpeg decodes, and CMYK only where all decode it alike.

        Without Adobe's marker TensorFlow takes CMYK as it is; Pillow, and most viewers, as
        inverted.
        """
        return self.coding in _PLAIN_FRAMES and (self.num_channels != 4 or self.is_adobe)


def read_frame(data: bytes) -> Frame | None:
    """Reads a JPEG's header up to its first scan; None where it holds no frame."""
    frame, is_adobe = None, False
    position = data.find(b"\xff", 2)
    while 0 <= position < len(data) - 10:
        marker = data[position + 1]
        if marker in (_SCAN, _END):
            break
        if marker not in _SEGMENTS:  # fill bytes and junk, as libjpeg takes them
            position = data.find(b"\xff", position + 1)
            continue
        if marker in _FRAMES:
            frame = marker, data[position + 4], data[position + 9]
            if frame[-1] != 4:
                break  # Adobe's marker matters for CMYK only, and may stand behind its frame
        elif marker == _ADOBE:
            is_adobe = is_adobe or data.startswith(b"Adobe", position + 4)
        position = data.find(b"\xff", position + 2 + _length(data, position))
    return Frame(*frame, is_adobe) if frame else None


def _length(data: bytes, position: int) -> int:
    """Of the segment whose marker stands there, without the marker."""
    return int.from_bytes(data[position + 2 : position + 4], "big")


def verify(data: bytes, start: int) -> None:
    """Checks that the coded pixels go on to the end of the image.

    Decoders take any marker for the end of the pixels, and paint the rest grey without an error:
    one changed byte is enough. Interrupted downloads end in zeros.

    Args:
        data: A JPEG file that Pillow decoded.
        start: Where its first scan's pixels start.

    Raises:
        SyntaxError: A marker stands where none can be.
        EOFError: The end is missing.
    """
    while match := _MARKER.search(data, start):
        start, marker = match.start(), data[match.start() + 1]
        if marker == _END:
            return
        if marker == _FILL:
            start += 1
            continue
        if marker not in _BETWEEN_SCANS:
            raise SyntaxError(f"its pixels break off at byte {start}")
        start += 2 + _length(data, start)
        if marker != _SCAN and data[start : start + 1] != b"\xff":
            raise SyntaxError(f"its pixels break off at byte {match.start()}")
    raise EOFError("truncated, its end marker is missing")
