"""Images of the examples as small pictures inside the page."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Collection, Iterator

import PIL
from PIL import Image, ImageOps

from slimworks.components import contracts
from slimworks.components.examples import reading

PICTURE_PIXELS = 160
# Below it the browser shows the pixels as squares instead of a blur.
TINY_PIXELS = 64
# What a page is made of must be bounded: noise, foliage and text are coded more coarsely.
MAX_PICTURE_BYTES = 6_000
_QUALITIES = (82, 65, 45, 25)


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image as a data URI; None where it cannot be shown. `is_tiny`: it has few pixels."""

    uri: str | None
    is_tiny: bool = False


NO_PICTURE = Picture(None)


def read_pictures(
    image_ids: Collection[str], examples_dir: str | os.PathLike[str], split: str
) -> dict[str, Picture]:
    """Pictures of the wanted images of a split, in one pass over its examples.

    Raises:
        DataError: The split is missing or damaged.
    """
    wanted = set(image_ids)
    found: dict[str, Picture] = {}
    if not wanted:
        return found
    for example in reading.iterate_examples(examples_dir, split):
        image_id = bytes(example[contracts.IMAGE_ID]).decode()  # type: ignore[arg-type]
        if image_id in wanted:
            found[image_id] = picture_of(example[contracts.IMAGE_ENCODED])  # type: ignore[arg-type]
            if len(found) == len(wanted):
                break
    return found


def picture_of(encoded: bytes) -> Picture:
    """JPEG of an image, upright, at most PICTURE_PIXELS on a side and MAX_PICTURE_BYTES long."""
    try:
        # Ingest has looked at every image; a broken EXIF block is no news here.
        with _quiet(), Image.open(io.BytesIO(encoded)) as image:
            # JPEG files are decoded at a fraction of their size: a tenth of the time.
            image.draft("RGB", (2 * PICTURE_PIXELS, 2 * PICTURE_PIXELS))
            upright = ImageOps.exif_transpose(image)
            is_tiny = max(upright.size) < TINY_PIXELS
            upright.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
            content = _small_jpeg(_on_white(upright), is_tiny)
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return NO_PICTURE
    return Picture("data:image/jpeg;base64," + base64.b64encode(content).decode(), is_tiny)


def _small_jpeg(image: Image.Image, is_tiny: bool) -> bytes:
    if is_tiny:
        return _jpeg(image, 95)
    for quality in _QUALITIES:
        content = _jpeg(image, quality)
        if len(content) <= MAX_PICTURE_BYTES:
            return content
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
    return _jpeg(half, _QUALITIES[-1])


def _jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 8 instead of scaling them.
        image = image.point(lambda value: value / 257, "L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    background = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(background, layer).convert("RGB")
