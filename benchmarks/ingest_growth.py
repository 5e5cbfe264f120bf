"""CPU time of an ingest that finds 5 % more files, against that of the full ingest before it.

Each round ingests all files into a new state, then the grown set, then the same set again, each in
a process of its own; start-up and worker processes count. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ingest_memory import write_photos
from ingest_speed import copy_photos

INGEST = """
import json, resource, sys
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
source, output = sys.argv[1:3]
folders = IngestOutputs(*(f"{output}/{name}" for name in ("examples", "label_map", "report")))
summary = ingest(source, folders, DataConfig(), f"{output}/state")
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu_seconds = sum(one.ru_utime + one.ru_stime for one in used)
print(json.dumps({"cpu_seconds": cpu_seconds, "num_new_files": summary.num_new_files}))
"""


def ingest_cpu_seconds(source: Path, output: Path, num_new_files: int) -> float:
    """Ingests in a fresh process, which must find so many new files; returns its CPU seconds."""
    command = [sys.executable, "-W", "ignore", "-c", INGEST, str(source), str(output)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["num_new_files"] == num_new_files, found
    return float(found["cpu_seconds"])


def measure_round(photos: Path, source: Path, num_images: int, output: Path) -> dict[str, float]:
    """CPU seconds of the full ingest, of that of the grown set, and of one without any change.

    `source` is a folder of links to the first `num_images` of the files below `photos`.
    """
    files = sorted(photos.rglob("*.jpg"), key=lambda path: path.name)

    def link(paths: list[Path]) -> int:
        for path in paths:
            target = source / path.relative_to(photos)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
        return len(paths)

    full = ingest_cpu_seconds(source, output, link(files[:num_images]))
    grown = ingest_cpu_seconds(source, output, link(files[num_images:]))
    return {"full": full, "grown": grown, "unchanged": ingest_cpu_seconds(source, output, 0)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="class folders of JPEGs to repeat")
    options = parser.parse_args()
    shared = Path(os.environ.get("SLIMWORKS_SHARED", "../shared"))
    flowers = options.photos or shared / "data/datasets/flowers_800"
    added = options.images // 20
    with tempfile.TemporaryDirectory(prefix="slimworks-bench-") as folder:
        work = Path(folder)
        if not flowers.is_dir():
            write_photos(flowers := work / "made", 800)
        copy_photos(flowers, work / "photos", options.images + added)
        rounds = []
        for number in range(options.repeats):
            place = work / f"round{number}"
            rounds.append(
                measure_round(work / "photos", place / "source", options.images, place / "out")
            )
    ratios = [one["grown"] / one["full"] for one in rounds]
    result = {
        "benchmark": "ingest_growth",
        "ratio": round(statistics.median(ratios), 4),
        "spread": [round(min(ratios), 4), round(max(ratios), 4)],
        "against": "CPU time of the full ingest before 5 % more files; both with start-up",
        "images": options.images,
        "added": added,
        "repeats": options.repeats,
        "cpu_seconds": {
            key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
