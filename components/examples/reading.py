"""Reading an Examples artifact in order, one example at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator

from slimworks.components import contracts
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import FeatureValue, decode_example


def iterate_examples(
    examples_dir: str | os.PathLike[str], split: str
) -> Iterator[dict[str, FeatureValue]]:
    """Yields each example of a split as values by feature key, in shard order.

    Needs no TensorFlow and holds one example at a time.

    Raises:
        DataError: The split has no shard, or a shard is damaged.
    """
    for shard in contracts.split_files(examples_dir, split):
        for serialized in tfrecord.iterate_records(shard):
            yield decode_example(serialized)


def count_examples(examples_dir: str | os.PathLike[str], split: str) -> int:
    """Number of examples of a split; reads only the length of each record.

    Raises:
        DataError: The split has no shard, or a shard is damaged.
    """
    return sum(
        tfrecord.count_records(shard) for shard in contracts.split_files(examples_dir, split)
    )
