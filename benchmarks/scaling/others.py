"""Other work that grows with the images: photos checked, files listed, records found, rows scored.

Each function does it for a size in a folder and returns CPU seconds, those of its workers included.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
from ingest_memory import write_photos

from slimworks.components import files
from slimworks.components.contracts import LabelMap
from slimworks.components.evaluator import predictions_file
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.measuring import measure
from slimworks.components.examples import tfrecord
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
from slimworks.components.ingest.listing import list_items
from slimworks.components.ingest.sources.detect import open_source

NUM_CLASSES = 10
_BLOCK = 1_024


def _all_cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ingest_photos(size: int, folder: Path) -> float:
    """A whole ingest of photos of 320x240, without the making of them."""
    write_photos(folder / "photos", size)
    outputs = IngestOutputs(*(str(folder / name) for name in ("examples", "labels", "report")))
    begin = _all_cpu_seconds()
    summary = ingest(str(folder / "photos"), outputs, DataConfig(), str(folder / "state"))
    assert summary.num_files == size
    return _all_cpu_seconds() - begin


def list_folder(size: int, folder: Path) -> float:
    """The listing of files in class folders, on the local disk."""
    photos = folder / "photos"
    for number in range(NUM_CLASSES):
        (photos / f"class-{number}").mkdir(parents=True)
    for number in range(size):
        (photos / f"class-{number % NUM_CLASSES}" / f"{number:09d}.jpg").write_bytes(b"photo")
    begin = time.process_time()
    source, config = open_source(str(photos), DataConfig(), ()), DataConfig()
    assert sum(1 for _ in list_items(source, config, Counter(), LabelMap(()))) == size
    return time.process_time() - begin


def find_records(size: int, folder: Path) -> float:
    """The offsets of all records of a shard, as each training process looks for them."""
    path = folder / "shard"
    with open(path, "wb") as stream:
        for _ in range(size):
            tfrecord.write_record(stream, b"\0" * _BLOCK)
    begin = time.process_time()
    assert len(np.fromiter(tfrecord.record_offsets(path), np.int64)) == size
    return time.process_time() - begin


def write_predictions(size: int, folder: Path) -> float:
    """A predictions file of made-up answers."""
    generator = np.random.default_rng(0)
    begin = time.process_time()
    facts = predictions_file.Facts("test", "0" * 64, None)
    with predictions_file.open_writer(str(folder / "predictions.parquet"), facts) as writer:
        for start in range(0, size, _BLOCK):
            count = min(_BLOCK, size - start)
            writer.write(_rows(generator, start, count), [{}] * count)
    return time.process_time() - begin


def score(size: int, folder: Path) -> float:
    """Every metric with its intervals, of such a file."""
    write_predictions(size, folder)
    names = [f"class-{number}" for number in range(NUM_CLASSES)]
    begin = time.process_time()
    metrics = measure(folder / "predictions.parquet", names, NUM_CLASSES, EvaluateConfig())
    files.write_json(folder / "metrics.json", metrics)
    return time.process_time() - begin


def _rows(generator: np.random.Generator, start: int, count: int) -> predictions_file.Columns:
    logits = generator.normal(size=(count, NUM_CLASSES)).astype(np.float32)
    class_index = generator.integers(0, NUM_CLASSES, count)
    logits[np.arange(count), class_index] += 2
    exponents = np.exp(logits)
    ids = [f"{number:064x}" for number in range(start, start + count)]
    return {
        "image_id": np.array(ids),
        "filename": np.array(ids),
        "group": np.array([""] * count),
        "class_index": class_index,
        "predicted_index": logits.argmax(axis=1),
        "probabilities": exponents / exponents.sum(axis=1, keepdims=True),
        "logits": logits,
        "width": np.full(count, 500, np.int32),
        "height": np.full(count, 375, np.int32),
        "brightness": np.full(count, 0.5, np.float32),
        "sharpness": np.full(count, 0.1, np.float32),
    }
