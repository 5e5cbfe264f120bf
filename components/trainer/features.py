"""Features of layers that stay as they are: made once, kept on disk, trained on in every epoch.

Images are prepared as for evaluation, so that an image has one row of features. Rows are found by
image id, in a folder whose name is the digest of all else that they depend on: the operations and
the weights of the frozen layers, and how images are stored and prepared.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.components.nets.cut import Cut, cut
from slimworks.components.nets.module import SlimModule
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.progress import Progress
from slimworks.components.trainer import dataset, feature_store, steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.feature_digest import feature_kind
from slimworks.components.trainer.feature_store import FeatureStore, NoRoomError, Rows
from slimworks.components.trainer.feeds import Feed

FOLDER = "features"  # beside the work folders of trainings, which share it
MAX_BATCH_SIZE = 64  # images at a time through the frozen layers
SAVE_SECONDS = 30.0  # so much work is lost at most when the process is killed
_LABEL_BATCH_SIZE = 64  # records are read whole

_log = logging.getLogger(__name__)


class NotCacheableError(Exception):
    """Features cannot be kept, or should not be."""

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(cause)
        self.cause, self.fix = cause, fix


@dataclasses.dataclass(frozen=True)
class _Split:
    """What the head reads of a split, by example number.

    Attributes:
        ids: Image ids, bytes [M].
        class_indices: int64 [M].
        rows: Features of each image.
    """

    ids: np.ndarray
    class_indices: np.ndarray
    rows: Rows

    def read(self, numbers: tf.Tensor, num_classes: int) -> dataset.Batch:
        """Reads examples, inside a tf.data function. numbers: int64 [N]."""
        features, class_indices, ids = tf.numpy_function(
            lambda at: (self.rows.take(at), self.class_indices[at], self.ids[at]),
            [numbers],
            [tf.float32, tf.int64, tf.string],
        )
        targets = tf.one_hot(tf.reshape(class_indices, [-1]), num_classes)
        return dataset.Batch(
            tf.reshape(features, [-1, self.rows.width]), targets, tf.reshape(ids, [-1])
        )


def feature_feed(
    examples: dataset.StoredExamples,
    config: TrainConfig,
    module: SlimModule,
    trained: Collection[str],
    root: Path,
    *,
    num_epochs: float,
    is_alone: bool,
) -> Feed | None:
    """Computes the features that are not there yet; the head is to read them.

    Args:
        examples: Where from, and how images are prepared.
        config: Training settings.
        module: The network, with the values that its frozen layers will keep.
        trained: Names of the variables that gradients change.
        root: Folder of all features; those not used for longest go where space is short.
        num_epochs: That the features are read.
        is_alone: One process, one device.

    Returns:
        None where images are to be read.

    Raises:
        ConfigError: `train.cache_features` is true where it cannot be.
    """
    if config.cache_features is False or len(trained) == len(module.trainable_by_name):
        return None
    is_head = all(name.startswith(module.spec.head_scopes) for name in trained)
    if config.cache_features == "auto" and not (is_head and num_epochs >= 1):
        return None
    try:
        _require_plain_images(config)
        _require_one_process(is_alone)
        parts = _cut(module, trained, config)
        splits = _splits(examples, config, module, parts, root)
    except NotCacheableError as obstacle:
        if config.cache_features is True:
            cause = f"train.cache_features is true, but {obstacle.cause}."
            raise ConfigError(cause, obstacle.fix) from None
        _log.info("features are not cached: %s", obstacle.cause)
        return None
    return _feed(examples, config, parts, splits)


def require_frozen_layers(
    config: TrainConfig, phases: Sequence[Collection[str]], total: int
) -> None:
    """Checks that features can be of use where they are asked for.

    Args:
        config: Training settings.
        phases: What each phase trains.
        total: Number of trainable variables.

    Raises:
        ConfigError: Every phase trains every layer.
    """
    if config.cache_features is True and all(len(trained) == total for trained in phases):
        raise ConfigError(
            "train.cache_features is true, but every layer is trained from the first step on.",
            "Set train.trainable_scopes to the head, or leave train.cache_features at auto.",
        )


def _require_plain_images(config: TrainConfig) -> None:
    # The default augmentation gains a head nothing: docs/training.md has the figures.
    settings = config.augmentation
    chosen = settings.enabled and settings != AugmentationSettings()
    if chosen and config.cache_features == "auto":
        raise NotCacheableError("train.augmentation changes images in every epoch", "")


def _require_one_process(is_alone: bool) -> None:
    if not is_alone:
        raise NotCacheableError(
            "several devices or processes train",
            "Leave train.distribution at none: a head trains in seconds.",
        )


def _cut(module: SlimModule, trained: Collection[str], config: TrainConfig) -> Cut:
    parts = cut(module, trained, steps.training_forward(module, trained, config.seed))
    if parts is None:
        raise NotCacheableError(
            "the first layers are trained, or change at random",
            "Set train.trainable_scopes to the head, or leave train.cache_features at auto.",
        )
    return parts


def _splits(
    examples: dataset.StoredExamples,
    config: TrainConfig,
    module: SlimModule,
    parts: Cut,
    root: Path,
) -> dict[str, _Split]:
    """Opens the store, makes what it lacks, and finds every image's row."""
    kind = feature_kind(parts, module, examples)
    labels = {split: _labels(examples, split) for split in ("train", "eval")}
    all_ids = np.concatenate([ids for ids, _ in labels.values()])
    store = FeatureStore(root / kind.digest[:16], parts.width, kind.about)
    num_missing = int(store.missing(all_ids).sum())
    try:
        feature_store.make_room(store, all_ids, num_missing, config.feature_cache_gb)
    except NoRoomError as error:
        raise NotCacheableError(
            f"the features take {error.needed_gb:.2g} GB, and train.feature_cache_gb is "
            f"{config.feature_cache_gb:g}",
            f"Set train.feature_cache_gb={error.needed_gb:.2g}, where the disk has room.",
        ) from None
    start = time.monotonic()
    done = len(all_ids) - num_missing
    with Progress("features", len(all_ids), initial=done) as progress:
        for split, (ids, _) in labels.items():
            numbers = np.flatnonzero(store.missing(ids))
            for count in _computed(store, parts, examples, split, numbers, config.batch_size):
                done += count
                progress.update(done)
    store.merge_small()
    _log.info(
        "the head trains on features of the frozen layers, without augmentation: "
        "%d of %d images computed in %.0f s, %d floats each, in %s",
        num_missing, len(all_ids), time.monotonic() - start, parts.width, store.folder,
    )  # fmt: skip
    return {split: _Split(ids, index, store.rows(ids)) for split, (ids, index) in labels.items()}


