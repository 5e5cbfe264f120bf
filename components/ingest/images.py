"""Checking one image: bytes in, facts or a reason against it out. No files, no Beam.

What TensorFlow decodes (JPEG, PNG, GIF, 24-bit BMP) keeps its bytes. WebP, TIFF and other BMP are
written as PNG, upright, without loss at 8 bits a channel (16 bits for grey). A PNG with an
orientation tag is written upright as well, because the serving graph reads the tag of JPEG only.
Anything else, and anything that does not decode to its last row, is rejected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import warnings

from PIL import Image, ImageOps, ImageStat

from slimworks.components.ingest.config import DataConfig

# Only these decoders run on users' files. Pillow's others are rarely used and rarely attacked by
# good people: EPS, for one, starts Ghostscript.
_PILLOW_FORMATS = {
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "GIF": "gif", "BMP": "bmp",
    "WEBP": "webp", "TIFF": "tiff",
}  # fmt: skip
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"8BPS", "PSD"), (b"\x00\x00\x01\x00", "ICO"),
    (b"%PDF", "PDF"), (b"\x00\x00\x00\x0cjP", "JPEG 2000"), (b"\xff\x0a", "JPEG XL"),
    (b"%!PS", "EPS"),
)  # fmt: skip
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_MAX_16_BIT = 65_535.0
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
# Mean luma needs no more than this; averaging all pixels of a photo first costs a tenth of its
# decoding, converting them all to grey a third.
_BRIGHTNESS_PIXELS = 64


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a file is set aside: `reason` is one word for counting, `detail` is for people."""

    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class CheckedImage:
    """Facts of one usable image. height, width: pixels, upright. brightness: in [0, 1].

    `converted` holds the new PNG file where the original is not kept, else None.
    """

    image_id: str
    format: str
    original_format: str
    height: int
    width: int
    colorspace: str
    channels: int
    brightness: float
    converted: bytes | None = None


def check_image(data: bytes, config: DataConfig) -> CheckedImage | Rejection:
    """Decodes the whole image and states its facts, or says why it cannot be used.

    Size limits are checked on the header, before any pixel is decoded.
    """
    if not data:
        return Rejection("empty", "the file has zero bytes")
    kind = _kind_of(data)
    if kind is None:
        return Rejection("not_an_image", f"the content starts with {data[:12]!r}")
    if kind not in _PILLOW_FORMATS:
        return Rejection("unsupported_format", f"{kind} is not read; export it as JPEG or PNG")
    with warnings.catch_warnings():
        # Pillow warns on broken EXIF, large images and odd palettes; each has its own rule here.
        warnings.simplefilter("ignore")
        return _check(data, kind, config)


def _kind_of(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "an ISO media file")
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def _check(data: bytes, kind: str, config: DataConfig) -> CheckedImage | Rejection:
    formats = ("JPEG", "MPO") if kind == "JPEG" else (kind,)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
        rejection = _check_size(image.size, config)
        if rejection:
            return rejection
        # The tag is read first: loading a TIFF applies its orientation and drops the tag.
        orientation = _orientation(image)
        stored_size = image.size
        image.load()
        if kind == "PNG":
            _verify_checksums(data)
    except Image.DecompressionBombError as error:  # Pillow's hard limit, above data.max_pixels
        return Rejection("too_many_pixels", str(error).split(",")[0])
    # Pillow's decoders raise these on broken data (its documentation names OSError and
    # SyntaxError; damaged files find the others): all mean that the pixels cannot be had.
    except (
        OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, AttributeError,
        EOFError, OverflowError, struct.error, NotImplementedError,
    ) as error:  # fmt: skip
        return _undecodable(kind, error, len(data))
    try:
        return _describe(data, image, stored_size, orientation)
    except (OSError, ValueError) as error:  # a mode that Pillow cannot convert or write
        return Rejection("unsupported_pixels", f"{kind} with pixels of mode {image.mode}: {error}")


def _check_size(size: tuple[int, int], config: DataConfig) -> Rejection | None:
    width, height = size
    if min(size) < config.min_image_size_pixels:
        limit = f"data.min_image_size_pixels is {config.min_image_size_pixels}"
        return Rejection("too_small", f"{width}x{height} pixels, {limit}")
    if width * height > config.max_pixels:
        limit = f"data.max_pixels is {config.max_pixels}"
        return Rejection("too_many_pixels", f"{width}x{height} pixels, {limit}")
    return None


