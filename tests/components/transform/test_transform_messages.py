"""What a damaged or undecodable example tells a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord
from slimworks.components.transform import materialize


def write_shard(path: Path, encoded: bytes) -> Path:
    values = {contracts.IMAGE_ENCODED: encoded, contracts.IMAGE_FILENAME: b"cats/1.jpg"}
    features = tf.train.Features(
        feature={
            key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for key, value in values.items()
        }
    )
    with path.open("wb") as stream:
        tfrecord.write_record(stream, tf.train.Example(features=features).SerializeToString())
    return path


def decode(batch: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes a batch of one image."""
    parsed = tf.io.parse_single_example(
        batch[0], {contracts.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
    )
    return {contracts.IMAGE_PIXELS: tf.io.decode_jpeg(parsed[contracts.IMAGE_ENCODED])}


def refusal(source: Path) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        materialize.transform_shard(str(source), source.with_name("target"), decode)
    return caught.value.cause, caught.value.fix


def test_damaged_shard(tmp_path: Path) -> None:
    source = write_shard(tmp_path / "shard", b"photo")
    source.write_bytes(source.read_bytes()[:-1])
    cause, fix = refusal(source)
    assert cause.startswith(f"{source} is damaged after example 0: ")
    assert fix == "Run again with --no-cache=ingest to write the examples anew."


def test_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    source = write_shard(tmp_path / "shard", b"no photo")
    cause, fix = refusal(source)
    assert cause.startswith(f"cats/1.jpg (in {source}) cannot be used: ")
    assert fix == "Delete or re-export that image, then run again."
