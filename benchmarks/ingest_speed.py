"""Images per second of ingest, against the limit and a converter in TF-Slim's style.

All sides read the same files, one after the other in each of several rounds, each in a process of
its own: the limit is one loop of read + sha256 + one full decode; the converter decodes each image
in a TensorFlow session and writes one TFRecord file, as TF-Slim's scripts do. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ingest_memory import with_comment, write_photos

LIMIT = """
import hashlib, io, sys, time, json
from pathlib import Path
from PIL import Image
paths = sorted(Path(sys.argv[1]).rglob("*.jpg"))
start = time.perf_counter()
for path in paths:
    data = path.read_bytes()
    hashlib.sha256(data).hexdigest()
    Image.open(io.BytesIO(data)).load()
print(json.dumps({"images_per_second": len(paths) / (time.perf_counter() - start)}))
"""
TF_SLIM = """
import sys, time, json
from pathlib import Path
import tensorflow.compat.v1 as tf
source, output = sys.argv[1:3]
paths = sorted(Path(source).rglob("*.jpg"))
classes = {name: i for i, name in enumerate(sorted({p.parent.name for p in paths}))}
ints = lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=[v]))
text = lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v]))
Path(output).mkdir(parents=True)
with tf.Graph().as_default(), tf.Session() as session:
    data = tf.placeholder(tf.string)
    image = tf.image.decode_jpeg(data, channels=3)
    start = time.perf_counter()
    with tf.python_io.TFRecordWriter(output + "/data.tfrecord") as writer:
        for path in paths:
            encoded = tf.gfile.GFile(str(path), "rb").read()
            height, width, _ = session.run(image, {data: encoded}).shape
            writer.write(tf.train.Example(features=tf.train.Features(feature={
                "image/encoded": text(encoded), "image/format": text(b"jpg"),
                "image/class/label": ints(classes[path.parent.name]),
                "image/height": ints(height), "image/width": ints(width),
            })).SerializeToString())
print(json.dumps({"images_per_second": len(paths) / (time.perf_counter() - start)}))
"""
INGEST = """
import json, sys, time
start = time.perf_counter()
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
source, output = sys.argv[1:3]
folders = IngestOutputs(*(f"{output}/{name}" for name in ("examples", "label_map", "report")))
summary = ingest(source, folders, DataConfig(), f"{output}/state", sys.argv[3:])
seconds = time.perf_counter() - start
print(json.dumps({"images_per_second": summary.num_files / seconds, "seconds": seconds}))
"""
TWO_WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


def copy_photos(source: Path, folder: Path, count: int) -> None:
    """Repeats the JPEGs of class folders to `count` different files, each with its own comment."""
    paths = sorted(source.rglob("*.jpg"))
    random.Random(0).shuffle(paths)  # a few photos are of several classes
    for number in range(count):
        path = paths[number % len(paths)]
        target = folder / path.parent.name / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(with_comment(path.read_bytes(), number))


def run(script: str, *arguments: str) -> dict[str, float]:
    """Runs a side in a fresh process."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    value: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return value


def measure_round(source: Path, grown: Path, small: Path, work: Path) -> dict[str, float]:
    """Runs every side once; returns the ratios of this round."""
    limit = run(LIMIT, str(source))["images_per_second"]
    converter = run(TF_SLIM, str(source), str(work / "slim"))["images_per_second"]
    one = run(INGEST, str(source), str(work / "one"))
    two = run(INGEST, str(source), str(work / "two"), *TWO_WORKERS)
    fixed = run(INGEST, str(small), str(work / "small"))["seconds"]
    source.rename(moved := source.with_name("moved"))
    grown.rename(source)  # the same folder with some files more
    more = run(INGEST, str(source), str(work / "one"))
    source.rename(grown)
    moved.rename(source)
    return {
        "limit_images_per_second": limit,
        "of_limit": one["images_per_second"] / limit,
        "two_workers": two["images_per_second"] / one["images_per_second"],
        "two_workers_of_converter": two["images_per_second"] / converter,
        "fixed_seconds": fixed,
        "grown_of_full": more["seconds"] / one["seconds"],
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    flowers = Path(os.environ.get("SLIMWORKS_SHARED", "../shared")) / "data/datasets/flowers_800"
    with tempfile.TemporaryDirectory(prefix="slimworks-bench-") as folder:
        photos = Path(folder) / "photos"
        if not flowers.is_dir():
            write_photos(photos, 800)
            flowers = photos
        source, grown, small = (Path(folder) / name for name in ("source", "grown", "small"))
        copy_photos(flowers, source, options.images)
        copy_photos(flowers, grown, options.images + options.images // 20)
        for path in source.rglob("*.jpg"):  # the same files, not only the same bytes
            twin = grown / path.relative_to(source)
            twin.unlink()
            os.link(path, twin)
        copy_photos(flowers, small, 50)
        rounds = [
            measure_round(source, grown, small, Path(folder) / f"round{number}")
            for number in range(options.repeats)
        ]
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    spread = {key: [min(r[key] for r in rounds), max(r[key] for r in rounds)] for key in rounds[0]}
    result = {
        "benchmark": "ingest_speed",
        "ratio": round(middle["of_limit"], 3),
        "against": "one loop of read + sha256 + one full decode, same files, same run",
        "images": options.images,
        "repeats": options.repeats,
        "median": {key: round(value, 3) for key, value in middle.items()},
        "spread": {key: [round(value, 3) for value in ends] for key, ends in spread.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
