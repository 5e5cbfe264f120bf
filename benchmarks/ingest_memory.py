"""Peak memory of ingest on 1,000 and on 5,000 photos: flat is a ratio of 1. Prints one JSON line.

Each run is a fresh child process; its peak is its own resident set plus that of its children.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (1_000, 5_000)
CLASSES = ("birds", "cats", "dogs", "fish", "frogs")

CHILD = """
import json, resource, sys
from slimworks.components.contracts import LabelMap
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
source, output = sys.argv[1:3]
folders = IngestOutputs(*(f"{output}/{name}" for name in ("examples", "label_map", "report")))
summary = ingest(source, folders, DataConfig(), LabelMap(), sys.argv[3:])
whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
peak = sum(resource.getrusage(who).ru_maxrss for who in whose) / 1024
print(json.dumps({"peak_mib": peak, "images_per_second": summary.num_images / summary.seconds}))
"""


def photo(seed: int) -> bytes:
    """A 320x240 JPEG of about 25 KB: coarse shapes with a little noise, as photos have."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    shapes = np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC))
    noisy = shapes + generator.normal(0, 6, shapes.shape)
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def write_photos(folder: Path, count: int) -> None:
    """Writes `count` different photos into class folders."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        path = folder / CLASSES[seed % len(CLASSES)] / f"{seed:06d}.jpg"
        path.write_bytes(photo(seed))


def measure(source: Path, output: Path, beam_pipeline_args: list[str]) -> dict[str, float]:
    """Ingests in a child process; returns its peak and speed."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(source), str(output)]
    result = subprocess.run(
        [*command, *beam_pipeline_args], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def compare(work: Path, repeats: int, beam_pipeline_args: list[str]) -> dict[str, object]:
    """Measures both sizes alternately `repeats` times."""
    for size in SIZES:
        write_photos(work / str(size), size)
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for repeat in range(repeats):
        for size in SIZES:
            output = work / f"out-{size}-{repeat}"
            runs[size].append(measure(work / str(size), output, beam_pipeline_args))
    small, large = ([run["peak_mib"] for run in runs[size]] for size in SIZES)
    ratios = [b / a for a, b in zip(small, large, strict=True)]
    return {
        "benchmark": "ingest_memory",
        "ratio": round(float(np.median(ratios)), 3),
        "spread": round(max(ratios) - min(ratios), 3),
        "against": "peak memory of the same ingest on 1,000 instead of 5,000 photos; flat is 1",
        "peak_mib": {
            str(size): round(float(np.median([run["peak_mib"] for run in runs[size]])), 1)
            for size in SIZES
        },
        "images_per_second": {
            str(size): round(float(np.median([run["images_per_second"] for run in runs[size]])))
            for size in SIZES
        },
    }


def main() -> None:
    """Parses the command line; arguments that are not ours go to Beam."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments, beam_pipeline_args = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as work:
        print(json.dumps(compare(Path(work), arguments.repeats, beam_pipeline_args)))


if __name__ == "__main__":
    main()
