"""One shard of examples through the saved transform graph, image by image, in order.

TensorFlow Transform's own TransformDataset takes as long but leaves the order of examples and
their distribution over shards to Beam; here two runs write the same bytes, and training on them
can be repeated.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.transform.attach import StoredImageDecoder
from slimworks.components.transform.preprocessing_fn import RAW_FEATURE_SPEC

_BATCH_SIZE = 32  # a batch waits for its slowest photo at the end

# Serialized examples, string [N] -> transformed features [N] by key.
ExampleTransform = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def load_example_transform(graph_dir: str | Path) -> ExampleTransform:
    """Loads a transform graph as a function of serialized examples.

    It is traced once and called for every batch: as tf.data's map function it would be traced and
    optimised anew for each shard, which takes as long as a few hundred photos.
    """
    decoder = StoredImageDecoder(graph_dir)
    return tf.function(
        lambda serialized: decoder.transform(tf.io.parse_example(serialized, RAW_FEATURE_SPEC)),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def transform_shard(source: str, target: str | Path, transform: ExampleTransform) -> int:
    """Writes the transformed examples of one TFRecord shard, in the same order.

    Args:
        source: Shard of an Examples artifact.
        target: Shard to write; it appears only when it is complete.
        transform: From `load_example_transform`.

    Returns:
        Number of examples.

    Raises:
        DataError: An image cannot be decoded, an example lacks a feature, or the shard is damaged.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    num_examples = 0
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for features in _transformed(source, transform):
                writer.write(_example(features))
                num_examples += 1
        os.replace(partial, target)
    except tf.errors.InvalidArgumentError:
        _raise_for_bad_example(source, num_examples, transform)
        raise
    except tf.errors.DataLossError as error:
        raise DataError(
            f"{source} is damaged after example {num_examples}: {_first_line(error)}.",
            "Run again with --no-cache=ingest to write the examples anew.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return num_examples


def _transformed(source: str, transform: ExampleTransform) -> Iterator[dict[str, Any]]:
    """Transformed features of each example, in order: numpy scalars by key."""
    for batch in tf.data.TFRecordDataset(source).batch(_BATCH_SIZE).prefetch(1):
        features = {key: value.numpy() for key, value in transform(batch).items()}
        for index in range(len(batch)):
            yield {key: values[index] for key, values in features.items()}


def _example(features: Mapping[str, Any]) -> bytes:
    """Serialized tf.Example; the same features give the same bytes."""
    encoded = {
        contracts.IMAGE_PIXELS: _bytes_feature(features[contracts.IMAGE_PIXELS]),
        contracts.IMAGE_ID: _bytes_feature(features[contracts.IMAGE_ID]),
        contracts.CLASS_INDEX: tf.train.Feature(
            int64_list=tf.train.Int64List(value=[features[contracts.CLASS_INDEX]])
        ),
    }
    example = tf.train.Example(features=tf.train.Features(feature=encoded))
    return example.SerializeToString(deterministic=True)


def _bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _raise_for_bad_example(source: str, num_done: int, transform: ExampleTransform) -> None:
    """Finds the example that a batch failed on, so that the error can name the user's file."""
    for record in tf.data.TFRecordDataset(source).skip(num_done):
        try:
            transform(record[tf.newaxis])
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                f"{_filename(record.numpy())} (in {source}) cannot be used: {_first_line(error)}.",
                "Delete or re-export that image, then run again.",
            ) from error


def _filename(record: bytes) -> str:
    feature = tf.train.Example.FromString(record).features.feature
    values = feature[contracts.IMAGE_FILENAME].bytes_list.value
    return values[0].decode("utf-8", "replace") if values else "An example without a file name"


def _first_line(error: tf.errors.OpError) -> str:
    """TensorFlow's message without graph node names."""
    text = re.sub(r"\{\{.*?\}\}", "", error.message).strip().splitlines()[0]
    return re.sub(r"^assertion failed: \[(.*?)\]?$", r"\1", text).strip().rstrip(".")
