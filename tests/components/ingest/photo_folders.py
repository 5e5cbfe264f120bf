"""Small real photos, made from seeded noise, in class folders."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, IngestSummary, ingest

MakePhotos = Callable[..., Path]


def photo_bytes(seed: int, size: tuple[int, int] = (24, 16), image_format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format)
    return stream.getvalue()


def outputs_in(folder: Path) -> IngestOutputs:
    return IngestOutputs(*(str(folder / name) for name in ("examples", "label_map", "report")))


def run_ingest(
    source: Path, output: Path, beam_pipeline_args: Sequence[str] = (), **settings: object
) -> IngestSummary:
    """Ingests into `output`, whose `state` folder remembers earlier calls."""
    config = DataConfig(**settings)
    state = str(output / "state")
    return ingest(str(source), outputs_in(output), config, state, beam_pipeline_args)
