"""Batches: every image once an epoch, the same after any interruption and over any workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from stored_samples import write_stored

from slimworks.components import contracts
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.trainer import dataset
from slimworks.components.trainer.config import TrainConfig

NUM_IMAGES, BATCH_SIZE, STEPS_PER_EPOCH = 37, 8, 4


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dataset.StoredExamples:
    classes = [number % 3 for number in range(NUM_IMAGES)]
    return write_stored(tmp_path_factory.mktemp("stored"), classes)


def _batches(
    examples: dataset.StoredExamples, first_step: int = 0, num_steps: int = 11,
    config: TrainConfig | None = None, **options: Any,
) -> list[dataset.Batch]:  # fmt: skip
    found = dataset.train_batches(
        examples,
        config or TrainConfig(seed=3),
        batch_size=BATCH_SIZE,
        steps_per_epoch=STEPS_PER_EPOCH,
        first_step=first_step,
        num_steps=num_steps,
        **options,
    )
    return [dataset.Batch(*(value.numpy() for value in batch)) for batch in found]


def _assert_equal(first: list[dataset.Batch], second: list[dataset.Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for value, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(value, same)


def _ids(batches: list[dataset.Batch]) -> list[int]:
    return [int(image_id) for batch in batches for image_id in batch.ids]


def test_a_batch_holds_inputs_targets_and_ids(examples: dataset.StoredExamples) -> None:
    batch = _batches(examples, num_steps=1)[0]
    assert batch.inputs.shape == (BATCH_SIZE, 16, 16, 1)
    assert batch.inputs.dtype == np.float32
    assert batch.targets.shape == (BATCH_SIZE, 3)
    classes = [int(image_id) % 3 for image_id in batch.ids]
    np.testing.assert_array_equal(batch.targets, np.eye(3, dtype=np.float32)[classes])


def test_images_and_labels_belong_together(examples: dataset.StoredExamples) -> None:
    plain = TrainConfig(augmentation=AugmentationSettings(enabled=False))
    by_id = {int(i): image for b in dataset.eval_batches(examples, "train", 5)
             for i, image in zip(b.ids.numpy(), b.inputs.numpy(), strict=True)}  # fmt: skip
    assert sorted(by_id) == list(range(NUM_IMAGES))
    for batch in _batches(examples, config=plain):
        for image_id, image in zip(batch.ids, batch.inputs, strict=True):
            np.testing.assert_array_equal(image, by_id[int(image_id)])


def test_no_image_comes_twice_in_an_epoch_and_all_come_in_time(
    examples: dataset.StoredExamples,
) -> None:
    batches = _batches(examples, num_steps=10 * STEPS_PER_EPOCH)
    epochs = [_ids(batches[at : at + STEPS_PER_EPOCH]) for at in range(0, 40, STEPS_PER_EPOCH)]
    assert all(len(set(epoch)) == STEPS_PER_EPOCH * BATCH_SIZE for epoch in epochs)
    assert set().union(*epochs) == set(range(NUM_IMAGES)), "others are left out every time"
    assert len({tuple(epoch) for epoch in epochs}) == 10


def test_the_whole_split_is_shuffled(tmp_path: Path) -> None:
    """Sorted by class, and larger than any buffer: batches still are as mixed as by chance."""
    classes = [number // 500 for number in range(2_000)]
    stored = write_stored(tmp_path, classes, size=2, num_shards=2)
    batches = dataset.train_batches(
        stored, TrainConfig(), batch_size=50, steps_per_epoch=40, first_step=0, num_steps=40
    )
    counts = np.stack([batch.targets.numpy().sum(axis=0) for batch in batches])
    # Hypergeometric: mean 12.5, variance 9.1; 160 counts.
    assert 6 < counts.var(axis=0).mean() < 13
    assert 0 < counts.min() < counts.max() < 30


@pytest.mark.parametrize("first_step", [1, 4, 6, 10])
def test_a_resumed_training_sees_the_same_batches(
    examples: dataset.StoredExamples, first_step: int
) -> None:
    _assert_equal(_batches(examples, first_step), _batches(examples)[first_step:])


@pytest.mark.parametrize("balance", ["none", "sample"])
@pytest.mark.parametrize("num_shards", [2, 4])
def test_workers_share_the_batch_of_one_process(
    examples: dataset.StoredExamples, num_shards: int, balance: str
) -> None:
    config = TrainConfig(seed=3, balance=balance)
    parts = [
        _batches(examples, config=config, num_shards=num_shards, shard=shard)
        for shard in range(num_shards)
    ]
    joined = [
        dataset.Batch(*(np.concatenate(values) for values in zip(*step, strict=True)))
        for step in zip(*parts, strict=True)
    ]
    _assert_equal(joined, _batches(examples, config=config))


def test_a_worker_resumes_within_its_own_part(examples: dataset.StoredExamples) -> None:
    whole = _batches(examples, num_shards=2, shard=1)
    _assert_equal(_batches(examples, 6, num_shards=2, shard=1), whole[6:])


def test_a_batch_that_workers_cannot_share_names_one_that_they_can(
    examples: dataset.StoredExamples,
) -> None:
    with pytest.raises(ConfigError, match=r"batch of 8 images .* among 3 workers") as caught:
        _batches(examples, num_shards=3)
    assert "train.batch_size=9;" in caught.value.fix


def test_seed_and_sequence_change_order_and_distortions(examples: dataset.StoredExamples) -> None:
    first, other = _batches(examples), _batches(examples, config=TrainConfig(seed=4))
    sequence = _batches(examples, sequence=1)
    assert len({tuple(_ids(batches)) for batches in (first, other, sequence)}) == 3
    by_id = [dict(zip(b[0].ids, b[0].inputs, strict=True)) for b in (first, other, sequence)]
    common = set(by_id[0]) & set(by_id[1])
    assert any(not np.array_equal(by_id[0][key], by_id[1][key]) for key in common)


def test_an_image_is_distorted_anew_in_every_epoch(examples: dataset.StoredExamples) -> None:
    batches = _batches(examples, num_steps=2 * STEPS_PER_EPOCH)
    first, second = (
        {i: x for b in part for i, x in zip(b.ids, b.inputs, strict=True)}
        for part in (batches[:STEPS_PER_EPOCH], batches[STEPS_PER_EPOCH:])
    )
    changed = [not np.array_equal(first[key], second[key]) for key in set(first) & set(second)]
    assert np.mean(changed) > 0.8  # of 25 shifts, some are the same


def test_readers_and_threads_change_nothing(examples: dataset.StoredExamples) -> None:
    threads = TrainConfig(seed=3, num_readers=3, num_preprocessing_threads=1)
    _assert_equal(_batches(examples, config=threads), _batches(examples))


def test_evaluation_reads_every_example_once_over_all_workers(
    examples: dataset.StoredExamples,
) -> None:
    whole = list(dataset.eval_batches(examples, "train", 10))
    assert [len(batch.ids) for batch in whole] == [10, 10, 10, 7]
    assert _ids([dataset.Batch(*b) for b in whole]) == list(range(NUM_IMAGES))
    parts = [list(dataset.eval_batches(examples, "train", 10, 3, shard)) for shard in range(3)]
    assert sorted(number for part in parts for number in _ids(part)) == list(range(NUM_IMAGES))


def test_classes_are_counted_in_the_order_of_the_records(
    examples: dataset.StoredExamples,
) -> None:
    np.testing.assert_array_equal(
        examples.class_indices("train"), [number % 3 for number in range(NUM_IMAGES)]
    )
    assert examples.class_counts("train") == [13, 12, 12]
    assert examples.count("train") == NUM_IMAGES


def test_any_record_is_read_by_its_number(examples: dataset.StoredExamples) -> None:
    index = examples.index("train")
    numbers = [36, 0, 12, 13, 12]  # 12 and 13: around the end of a shard
    found = tf.data.Dataset.from_tensor_slices(tf.constant(numbers, tf.int64)).map(
        lambda number: examples.parse(index.read(number))[2]
    )
    assert [int(image_id) for image_id in found.as_numpy_iterator()] == numbers


def test_a_shard_that_is_cut_short_is_named(tmp_path: Path) -> None:
    stored = write_stored(tmp_path, [0, 1, 0, 1], num_shards=2)
    shard = Path(contracts.split_files(tmp_path, "train")[1])
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"00001-of-00002 is damaged .* ends inside") as caught:
        stored.count("train")
    assert caught.value.fix.startswith("Run again with --no-cache=transform")
    assert caught.value.exit_code == 3