def _undecodable(kind: str, error: Exception, size: int) -> Rejection:
    text = str(error) or type(error).__name__
    truncated = any(word in text.lower() for word in ("truncated", "unexpected end", "eof"))
    reason = "truncated" if truncated or isinstance(error, EOFError) else "corrupt"
    if text.startswith("cannot identify"):
        text = "its header cannot be read"
    return Rejection(reason, f"{kind} of {size} bytes: {text}")


def _verify_checksums(data: bytes) -> None:
    """Raises SyntaxError on a wrong chunk checksum: Pillow's load ignores it, libpng does not."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.verify()


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the block cannot be parsed."""
    if image.format == "TIFF":
        return 1  # applied by Pillow while loading
    block = image.info.get("exif")
    if not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        value = exif.get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, EOFError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _describe(
    data: bytes, image: Image.Image, stored_size: tuple[int, int], orientation: int
) -> CheckedImage | Rejection:
    original_format = _PILLOW_FORMATS[str(image.format)]
    brightness = _brightness(image)
    if brightness is None:
        return Rejection("unsupported_pixels", f"{image.format} with pixels of mode {image.mode}")
    converted = None
    if not _is_read_by_tensorflow(data, original_format, orientation):
        image = _upright(image, orientation)
        converted = _as_png(image)
        width, height = image.size
    else:
        width, height = stored_size[::-1] if orientation in _SIDEWAYS else stored_size
    channels = _channels(image)
    return CheckedImage(
        image_id=hashlib.sha256(data).hexdigest(),
        format="png" if converted else original_format,
        original_format=original_format,
        height=height,
        width=width,
        colorspace="Grayscale" if channels <= 2 else "RGB",
        channels=channels,
        brightness=brightness,
        converted=converted,
    )


def _is_read_by_tensorflow(data: bytes, original_format: str, orientation: int) -> bool:
    if original_format in ("jpeg", "gif"):
        return True
    if original_format == "png":
        return orientation == 1
    return original_format == "bmp" and _is_plain_bmp(data)


def _is_plain_bmp(data: bytes) -> bool:
    """24 bits a pixel, uncompressed.

    TensorFlow takes palette indices for grey values and the unused byte of 32 bits for alpha.
    """
    header_size, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    return bool(header_size >= 40 and bits == 24 and compression == 0)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return ImageOps.exif_transpose(image) if orientation != 1 else image


def _as_png(image: Image.Image) -> bytes:
    if image.mode in _SIXTEEN_BIT_MODES:
        image = _sixteen_bit(image)
    elif image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    stream = io.BytesIO()
    clean = image.copy()
    clean.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    clean.save(stream, format="PNG")
    return stream.getvalue()


def _sixteen_bit(image: Image.Image) -> Image.Image:
    import numpy as np

    return Image.fromarray(np.asarray(image).astype(np.uint16))


def _channels(image: Image.Image) -> int:
    if image.format == "GIF":
        return 3  # as TensorFlow decodes it
    if image.mode == "P":
        return 4 if "transparency" in image.info else 3
    return len(image.getbands())


def _brightness(image: Image.Image) -> float | None:
    """Mean luma in [0, 1], transparent parts on white; None where the values have no known range.

    16-bit values are scaled: Pillow's own conversion to 8 bits clips them.
    """
    if image.mode in _SIXTEEN_BIT_MODES:
        return _sixteen_bit_brightness(image)
    if image.mode in ("F", "LAB", "HSV"):
        return None
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    factor = max(1, min(image.size) // _BRIGHTNESS_PIXELS)
    small = image.reduce(factor) if factor > 1 else image
    return ImageStat.Stat(_on_white(small).convert("L")).mean[0] / 255.0


def _sixteen_bit_brightness(image: Image.Image) -> float | None:
    import numpy as np

    values = np.asarray(image)
    if values.min() < 0 or values.max() > _MAX_16_BIT:
        return None
    return float(values.mean()) / _MAX_16_BIT


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)
