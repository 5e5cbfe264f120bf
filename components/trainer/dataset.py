"""Transformed examples as batches: seeded order, seeded distortions, any step without those before.

What a place in a batch holds is a function of (seed, step, place), so a resumed training, and the
workers of a distributed one, see what one uninterrupted process would.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.components.preprocessing import serialization
from slimworks.components.preprocessing.families import Preprocessing
from slimworks.components.trainer import mixing, order
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.records import RecordIndex, index_records

_SEQUENCE_STRIDE = 1_000_003
_LABEL_BATCH_SIZE = 64  # records are read whole


class Batch(NamedTuple):
    """What one step, or one step of an evaluation, reads.

    Attributes:
        inputs: float32 [N, H, W, C], the network's input.
        targets: float32 [N, K], one-hot or a mixture of two classes; each row sums to one.
        ids: string [N], image ids, see contracts.IMAGE_ID; of a mixture, the id of the first.
    """

    inputs: tf.Tensor
    targets: tf.Tensor
    ids: tf.Tensor


@dataclasses.dataclass(frozen=True)
class StoredExamples:
    """Transformed examples and how their images become network input.

    Attributes:
        folder: Transformed examples, with the splits train and eval.
        stored_size: S, side of the stored images in pixels.
        num_channels: C, 1 or 3.
        image_size: Side of the network's input in pixels.
        preprocessing: The family's functions.
        num_classes: K, of the label map.
    """

    folder: str
    stored_size: int
    num_channels: int
    image_size: int
    preprocessing: Preprocessing
    num_classes: int
    _indices: dict[str, RecordIndex] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def index(self, split: str) -> RecordIndex:
        """Where each example of a split is; looked for once."""
        if split not in self._indices:
            self._indices[split] = index_records(contracts.split_files(self.folder, split))
        return self._indices[split]

    def records(self, split: str) -> tf.data.Dataset:
        """Serialized examples in the order of their numbers."""
        return tf.data.TFRecordDataset(contracts.split_files(self.folder, split))

    def count(self, split: str) -> int:
        """Number of examples of a split."""
        return len(self.index(split))

    def class_indices(self, split: str) -> np.ndarray:
        """Class of each example, int64 [M]; reads the whole split."""
        spec = {contracts.CLASS_INDEX: tf.io.FixedLenFeature([], tf.int64)}
        found = self.records(split).batch(_LABEL_BATCH_SIZE)
        found = found.map(lambda records: tf.io.parse_example(records, spec)[contracts.CLASS_INDEX])
        return np.concatenate(list(found.prefetch(1).as_numpy_iterator()))

    def class_counts(self, split: str) -> list[int]:
        """Number of examples of each class, [K]; reads the whole split."""
        counts = np.bincount(self.class_indices(split), minlength=self.num_classes)
        return [int(count) for count in counts]

    def parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Record -> stored image uint8 [S, S, C], target float32 [K], image id string []."""
        features = tf.io.parse_single_example(
            record,
            {
                contracts.IMAGE_PIXELS: tf.io.FixedLenFeature([], tf.string),
                contracts.CLASS_INDEX: tf.io.FixedLenFeature([], tf.int64),
                contracts.IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
            },
        )
        pixels = serialization.parse_stored(
            features[contracts.IMAGE_PIXELS], self.stored_size, self.num_channels
        )
        target = tf.one_hot(features[contracts.CLASS_INDEX], self.num_classes)
        return pixels, target, features[contracts.IMAGE_ID]


