"""Checking one image: bytes in, facts or a reason against it out. No files, no Beam.

What TensorFlow decodes (JPEG, PNG, GIF, 24-bit BMP) keeps its bytes. WebP, TIFF, JPEG 2000, PPM and
other BMP are written as PNG by the rules of `components/examples/image_conversion.py`, which are
the client's too. Anything else, and anything that does not decode to its last row, is rejected.
"""

from __future__ import annotations

import dataclasses
import hashlib

from PIL import Image, ImageFile

from slimworks.components.examples import image_conversion, image_formats, jpeg_markers, png_chunks
from slimworks.components.examples.image_conversion import UnreadableImageError
from slimworks.components.ingest import perceptual
from slimworks.components.ingest.config import DataConfig

_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Why a file is set aside: `reason` is one word for counting, `detail` is for people."""

    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class CheckedImage:
    """Facts of one usable image.

    Attributes:
        image_id: Hex SHA-256 of the original bytes.
        height, width: Pixels, upright.
        brightness, sharpness, fingerprint, signature: See `perceptual.Appearance`.
        converted: The new PNG file where the original is not kept, else None.
    """

    image_id: str
    format: str
    original_format: str
    height: int
    width: int
    colorspace: str
    channels: int
    brightness: float
    sharpness: float
    fingerprint: bytes
    signature: bytes
    converted: bytes | None = None


def check_image(
    data: bytes, config: DataConfig, image_id: str | None = None
) -> CheckedImage | Rejection:
    """Decodes the whole image and states its facts, or says why it cannot be used.

    Size limits are checked on the header, before any pixel is decoded.

    Args:
        data: The file.
        config: Its limits.
        image_id: Hex SHA-256 of `data`, by a caller who knows it already.
    """
    if not data:
        return Rejection("empty", "the file has zero bytes")
    try:
        with image_conversion.opened(data) as image:
            return _check_size(image.size, config) or _check(
                data, image, image_id or hashlib.sha256(data).hexdigest()
            )
    except UnreadableImageError as error:
        key = f"; data.max_pixels is {config.max_pixels}" * (error.reason == "too_many_pixels")
        return Rejection(error.reason, error.detail + key)


def _check(data: bytes, image: ImageFile.ImageFile, image_id: str) -> CheckedImage | Rejection:
    stored_size, channels = image.size, _channels(image)
    start = _start_of_pixels(image)
    is_stored = image_formats.is_stored_as_it_is(data)
    if is_stored:
        # A JPEG is decoded to grey at a fraction of its size: libjpeg still reads each of its
        # codes, which is where damage shows, and leaves out what no fact needs. Others ignore it.
        image.draft("L", perceptual.WORKING_SIZE)
    image_conversion.load(image, data)
    with image_conversion.named_failures(str(image.format), data):
        if image.format == "PNG":
            png_chunks.verify(data, image)
        elif image.format == "JPEG":
            jpeg_markers.verify(data, start)
        elif image.format == "GIF":
            _verify_gif(data, start)
    try:
        return _describe(data, image, image_id, stored_size, channels, is_stored)
    except UnreadableImageError:
        raise
    # Pillow asserts, too, that a palette is there.
    except (OSError, ValueError, AssertionError) as error:  # a mode that Pillow cannot convert
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


def _start_of_pixels(image: ImageFile.ImageFile) -> int:
    """Where the coded pixels of an opened JPEG or GIF start, as far as Pillow tells; else 0."""
    if image.format == "JPEG":
        return int(image.fp.tell()) if image.fp else 0  # it has read the headers up to there
    return int(image.tile[0][2]) if image.format == "GIF" and image.tile else 0


def _verify_gif(data: bytes, position: int) -> None:
    """Raises EOFError where a GIF ends behind its pixels, but before the block that says so.

    position: of the first block of pixels; each starts with its length, the last is empty. Before
    it stands the size of the first codes, of which giflib takes 1 to 8 bits.
    """
    if not 1 <= data[position - 1] <= 8:
        raise SyntaxError(f"its codes have {data[position - 1]} bits")
    while position < len(data) and data[position]:
        position += 1 + data[position]
    if position >= len(data):
        raise EOFError("truncated behind its first frame")


def _describe(
    data: bytes,
    image: Image.Image,
    image_id: str,
    stored_size: tuple[int, int],
    channels: int,
    is_stored: bool,
) -> CheckedImage:
    original_format = image_formats.READ_FORMATS[_kind(image)]
    orientation = image_conversion.orientation_of(image)
    appearance = perceptual.describe(
        image_conversion.with_known_range(image), orientation, lambda: _decoded(data)
    )
    converted = None
    if is_stored:
        width, height = stored_size[::-1] if orientation in _SIDEWAYS else stored_size
    else:
        converted = image_conversion.upright_png(image, data)
        width, height = image_conversion.png_size(converted)
    return CheckedImage(
        image_id=image_id,
        format="png" if converted else original_format,
        original_format=original_format,
        height=height,
        width=width,
        colorspace="Grayscale" if channels <= 2 else "RGB",
        channels=channels,
        brightness=appearance.brightness,
        sharpness=appearance.sharpness,
        fingerprint=appearance.fingerprint,
        signature=appearance.signature,
        converted=converted,
    )


def _decoded(data: bytes) -> Image.Image:
    """All pixels of a sound image."""
    with image_conversion.opened(data) as image:
        image_conversion.load(image, data)
        return image_conversion.with_known_range(image).copy()


def _kind(image: Image.Image) -> str:
    """Pillow's name of the format; two pictures in one JPEG file are its MPO."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _channels(image: Image.Image) -> int:
    if image.format == "GIF":
        return 3  # as TensorFlow decodes it
    if image.mode == "P":
        return 4 if "transparency" in image.info else 3
    return len(image.getbands())
