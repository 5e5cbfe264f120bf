"""Images that exports are compared on: the user's, or generated ones of varied content."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.export.source import ExportSource

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")  # what the served graph decodes
MAX_IMAGES = 32  # enough for a largest difference; 800 photos would take minutes on deep nets
NUM_GENERATED = 16
_HEIGHT, _WIDTH = 240, 320
_SEED = 20_170_417

Pattern = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ComparisonImages:
    """Encoded images by name."""

    names: tuple[str, ...]
    encoded: tuple[bytes, ...]

    def pixels(self, source: ExportSource) -> np.ndarray:
        """Network input of all images: float32 [N, S, S, C].

        Raises:
            DataError: An image cannot be decoded.
        """
        return np.stack(
            [_pixels(source, *item) for item in zip(self.names, self.encoded, strict=True)]
        )


def read_images(folder: str | os.PathLike[str]) -> ComparisonImages:
    """Takes images below a folder, at most MAX_IMAGES, evenly over their sorted names.

    Raises:
        ConfigError: There is none.
    """
    found = [
        path
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise ConfigError(
            f"--images {folder} holds no image ({', '.join(SUFFIXES)}).",
            "Give a folder of photos, or leave --images out: generated ones are taken then.",
        )
    step = max(1, -(-len(found) // MAX_IMAGES))
    chosen = found[::step]
    return ComparisonImages(
        tuple(str(path) for path in chosen), tuple(path.read_bytes() for path in chosen)
    )


def generated_images(num_images: int = NUM_GENERATED) -> ComparisonImages:
    """Makes JPEGs of colours, edges, textures and shapes; always the same ones."""
    generator = np.random.default_rng(_SEED)
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH].astype(np.float64)
    names, encoded = [], []
    for number in range(num_images):
        pattern = _PATTERNS[number % len(_PATTERNS)]
        values = pattern(x / _WIDTH, y / _HEIGHT, generator)
        low, high = generator.uniform(0, 255, (2, 3))
        image = Image.fromarray((low + (high - low) * values).clip(0, 255).astype(np.uint8))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=90)
        names.append(f"generated image {number} ({pattern.__name__.strip('_')})")
        encoded.append(stream.getvalue())
    return ComparisonImages(tuple(names), tuple(encoded))


def _pixels(source: ExportSource, name: str, encoded: bytes) -> np.ndarray:
    try:
        pixels: np.ndarray = source.image_to_pixels(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"{name} cannot be decoded: {error.message.splitlines()[0]}",
            "Take it out of the folder given to --images.",
        ) from error
    return pixels


# Patterns: x, y in [0, 1], [H, W] each -> [H, W, 3] in about [0, 1].


def _gradient(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    angles = generator.uniform(0, 2 * np.pi, 3)
    return 0.5 + 0.7 * (
        (x[..., None] - 0.5) * np.cos(angles) + (y[..., None] - 0.5) * np.sin(angles)
    )


def _stripes(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    frequency, angle = generator.uniform(4, 40), generator.uniform(0, np.pi)
    wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    return np.repeat((wave > 0)[..., None], 3, axis=-1).astype(np.float64)


def _checks(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    columns, rows = generator.integers(3, 20, 2)
    odd = (np.floor(x * columns) + np.floor(y * rows)) % 2
    return np.repeat(odd[..., None], 3, axis=-1)


def _noise(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0, 1, (*x.shape, 3))


def _clouds(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    cells = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = Image.fromarray(cells).resize((x.shape[1], x.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float64) / 255


def _disks(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = np.zeros((*x.shape, 3))
    for _ in range(12):
        center_x, center_y, radius = generator.uniform((0, 0, 0.03), (1, 1, 0.2))
        image[(x - center_x) ** 2 + (y - center_y) ** 2 < radius**2] = generator.uniform(0, 1, 3)
    return image


def _boxes(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = np.full((*x.shape, 3), 0.8)
    for _ in range(10):
        left, top, width, height = generator.uniform((0, 0, 0.05, 0.05), (0.9, 0.9, 0.4, 0.4))
        inside = (x > left) & (x < left + width) & (y > top) & (y < top + height)
        image[inside] = generator.uniform(0, 1, 3)
    return image


def _rings(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    center_x, center_y, frequency = generator.uniform((0.2, 0.2, 5), (0.8, 0.8, 30))
    radius = np.hypot(x - center_x, y - center_y)
    phases = generator.uniform(0, 2 * np.pi, 3)
    return 0.5 + 0.5 * np.sin(2 * np.pi * frequency * radius[..., None] + phases)


_PATTERNS: tuple[Pattern, ...] = (
    _gradient, _stripes, _checks, _noise, _clouds, _disks, _boxes, _rings,
)  # fmt: skip
