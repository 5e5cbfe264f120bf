"""Transformed examples as batches: seeded order, seeded distortions, resumable at any step."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.preprocessing import serialization
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.preprocessing.families import Preprocessing

# ~70 MB of 146 px images, ~200 MB of 256 px; shards are already in random order.
SHUFFLE_BUFFER = 1_024
MAX_OPEN_SHARDS = 8


@dataclasses.dataclass(frozen=True)
class StoredExamples:
    """Transformed examples and how their images become network input.

    Attributes:
        folder: Transformed examples, with the splits train and eval.
        stored_size: S, side of the stored images in pixels.
        num_channels: C, 1 or 3.
        image_size: Side of the network's input in pixels.
        preprocessing: The family's functions.
    """

    folder: str
    stored_size: int
    num_channels: int
    image_size: int
    preprocessing: Preprocessing

    def records(self, split: str) -> tf.data.Dataset:
        """Serialized examples, shards interleaved in a fixed order."""
        shards = contracts.split_files(self.folder, split)
        return tf.data.Dataset.from_tensor_slices(shards).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(MAX_OPEN_SHARDS, len(shards)),
            num_parallel_calls=1,
            deterministic=True,
        )

    def count(self, split: str) -> int:
        """Number of examples of a split."""
        return int(self.records(split).reduce(tf.constant(0, tf.int64), lambda n, _: n + 1))

    def parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Record -> stored image uint8 [S, S, C], class index int64."""
        features = tf.io.parse_single_example(
            record,
            {
                contracts.IMAGE_PIXELS: tf.io.FixedLenFeature([], tf.string),
                contracts.CLASS_INDEX: tf.io.FixedLenFeature([], tf.int64),
            },
        )
        pixels = serialization.parse_stored(
            features[contracts.IMAGE_PIXELS], self.stored_size, self.num_channels
        )
        return pixels, features[contracts.CLASS_INDEX]


def train_batches(
    examples: StoredExamples,
    augmentation: AugmentationSettings,
    *,
    batch_size: int,
    steps_per_epoch: int,
    first_step: int,
    num_steps: int,
    seed: int,
) -> tf.data.Dataset:
    """Batches of steps `first_step` .. `num_steps - 1`.

    Order and distortions are functions of (seed, epoch, position), so a resumed run sees the
    same batches as an uninterrupted one.

    Args:
        examples: Where from, and how images are prepared.
        augmentation: Distortions.
        batch_size: Images a batch; the rest of an epoch is left out (every epoch another one).
        steps_per_epoch: Batches an epoch.
        first_step: Steps already done.
        num_steps: Steps in all.
        seed: Of order and distortions.

    Returns:
        Dataset of (images float32 [N, H, W, C], class indices int64 [N]).
    """
    per_epoch = steps_per_epoch * batch_size
    first_epoch, first_batch = divmod(first_step, steps_per_epoch)
    records = examples.records("train")

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        seen = tf.where(number == first_epoch, first_batch * batch_size, 0)
        shuffled = records.shuffle(
            SHUFFLE_BUFFER, seed=seed * 1_000_003 + number, reshuffle_each_iteration=False
        )
        positions = tf.data.Dataset.range(per_epoch).map(lambda at: number * per_epoch + at)
        return tf.data.Dataset.zip((positions, shuffled)).skip(tf.cast(seen, tf.int64))

    def load(position: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, class_index = examples.parse(record)
        image_seed = tf.stack([tf.constant(seed, tf.int64), position])
        image = examples.preprocessing.for_train(
            pixels, examples.image_size, image_seed, augmentation
        )
        return image, class_index

    last_epoch = -(-num_steps // steps_per_epoch)
    return (
        tf.data.Dataset.range(first_epoch, last_epoch)
        .flat_map(epoch)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .take(num_steps - first_step)
        .prefetch(2)
    )


def eval_batches(examples: StoredExamples, split: str, batch_size: int) -> tf.data.Dataset:
    """Every example once, in order; the last batch may be smaller."""

    def load(pixels: tf.Tensor, class_index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return examples.preprocessing.for_eval(pixels, examples.image_size), class_index

    return (
        examples.records(split)
        .map(examples.parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .map(load)
        .prefetch(2)
    )
