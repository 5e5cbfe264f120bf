"""Peak memory of ingest on few and on many photos: flat is a ratio of 1. Prints one JSON line.

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

# `--sizes 1000 100000` takes half an hour on two cores.
SIZES = (1_000, 5_000)
_DIFFERENT = 2_000  # photos; more files are those again with a comment of their own
CLASSES = ("birds", "cats", "dogs", "fish", "frogs")

CHILD = """
import json, resource, sys
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
source, output = sys.argv[1:3]
folders = IngestOutputs(*(f"{output}/{name}" for name in ("examples", "label_map", "report")))
summary = ingest(source, folders, DataConfig(), f"{output}/state", sys.argv[3:])
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
    photos = [photo(seed) for seed in range(min(count, _DIFFERENT))]
    for number in range(count):
        path = folder / CLASSES[number % len(CLASSES)] / f"{number:06d}.jpg"
        path.write_bytes(with_comment(photos[number % len(photos)], number))


def with_comment(jpeg: bytes, number: int) -> bytes:
    """The same picture as another file."""
    comment = b"%08d" % number
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return jpeg[:2] + segment + jpeg[2:]


def measure(source: Path, output: Path, beam_pipeline_args: list[str]) -> dict[str, float]:
    """Ingests in a child process; returns its peak and speed."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(source), str(output)]
    result = subprocess.run(
        [*command, *beam_pipeline_args], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def compare(
    work: Path, sizes: list[int], repeats: int, beam_pipeline_args: list[str]
) -> dict[str, object]:
    """Measures both sizes alternately `repeats` times."""
    for size in sizes:
        write_photos(work / str(size), size)
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for repeat in range(repeats):
        for size in sizes:
            output = work / f"out-{size}-{repeat}"
            runs[size].append(measure(work / str(size), output, beam_pipeline_args))
    small, large = ([run["peak_mib"] for run in runs[size]] for size in sizes)
    ratios = [b / a for a, b in zip(small, large, strict=True)]
    return {
        "benchmark": "ingest_memory",
        "ratio": round(float(np.median(ratios)), 3),
        "spread": round(max(ratios) - min(ratios), 3),
        "against": f"the same ingest on {sizes[0]} instead of {sizes[1]} photos; flat is 1",
        "peak_mib": {
            str(size): round(float(np.median([run["peak_mib"] for run in runs[size]])), 1)
            for size in sizes
        },
        "images_per_second": {
            str(size): round(float(np.median([run["images_per_second"] for run in runs[size]])))
            for size in sizes
        },
    }


def main() -> None:
    """Parses the command line; arguments that are not ours go to Beam."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    arguments, beam_pipeline_args = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as work:
        print(
            json.dumps(compare(Path(work), arguments.sizes, arguments.repeats, beam_pipeline_args))
        )


if __name__ == "__main__":
    main()