def _labels(examples: dataset.StoredExamples, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids, bytes [M], and class indices, int64 [M], of a split; reads all of it."""
    keys = {contracts.IMAGE_ID: tf.string, contracts.CLASS_INDEX: tf.int64}
    spec = {key: tf.io.FixedLenFeature([], kind) for key, kind in keys.items()}
    batches = examples.records(split).batch(_LABEL_BATCH_SIZE)
    found = list(batches.map(lambda records: tf.io.parse_example(records, spec)).prefetch(1))
    ids, class_indices = (np.concatenate([batch[key].numpy() for batch in found]) for key in keys)
    return ids.astype(bytes), class_indices


def _computed(
    store: FeatureStore,
    parts: Cut,
    examples: dataset.StoredExamples,
    split: str,
    numbers: np.ndarray,
    batch_size: int,
) -> Iterator[int]:
    """Runs the frozen layers over the examples `numbers` of a split; yields how many at a time."""

    def prepare(pixels: tf.Tensor, _: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return examples.preprocessing.for_eval(pixels, examples.image_size), ids

    features = tf.function(parts.features, autograph=False, reduce_retracing=True)
    batches = (
        tf.data.Dataset.from_tensor_slices(numbers)
        .map(examples.index(split).read, tf.data.AUTOTUNE)
        .map(examples.parse, tf.data.AUTOTUNE)
        .batch(min(batch_size, MAX_BATCH_SIZE))
        .map(prepare)
        .prefetch(2)
    )
    with store.writer(SAVE_SECONDS) as write:
        for images, ids in batches:
            write(ids.numpy().astype(bytes), features(images).numpy())
            yield len(ids)


def _feed(
    examples: dataset.StoredExamples, config: TrainConfig, parts: Cut, splits: dict[str, _Split]
) -> Feed:
    def train_batches(**plan: Any) -> tf.data.Dataset:
        return (
            dataset.train_places(examples, config, **plan)
            .batch(plan["batch_size"], drop_remainder=True)
            .map(lambda _, numbers: splits["train"].read(numbers, examples.num_classes))
            .prefetch(2)
        )

    def eval_batches(batch_size: int, num_shards: int = 1, shard: int = 0) -> tf.data.Dataset:
        return (
            tf.data.Dataset.range(len(splits["eval"].ids))
            .shard(num_shards, shard)
            .batch(batch_size)
            .map(lambda numbers: splits["eval"].read(numbers, examples.num_classes))
            .prefetch(2)
        )

    return Feed(parts.head, parts.inference_head, train_batches, eval_batches)
