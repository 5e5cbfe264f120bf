"""Small pictures of images, for the report."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from slimworks.components import files
from slimworks.components.examples import image_conversion
from slimworks.components.examples.image_conversion import UnreadableImageError
from slimworks.components.ingest import perceptual

THUMBNAIL_PIXELS = 96
_JPEG_QUALITY = 80  # 2 to 5 kB each

logger = logging.getLogger(__name__)


def write_thumbnails(
    items: Iterable[tuple[str, bytes]],
    folder: str | os.PathLike[str],
    size: int = THUMBNAIL_PIXELS,
) -> int:
    """Writes `<image id>.jpg` for each image: upright, on white, the longer side of `size` pixels.

    One image is in memory at a time. What cannot be decoded is left out and logged.

    Args:
        items: Image ids and files, taken one by one.
        folder: Is made where it is missing.
        size: Pixels; smaller images are not enlarged.

    Returns:
        Thumbnails written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    num_written = 0
    for image_id, data in items:
        try:
            content = thumbnail(data, size)
        except UnreadableImageError as error:
            logger.warning("No thumbnail of %s: %s", image_id, error.detail)
            continue
        (Path(folder) / f"{image_id}.jpg").write_bytes(content)  # not synced: summary.json is
        num_written += 1
    return num_written


def reuse_thumbnails(
    image_ids: Iterable[str], kept: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> list[str]:
    """Copies those thumbnails into `folder` that `keep_thumbnails` left; returns the other ids."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for image_id in image_ids:
        path = Path(kept) / f"{image_id}.jpg"
        if path.exists():
            shutil.copyfile(path, folder / path.name)
        else:
            missing.append(image_id)
    return missing


def keep_thumbnails(folder: str | os.PathLike[str], kept: str | os.PathLike[str]) -> None:
    """Makes `kept` hold the thumbnails of `folder`, and no others, for the next report."""
    kept = Path(kept)
    kept.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in Path(folder).iterdir()}
    known = {path.name for path in kept.iterdir()}
    for name in sorted(names - known):
        files.write_bytes(kept / name, (Path(folder) / name).read_bytes())
    for name in known - names:
        (kept / name).unlink()


def thumbnail(data: bytes, size: int = THUMBNAIL_PIXELS) -> bytes:
    """A JPEG file of at most size x size pixels, without metadata.

    Raises:
        UnreadableImageError: The image cannot be decoded.
    """
    with image_conversion.opened(data) as image:
        width, height = image.size
        image.draft("RGB", (2 * size, 2 * size))  # a JPEG decodes no finer than that
        image_conversion.load(image, data)
        if image.format == "TIFF":
            width, height = image.size  # loading has turned it
        orientation = image_conversion.orientation_of(image)
        scale = min(1.0, size / max(width, height))
        small_size = max(1, round(width * scale)), max(1, round(height * scale))
        plain = perceptual.plain(image_conversion.with_known_range(image))
        small = perceptual.on_white(plain).resize(small_size, reducing_gap=2.0)
        stream = io.BytesIO()
        image_conversion.upright(small.convert("RGB"), orientation).save(
            stream, "JPEG", quality=_JPEG_QUALITY
        )
    return stream.getvalue()
