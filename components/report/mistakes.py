"""The most confident mistakes, as thumbnails inside the page."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import heapq
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL
from PIL import Image, ImageOps
from pyarrow import compute, parquet

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.examples import reading

THUMBNAIL_PIXELS = 160
# Below it the browser shows the pixels as squares instead of a blur.
TINY_PIXELS = 64

_COLUMNS = ["image_id", "filename", "class_index", "predicted_index", "probabilities"]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One wrong answer; `thumbnail` is a data URI, or None where the image cannot be shown."""

    image_id: str
    filename: str
    true: str
    predicted: str
    predicted_probability: float
    true_probability: float
    thumbnail: str | None = None
    is_tiny: bool = False


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The most confident mistakes; `note` says why images are missing."""

    mistakes: Sequence[Mistake]
    num_mistakes: int
    note: str


def gallery(
    predictions_path: Path | None,
    metrics: Mapping[str, Any] | None,
    examples_dir: str | os.PathLike[str] | None,
    limit: int,
) -> Gallery | None:
    """Finds the mistakes with the highest probability and their images; None without facts."""
    if predictions_path is None or metrics is None:
        return None
    names = [entry["class_name"] for entry in metrics["classes"]]
    worst, num_mistakes = worst_mistakes(predictions_path, names, limit)
    if not worst or examples_dir is None:
        note = "The examples are gone: no thumbnails." if worst else ""
        return Gallery(worst, num_mistakes, note)
    try:
        shown = with_thumbnails(worst, examples_dir, metrics["split"])
    except DataError as error:
        return Gallery(worst, num_mistakes, f"No thumbnails: {error.cause}")
    return Gallery(shown, num_mistakes, "")


def worst_mistakes(
    predictions_path: Path, class_names: Sequence[str], limit: int
) -> tuple[list[Mistake], int]:
    """The `limit` mistakes of highest predicted probability, and how many there are.

    Images without a usable answer (NaN) are none of them.
    """
    num_mistakes = 0
    heap: list[tuple[float, str, dict[str, Any]]] = []
    for row in _wrong_rows(predictions_path):
        num_mistakes += 1
        item = (row["probabilities"][row["predicted_index"]], row["image_id"], row)
        if len(heap) < limit:
            heapq.heappush(heap, item)
        elif heap:
            heapq.heappushpop(heap, item)
    rows = [row for *_, row in sorted(heap, key=lambda item: (-item[0], item[1]))]
    return [_mistake(row, class_names) for row in rows], num_mistakes


def with_thumbnails(
    mistakes: Sequence[Mistake], examples_dir: str | os.PathLike[str], split: str
) -> list[Mistake]:
    """The mistakes with their images, read from the examples in one pass.

    Raises:
        DataError: The split is missing or damaged.
    """
    wanted = {mistake.image_id for mistake in mistakes}
    found: dict[str, tuple[str | None, bool]] = {}
    for example in reading.iterate_examples(examples_dir, split):
        image_id = bytes(example[contracts.IMAGE_ID]).decode()  # type: ignore[arg-type]
        if image_id in wanted:
            found[image_id] = thumbnail(example[contracts.IMAGE_ENCODED])  # type: ignore[arg-type]
            if len(found) == len(wanted):
                break
    return [
        dataclasses.replace(mistake, thumbnail=uri, is_tiny=is_tiny)
        for mistake in mistakes
        for uri, is_tiny in [found.get(mistake.image_id, (None, False))]
    ]


def thumbnail(encoded: bytes) -> tuple[str | None, bool]:
    """JPEG data URI of an image, upright, at most THUMBNAIL_PIXELS on a side.

    Returns:
        The URI, None where Pillow cannot read the image, and whether it has few pixels.
    """
    try:
        # Ingest has looked at every image; a broken EXIF block is no news here.
        with _quiet(), Image.open(io.BytesIO(encoded)) as image:
            # JPEG files are decoded at a fraction of their size: a tenth of the time.
            image.draft("RGB", (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))
            upright = ImageOps.exif_transpose(image)
            is_tiny = max(upright.size) < TINY_PIXELS
            upright.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
            stream = io.BytesIO()
            _on_white(upright).save(stream, "JPEG", quality=95 if is_tiny else 82)
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return None, False
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode(), is_tiny


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


def _wrong_rows(predictions_path: Path) -> Iterator[dict[str, Any]]:
    with parquet.ParquetFile(str(predictions_path)) as source:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group, columns=_COLUMNS)
            predicted = table.column("predicted_index")
            is_wrong = compute.and_(
                compute.not_equal(predicted, table.column("class_index")),
                compute.greater_equal(predicted, 0),
            )
            yield from table.filter(is_wrong).to_pylist()


def _mistake(row: Mapping[str, Any], class_names: Sequence[str]) -> Mistake:
    true, predicted = row["class_index"], row["predicted_index"]
    return Mistake(
        image_id=row["image_id"],
        filename=row["filename"],
        true=class_names[true],
        predicted=class_names[predicted],
        predicted_probability=row["probabilities"][predicted],
        true_probability=row["probabilities"][true],
    )
