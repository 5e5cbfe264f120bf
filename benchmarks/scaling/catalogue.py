"""What an ingest asks of its catalogue, for so many made-up images: the product's own statements.

Run as a program it prints {phase: [CPU seconds, seconds]}, the catalogue's size and the peak of
memory. No photo is read or written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components.contracts import LabelMap
from slimworks.components.ingest import planning, selection, spans, worklist
from slimworks.components.ingest.catalogue import CATALOGUE_FILE, Catalogue, open_catalogue
from slimworks.components.ingest.changes import take_units
from slimworks.components.ingest.checking import absorb_outcomes
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.near_pairs import find_near_duplicates
from slimworks.components.ingest.perceptual import FINGERPRINT_BYTES, THUMBNAIL_SIZE
from slimworks.components.ingest.sharding import NewShard, choose_images
from slimworks.components.ingest.sources.items import SourceItem, SourceUnit

CLASSES = tuple(f"class-{number:02d}" for number in range(50))
IMAGE_BYTES = 100_000
_IMAGES_A_SHARD = 1_500  # of 150 MB
_TASK_ROWS = 10_000
_FACTS = {
    "format": "jpeg", "original_format": "jpeg", "height": 375, "width": 500, "colorspace": "RGB",
    "channels": 3, "brightness": 0.5, "sharpness": 0.1, "stored_bytes": IMAGE_BYTES,
    "is_converted": False,
}  # fmt: skip


def items(num_images: int) -> Iterator[SourceItem]:
    """A listing in class folders, by name."""
    for number in range(num_images):
        class_name = CLASSES[number * len(CLASSES) // num_images]
        name = f"{class_name}/photo-{number:09d}.jpg"
        yield SourceItem(
            name=name, class_name=class_name, path=f"/photos/{name}", kind="file", key="",
            size=IMAGE_BYTES, version=f"{number}.0", is_regular=True, split=None, group=None,
            slices={},
        )  # fmt: skip


def outcomes(num_images: int, seed: int = 0) -> Iterator[worklist.Row]:
    """What checking them came to: fingerprints at random, so that no two look alike."""
    generator = np.random.default_rng(seed)
    for item in items(num_images):
        image_id = hashlib.sha256(item.name.encode()).hexdigest()
        facts = {
            **_FACTS,
            "fingerprint": generator.bytes(FINGERPRINT_BYTES).hex(),
            "signature": generator.bytes(THUMBNAIL_SIZE**2).hex(),
        }
        row = {"name": item.name, "size": item.size, "version": item.version}
        yield {**row, "image_id": image_id, "facts": facts}


class Clock:
    """CPU seconds and seconds by phase."""

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {}

    def time(self, phase: str, work: Callable[[], Any]) -> Any:
        """Runs it; a phase that comes again is added up."""
        begin = time.process_time(), time.perf_counter()
        result = work()
        spent = time.process_time() - begin[0], time.perf_counter() - begin[1]
        sums = self.phases.setdefault(phase, [0.0, 0.0])
        self.phases[phase] = [old + new for old, new in zip(sums, spent, strict=True)]
        return result


def measure(num_images: int, folder: Path) -> dict[str, Any]:
    """Plays one ingest of new images, then the listing of the next one, which finds none."""
    clock, config = Clock(), DataConfig()
    label_map = LabelMap(CLASSES)
    with open_catalogue(folder) as catalogue:
        clock.time("list", lambda: catalogue.replace_listing(items(num_images)))
        units = (SourceUnit(item.name, item.size, item.version) for item in items(num_images))
        clock.time("list", lambda: take_units(catalogue, units))
        tasks = _made_up_results(num_images, folder)
        clock.time("take results", lambda: absorb_outcomes(catalogue, tasks))
        names = {name: name for name in CLASSES}
        clock.time("select", lambda: selection.select_images(catalogue, names, config))
        distance = config.near_duplicate_distance
        clock.time("near-duplicates", lambda: find_near_duplicates(catalogue, distance))
        clock.time("plan", lambda: planning.plan_images(catalogue, label_map, config, 1))
        clock.time("choose", lambda: choose_images(catalogue, config))
        shards = _pretend_to_write(catalogue)
        clock.time("commit", lambda: spans.commit(catalogue, shards, {"span": 1}, is_anew=False))
        clock.time("list again", lambda: catalogue.replace_listing(items(num_images)))
        assert clock.time("list again", catalogue.count_to_check) == 0
        assert catalogue.count("SELECT COUNT(*) FROM images") == num_images
    return {
        "phases": clock.phases,
        "catalogue_bytes": (folder / CATALOGUE_FILE).stat().st_size,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _made_up_results(num_images: int, folder: Path) -> list[Path]:
    tasks = []
    for number, rows in enumerate(worklist.batches(outcomes(num_images), _TASK_ROWS)):
        tasks.append(folder / f"{number}.todo")
        worklist.write_rows(worklist.result_path(tasks[-1]), rows)
    return tasks


def _pretend_to_write(catalogue: Catalogue) -> list[NewShard]:
    run = catalogue.connection.execute
    run(
        "INSERT INTO written SELECT image_id, number / ?, number % ?, num_bytes FROM planned",
        (_IMAGES_A_SHARD, _IMAGES_A_SHARD),
    )
    rows = run("SELECT shard, COUNT(*), SUM(num_bytes) FROM written GROUP BY shard").fetchall()
    return [
        NewShard(shard=shard, split="train", file=f"{shard}", num_images=count, num_bytes=size)
        for shard, count, size in rows
    ]


def main() -> None:
    """Measures in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("num_images", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimworks-bench-") as folder:
        print(json.dumps(measure(options.num_images, Path(folder))))


if __name__ == "__main__":
    main()
