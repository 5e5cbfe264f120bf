"""Image files as a served model can read them. Pillow is imported only where it is needed.

The rules are those of ingest (`components/ingest/images.py`), so that a file sent to the server
gives the pixels that training would have seen; a test holds both against each other.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from slimworks.components.errors import DataError

# What TensorFlow's decode_image reads.
_DECODABLE = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
# Only these decoders run (JPEG and GIF go as they are); Pillow's others include EPS, which starts
# Ghostscript.
_PILLOW_FORMATS = ("PNG", "BMP", "WEBP", "TIFF")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_MODES_WITHOUT_RANGE = ("F", "LAB", "HSV")


def servable(image: bytes, name: str) -> bytes:
    """Returns the bytes of an image file in a format that TensorFlow decodes.

    Args:
        image: The file's content: JPEG, PNG, GIF, BMP, WebP or TIFF.
        name: What an error message calls it.

    Raises:
        DataError: Pillow does not know the format, or the file is damaged.
    """
    if image.startswith(_DECODABLE) and not _needs_conversion(image):
        return image
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError(
            f"{name} has to be converted to PNG, and Pillow is not installed.",
            "Install it with `pip install Pillow`, or convert the image.",
        ) from error
    try:
        with PIL.Image.open(io.BytesIO(image), formats=_PILLOW_FORMATS) as opened:
            return _as_png(opened)
    # What Pillow raises for unknown formats, damaged files and sizes above its limit.
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, PIL.Image.DecompressionBombError
    ) as error:  # fmt: skip
        reason = "its format is unknown" if "cannot identify" in str(error) else str(error)
        raise DataError(
            f"{name} is not an image that can be read: {reason}.",
            "Leave the file out, or re-export it as JPEG or PNG.",
        ) from error


def _needs_conversion(image: bytes) -> bool:
    if image.startswith(b"\x89PNG"):
        return b"eXIf" in image  # may hold an orientation, which TensorFlow reads in JPEG only
    return image.startswith(b"BM") and not _is_plain_bmp(image)


def _is_plain_bmp(image: bytes) -> bool:
    """24 bits a pixel, uncompressed: TensorFlow takes palette indices for grey values."""
    if len(image) < 34:
        return False
    header_bytes, bits, compression = struct.unpack_from("<I10xHI", image, 14)
    return bool(header_bytes >= 40 and bits == 24 and compression == 0)


def _as_png(image: Any) -> bytes:
    import PIL.ImageOps

    if image.mode in _MODES_WITHOUT_RANGE:
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode in _SIXTEEN_BIT_MODES:
        upright = upright.convert("I;16")
    elif upright.mode not in _PNG_MODES:
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    transparency = upright.info.get("transparency")
    upright.info = {} if transparency is None else {"transparency": transparency}
    stream = io.BytesIO()
    upright.save(stream, format="PNG")
    return stream.getvalue()
