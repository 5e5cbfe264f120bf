"""Checking one image: bytes in, facts or a reason against it out. No files, no Beam.

What TensorFlow decodes (JPEG, PNG, GIF, 24-bit BMP) keeps its bytes. WebP, TIFF, JPEG 2000, PPM and
other BMP are written as PNG by the rules of `components/examples/image_conversion.py`, which are
the client's too. Anything else, and anything that does not decode to its last row, is rejected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io

from PIL import Image, ImageStat

from slimworks.components.examples import image_conversion, image_formats
from slimworks.components.examples.image_conversion import UnreadableImageError
from slimworks.components.ingest.config import DataConfig

_SIXTEEN_BIT_MODE = "I;16"
_MAX_16_BIT = 65_535.0
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
    try:
        with image_conversion.opened(data) as image:
            return _check_size(image.size, config) or _check(data, image)
    except UnreadableImageError as error:
        return Rejection(error.reason, error.detail)


def _check(data: bytes, image: Image.Image) -> CheckedImage | Rejection:
    stored_size = image.size
    image_conversion.load(image, data)
    if image.format == "PNG":
        with image_conversion.named_failures("PNG", data):
            _verify_checksums(data)
    try:
        return _describe(data, image, stored_size)
    except UnreadableImageError:
        raise
    except (OSError, ValueError) as error:  # a mode that Pillow cannot convert or write
        detail = f"{image.format} with pixels of mode {image.mode}: {error}"
        return Rejection("unsupported_pixels", detail)


def _check_size(size: tuple[int, int], config: DataConfig) -> Rejection | None:
    width, height = size
    if min(size) < config.min_image_size_pixels:
        limit = f"data.min_image_size_pixels is {config.min_image_size_pixels}"
        return Rejection("too_small", f"{width}x{height} pixels, {limit}")
    if width * height > config.max_pixels:
        limit = f"data.max_pixels is {config.max_pixels}"
        return Rejection("too_many_pixels", f"{width}x{height} pixels, {limit}")
    return None


def _verify_checksums(data: bytes) -> None:
    """Raises SyntaxError on a wrong chunk checksum: Pillow's load ignores it, libpng does not."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.verify()


def _describe(data: bytes, image: Image.Image, stored_size: tuple[int, int]) -> CheckedImage:
    original_format = image_formats.READ_FORMATS[_kind(image)]
    brightness = _brightness(image_conversion.with_known_range(image))
    converted = None
    if image_formats.is_stored_as_it_is(data):
        is_sideways = image_conversion.orientation_of(image) in _SIDEWAYS
        width, height = stored_size[::-1] if is_sideways else stored_size
    else:
        converted = image_conversion.upright_png(image, data)
        width, height = image_conversion.png_size(converted)
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


def _kind(image: Image.Image) -> str:
    """Pillow's name of the format; two pictures in one JPEG file are its MPO."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _channels(image: Image.Image) -> int:
    if image.format == "GIF":
        return 3  # as TensorFlow decodes it
    if image.mode == "P":
        return 4 if "transparency" in image.info else 3
    return len(image.getbands())


def _brightness(image: Image.Image) -> float:
    """Mean luma in [0, 1], transparent parts on white.

    16-bit values are scaled: Pillow's own conversion to 8 bits clips them.
    """
    if image.mode == _SIXTEEN_BIT_MODE:
        return _sixteen_bit_brightness(image)
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    factor = max(1, min(image.size) // _BRIGHTNESS_PIXELS)
    small = image.reduce(factor) if factor > 1 else image
    return ImageStat.Stat(_on_white(small).convert("L")).mean[0] / 255.0


def _sixteen_bit_brightness(image: Image.Image) -> float:
    import numpy as np

    return float(np.asarray(image).mean()) / _MAX_16_BIT


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)