def train_batches(
    examples: StoredExamples,
    config: TrainConfig,
    *,
    batch_size: int,
    steps_per_epoch: int,
    first_step: int,
    num_steps: int,
    num_shards: int = 1,
    shard: int = 0,
    sequence: int = 0,
) -> tf.data.Dataset:
    """Batches of steps `first_step` .. `num_steps - 1`, or one worker's part of each.

    Args:
        examples: Where from, and how images are prepared.
        config: Order, distortions, seed and threads.
        batch_size: Images of a step, over all workers; the rest of an epoch is left out (every
            epoch another one).
        steps_per_epoch: Steps an epoch.
        first_step: Steps already done.
        num_steps: Steps in all.
        num_shards: Workers that share each batch.
        shard: Number of this worker among them. The parts of all workers, one after the other, are
            the batch of one worker alone; only mixup and cutmix mix within a part.
        sequence: Another number gives another order and other distortions.

    Returns:
        Dataset of Batch, N = batch_size / num_shards.

    Raises:
        ConfigError: The batch cannot be divided evenly.
    """
    part_size = _part_size(batch_size, num_shards)
    seed = config.seed + _SEQUENCE_STRIDE * sequence
    index = examples.index("train")
    places = train_places(
        examples,
        config,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        first_step=first_step,
        num_steps=num_steps,
        num_shards=num_shards,
        shard=shard,
        sequence=sequence,
    )

    def read(place: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return place, index.read(number)

    def load(place: tf.Tensor, record: tf.Tensor) -> Batch:
        pixels, target, image_id = examples.parse(record)
        image_seed = tf.stack([tf.cast(seed, tf.int64), place])
        image = examples.preprocessing.for_train(
            pixels, examples.image_size, image_seed, config.augmentation
        )
        return Batch(image, target, image_id)

    batches = (
        places.map(read, config.num_readers or tf.data.AUTOTUNE, deterministic=True)
        .map(load, config.num_preprocessing_threads or tf.data.AUTOTUNE, deterministic=True)
        .batch(part_size, drop_remainder=True)
    )
    mix = mixing.mixer(config.augmentation, seed)
    if mix is not None:
        batches = batches.enumerate(first_step).map(
            lambda step, batch: Batch(*mix(batch.inputs, batch.targets, step, shard), batch.ids)
        )
    return batches.prefetch(2)


def train_places(
    examples: StoredExamples,
    config: TrainConfig,
    *,
    batch_size: int,
    steps_per_epoch: int,
    first_step: int,
    num_steps: int,
    num_shards: int = 1,
    shard: int = 0,
    sequence: int = 0,
) -> tf.data.Dataset:
    """What `train_batches` loads: (place in the training, example number), an image each.

    The arguments are those of `train_batches`.
    """
    part_size = _part_size(batch_size, num_shards)
    seed = config.seed + _SEQUENCE_STRIDE * sequence
    epoch_order = _order(examples, config, steps_per_epoch * batch_size, seed)

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        """(place in the training, example number) of this worker's images of an epoch, in order."""
        numbers = epoch_order(epoch)[: steps_per_epoch * batch_size]
        within = tf.range(steps_per_epoch * batch_size, dtype=tf.int64)
        of_worker = [
            tf.reshape(values, [steps_per_epoch, num_shards, part_size])[:, shard]
            for values in (epoch * steps_per_epoch * batch_size + within, numbers)
        ]
        done = tf.maximum(first_step - epoch * steps_per_epoch, 0)
        return tf.data.Dataset.from_tensor_slices(
            tuple(tf.reshape(values[done:], [-1]) for values in of_worker)
        )

    epochs = range(first_step // steps_per_epoch, -(-num_steps // steps_per_epoch))
    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(of_epoch)
        .take((num_steps - first_step) * part_size)
    )


def eval_batches(
    examples: StoredExamples, split: str, batch_size: int, num_shards: int = 1, shard: int = 0
) -> tf.data.Dataset:
    """Dataset of Batch: every example once, in order; the last batch may be smaller.

    Args:
        examples: Where from, and how images are prepared.
        split: Which of them.
        batch_size: N, at most.
        num_shards: Workers that share the split: each reads every so-many-th example.
        shard: Number of this worker among them.
    """

    def load(pixels: tf.Tensor, targets: tf.Tensor, ids: tf.Tensor) -> Batch:
        return Batch(examples.preprocessing.for_eval(pixels, examples.image_size), targets, ids)

    return (
        examples.records(split)
        .shard(num_shards, shard)
        .map(examples.parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .map(load)
        .prefetch(2)
    )


def _order(examples: StoredExamples, config: TrainConfig, num_draws: int, seed: int) -> order.Order:
    if config.balance == "sample":
        return order.balanced_order(examples.class_indices("train"), num_draws, seed)
    return order.shuffled_order(examples.count("train"), seed)


def _part_size(batch_size: int, num_shards: int) -> int:
    if batch_size % num_shards:
        raise ConfigError(
            f"A batch of {batch_size} images cannot be divided evenly among {num_shards} workers.",
            f"Set train.batch_size={-(-batch_size // num_shards) * num_shards}; a train split "
            "smaller than the batch makes it smaller.",
        )
    return batch_size // num_shards
