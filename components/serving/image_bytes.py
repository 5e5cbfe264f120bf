"""Image files as a served model can read them. Pillow is imported only where it is needed.

The conversion is ingest's own (`components/examples/image_conversion.py`), so that a file sent to
the server gives the pixels that training would have seen.
"""

from __future__ import annotations

from slimworks.components.errors import DataError
from slimworks.components.examples import image_conversion, image_formats

_REASONS = {"not_an_image": "its format is unknown"}


def servable(image: bytes, name: str) -> bytes:
    """Returns the bytes of an image file in a format that TensorFlow decodes.

    Args:
        image: The file's content: JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000 or PPM.
        name: What an error message calls it.

    Raises:
        DataError: Another format, a damaged file, pixels without a known range, more than
            image_conversion.MAX_PIXELS of them, or Pillow is not installed.
    """
    if image_formats.is_stored_as_it_is(image):
        return image
    try:
        return image_conversion.to_png(image)
    except image_conversion.UnreadableImageError as error:
        raise DataError(
            f"{name} is not an image that can be read: {_REASONS.get(error.reason, error.detail)}.",
            "Leave the file out, or re-export it as JPEG or PNG.",
        ) from error
    except ImportError as error:
        raise DataError(
            f"{name} has to be converted to PNG, and Pillow is not installed.",
            "Install it with `pip install Pillow`, or convert the image.",
        ) from error
