"""Photos that tests make themselves."""

from __future__ import annotations

from pathlib import Path


def write_tiny_photos(folder: Path, num_per_class: int = 40, seed: int = 0) -> Path:
    """Three classes of 32 x 32 photos that a small net tells apart: the place of a bright bar."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(seed)
    for number, class_name in enumerate(("left", "middle", "right")):
        class_folder = folder / class_name
        class_folder.mkdir(parents=True, exist_ok=True)
        for index in range(num_per_class):
            pixels = generator.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            start = 2 + 10 * number + int(generator.integers(0, 3))
            pixels[:, start : start + 6] = 255 - generator.integers(0, 60, (32, 6, 3))
            suffix = "jpg" if index % 2 else "png"
            Image.fromarray(pixels).save(class_folder / f"{seed}-{index:03d}.{suffix}")
    return folder
