"""Transformed examples without ingest and transform: random pixels in shards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.preprocessing import serialization
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer.dataset import StoredExamples


def write_stored(
    folder: Path, class_indices: Sequence[int], *, size: int = 16, channels: int = 1,
    num_shards: int = 3, split: str = "train", family: str = "lenet", first_id: int = 0,
) -> StoredExamples:  # fmt: skip
    """Example i has class `class_indices[i]`, an id and pixels of its own; returns all of them.

    The ids are numbers from `first_id` on.
    """
    target = contracts.split_folder(folder, split)
    target.mkdir(parents=True)
    pixels = np.random.default_rng(5 + first_id).integers(
        0, 256, (len(class_indices), size, size, channels), np.uint8
    )
    bounds = np.linspace(0, len(class_indices), num_shards + 1).astype(int)
    for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
        path = target / f"data_tfrecord-{shard:05d}-of-{num_shards:05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(start, stop):
                image_id = first_id + number
                stored = serialization.serialize_stored(tf.constant(pixels[number])).numpy()
                writer.write(stored_example(str(image_id), class_indices[number], stored))
    return StoredExamples(
        str(folder), size, channels, size, get_preprocessing(family), max(class_indices) + 1
    )


def stored_example(image_id: str, class_index: int, stored: bytes) -> bytes:
    """Serialized example. `stored`: an image from `serialize_stored`."""

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        contracts.IMAGE_PIXELS: text(stored),
        contracts.IMAGE_ID: text(image_id.encode()),
        contracts.CLASS_INDEX: tf.train.Feature(int64_list=tf.train.Int64List(value=[class_index])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
