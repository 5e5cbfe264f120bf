"""Copies of a picture as they come about: encoded again, resized, cropped."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance


def encoded(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def reopened(image: Image.Image, image_format: str = "JPEG", **options: object) -> Image.Image:
    image = Image.open(io.BytesIO(encoded(image, image_format, **options)))
    image.load()
    return image


def resized(image: Image.Image, scale: float) -> Image.Image:
    return image.resize((round(image.width * scale), round(image.height * scale)))


def cropped(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> Image.Image:
    """Cuts off fractions of the width and the height."""
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.crop(tuple(round(value) for value in box))  # type: ignore[arg-type]


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 50": lambda image: reopened(image, quality=50),
    "quality 95": lambda image: reopened(image, quality=95),
    "png": lambda image: reopened(image, "PNG"),
    "webp": lambda image: reopened(image, "WEBP", quality=75),
    "half size": lambda image: reopened(resized(image, 0.5), quality=85),
    "80 %": lambda image: reopened(resized(image, 0.8), quality=85),
    "half and back": lambda image: reopened(resized(resized(image, 0.5), 2), quality=85),
    "1 % each side": lambda image: reopened(cropped(image, 0.01, 0.01, 0.01, 0.01), quality=90),
    "2 % each side": lambda image: reopened(cropped(image, 0.02, 0.02, 0.02, 0.02), quality=90),
    "2 % left and top": lambda image: reopened(cropped(image, 0.02, 0.02, 0, 0), quality=90),
    "brighter": lambda image: reopened(brighter(image), quality=90),
}


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture with shapes of all sizes; another one for each seed."""
    generator = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24, 48, 96):
        pixels = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(layer, float) * 3 / cells
    low, high = total.min(), total.max()
    return Image.fromarray(((total - low) * (255 / (high - low))).astype(np.uint8))
