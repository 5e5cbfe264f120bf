"""Examples of several spans on disk, of few bytes each."""

from __future__ import annotations

import random
from pathlib import Path

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import ImageRecord, encode_example

LABEL_MAP = LabelMap(("cats", "dogs"))


def records(
    span: int, number: int, brightness: float = 0.5, class_name: str | None = None, seed: int = 0
) -> list[ImageRecord]:
    """Images of one span: normal brightness around a mean, classes by turns or one of them."""
    generator = random.Random(f"{seed} {span}")
    return [
        ImageRecord(
            encoded=b"\xff\xd8",
            format="jpeg",
            original_format="jpeg",
            class_index=LABEL_MAP.class_names.index(name),
            class_name=name,
            filename=f"{span}/{index}.jpg",
            height=300,
            width=generator.choice([300, 400, 500]),
            colorspace="RGB",
            channels=3,
            image_id=f"{span:032x}{index:032x}",
            group="",
            brightness=min(1.0, max(0.0, generator.gauss(brightness, 0.1))),
            sharpness=generator.lognormvariate(-2.0, 0.5),
            span=span,
        )
        for index in range(number)
        for name in [class_name or LABEL_MAP.class_names[index % 2]]
    ]


def write_examples(folder: Path, images: list[ImageRecord]) -> str:
    """Deals the images out to the splits: every fifth to eval, the next to test."""
    for split in contracts.SPLITS:
        wanted = {"train": {2, 3, 4}, "eval": {0}, "test": {1}}[split]
        path = contracts.split_folder(folder, split) / "data_tfrecord-00000-of-00001"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            for index, image in enumerate(images):
                if index % 5 in wanted:
                    tfrecord.write_record(stream, encode_example(image))
    return str(folder)
