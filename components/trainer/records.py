"""TFRecord shards with random access: any example by its number, without those before it.

So an epoch is shuffled as a whole, whatever its size, a resumed training skips nothing, and no
buffer holds images. A record costs the same as in sequential reading, plus a seek on disks that
have to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord


@dataclasses.dataclass(frozen=True, eq=False)
class RecordIndex:
    """Where each record of some shards is; 12 bytes of memory a record.

    Attributes:
        shards: Paths, in order.
        shard_numbers: Shard of each record, int32 [M].
        offsets: Byte where each record starts, int64 [M].
    """

    shards: tuple[str, ...]
    shard_numbers: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, number: tf.Tensor) -> tf.Tensor:
        """Reads one record, inside a tf.data function. number: int64 [] -> string []."""
        shard = tf.gather(tf.constant(self.shards), tf.gather(self.shard_numbers, number))
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=shard[tf.newaxis],
            compression_type="",
            buffer_size=tf.constant(0, tf.int64),  # no more than the record
            byte_offsets=tf.gather(self.offsets, number)[tf.newaxis],
        )
        dataset = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return dataset.take(1).get_single_element()


def index_records(shards: Sequence[str]) -> RecordIndex:
    """Finds the records of transformed shards; reads their lengths only.

    Raises:
        DataError: A shard is damaged.
    """
    shard_numbers, offsets = [], []
    for number, shard in enumerate(shards):
        try:
            found = np.fromiter(tfrecord.record_offsets(shard), np.int64)
        except tfrecord.DamagedFileError as error:
            raise DataError(
                error.cause,
                "Run again with --no-cache=transform to write the stored images anew.",
            ) from error
        offsets.append(found)
        shard_numbers.append(np.full(len(found), number, np.int32))
    return RecordIndex(tuple(shards), np.concatenate(shard_numbers), np.concatenate(offsets))
