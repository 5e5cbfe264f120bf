"""The shards of ingest are read by tf.data, by TF-Slim's own reader and by TFX's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components import contracts
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
from slimworks.components.nets.slim import slim

_FORMATS = (
    (".png", "RGB"), (".png", "L"), (".png", "P"), (".png", "RGBA"), (".png", "I;16"),
    (".bmp", "RGB"), (".gif", "RGB"), (".webp", "RGB"),
)  # fmt: skip
Pictures = dict[tuple[str, int], int]  # digest of the pixels and class index: how many


@pytest.fixture(scope="module")
def ingested(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of every format that is stored, in two shards a split."""
    folder = tmp_path_factory.mktemp("ingested")
    photos = Path(shutil.copytree(tiny_photos, folder / "photos"))
    for number, path in enumerate(sorted(photos.glob("*/*.png"))):
        suffix, mode = _FORMATS[number % len(_FORMATS)]
        image = Image.open(path).convert(mode)
        path.unlink()
        more = {"save_all": True, "append_images": [image.rotate(90)]} if suffix == ".gif" else {}
        image.save(path.with_suffix(suffix), **more)
    outputs = IngestOutputs(*(str(folder / name) for name in ("examples", "label_map", "report")))
    ingest(str(photos), outputs, DataConfig(num_shards=2), str(folder / "state"))
    return folder


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def expected(ingested: Path) -> Pictures:
    """What tf.data reads with the program of docs/ingest.md."""
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(serialized, features)
        image = tf.io.decode_image(example["image/encoded"], channels=3, expand_animations=False)
        return image, example["image/class/label"]

    files = tf.data.Dataset.list_files(str(ingested / "examples/Split-train/*"), shuffle=False)
    photos = files.interleave(tf.data.TFRecordDataset, cycle_length=4).map(parse)
    return Counter((digest(image), int(label)) for image, label in photos.as_numpy_iterator())


def slim_dataset(ingested: Path, num_samples: int) -> Any:
    """Built as in TF-Slim's datasets/flowers.py."""
    keys_to_features = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/format": tf.io.FixedLenFeature((), tf.string, default_value="png"),
        "image/class/label": tf.io.FixedLenFeature(
            [], tf.int64, default_value=tf.zeros([], dtype=tf.int64)
        ),
    }
    items_to_handlers = {
        "image": slim.tfexample_decoder.Image(),
        "label": slim.tfexample_decoder.Tensor("image/class/label"),
    }
    labels = (ingested / "label_map/labels.txt").read_text(encoding="utf-8").splitlines()
    return slim.dataset.Dataset(
        data_sources=str(ingested / "examples/Split-train/*"),
        reader=tf.compat.v1.TFRecordReader,
        decoder=slim.tfexample_decoder.TFExampleDecoder(keys_to_features, items_to_handlers),
        num_samples=num_samples,
        items_to_descriptions={"image": "A photo.", "label": "A class index."},
        num_classes=len(labels),
        labels_to_names={int(line.split(":")[0]): line.split(":")[1] for line in labels},
    )


def read_by_slim(dataset: Any) -> list[tuple[np.ndarray, int]]:
    provider = slim.dataset_data_provider.DatasetDataProvider(
        dataset, num_readers=2, shuffle=False, num_epochs=1
    )
    items = provider.get(["image", "label"])
    found = []
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.local_variables_initializer())
        coordinator = tf.compat.v1.train.Coordinator()
        threads = tf.compat.v1.train.start_queue_runners(session, coordinator)
        try:
            while True:
                found.append(session.run(items))
        except tf.errors.OutOfRangeError:
            coordinator.request_stop()
        coordinator.join(threads)
    return found


def test_tf_slims_reader_finds_the_same_pixels_and_labels_as_tf_data(ingested: Path) -> None:
    wanted = expected(ingested)
    with tf.Graph().as_default():
        dataset = slim_dataset(ingested, sum(wanted.values()))
        found = read_by_slim(dataset)
    assert dataset.labels_to_names == {0: "left", 1: "middle", 2: "right"}
    assert sum(wanted.values()) > 60
    assert Counter((digest(image), int(label)) for image, label in found) == wanted


def facts(image_id: bytes, encoded: bytes, index: int) -> tuple[str, str, int]:
    return image_id.decode(), hashlib.sha256(encoded).hexdigest(), index


def test_tfx_bsl_reads_every_example(ingested: Path) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to
    from tfx_bsl.public.tfxio import TFExampleRecord

    keys = ("image/id", "image/encoded", "image/class/label")
    source = TFExampleRecord(str(ingested / "examples/Split-train/*"), schema=None)
    examples = list(iterate_examples(ingested / "examples", "train"))
    wanted = [facts(*(example[key] for key in keys)) for example in examples]
    with beam.Pipeline("FnApiRunner") as pipeline:
        batches = pipeline | source.BeamSource(batch_size=16)
        rows = batches | beam.FlatMap(lambda batch: batch.to_pylist())
        found = rows | beam.Map(lambda row: facts(*(row[key][0] for key in keys)))
        assert_that(found, equal_to(wanted))
    assert len(wanted) > 60


# TFX as its users call it, in a process of its own: it sets up logging and TF1's mode as it likes.
_IMPORT = """
import sys
from slimworks.pipeline import tfx_import; tfx_import.prepare()
from tfx.components.example_gen.import_example_gen.component import ImportExampleGen
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.proto import example_gen_pb2
examples, root = sys.argv[1:]
splits = [
    example_gen_pb2.Input.Split(name=name, pattern=f"Split-{name}/*")
    for name in ("train", "eval", "test")
]
component = ImportExampleGen(
    input_base=examples, input_config=example_gen_pb2.Input(splits=splits)
)
connection = metadata.sqlite_metadata_connection_config(root + "/metadata.sqlite")
LocalDagRunner().run(pipeline.Pipeline("import", root, connection, [component]))
"""


def examples_of(shards: list[str], compression: str) -> Counter[bytes]:
    """Examples with their features in one order: TFX writes them again in its own."""
    records = tf.data.TFRecordDataset(shards, compression).as_numpy_iterator()
    return Counter(
        tf.train.Example.FromString(record).SerializeToString(deterministic=True)
        for record in records
    )


@pytest.mark.slow
def test_tfxs_import_example_gen_takes_every_example_of_every_split(
    ingested: Path, tmp_path: Path
) -> None:
    program = [sys.executable, "-c", _IMPORT, str(ingested / "examples"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (imported,) = (tmp_path / "ImportExampleGen/examples").iterdir()
    for split in contracts.SPLITS:
        shards = [str(path) for path in (imported / f"Split-{split}").iterdir()]
        wanted = contracts.split_files(ingested / "examples", split)
        assert examples_of(shards, "GZIP") == examples_of(wanted, "")
