"""Classes with few images: drawn evenly, weighted, and recognised better for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from stored_samples import stored_example, write_stored

from slimworks.components import contracts
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.preprocessing.serialization import serialize_stored
from slimworks.components.trainer import dataset, order
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train
from slimworks.components.transform.config import TransformSettings
from slimworks.components.transform.graph import build_graph

CLASSES = np.array([2] * 50 + [0] * 7 + [5] * 1 + [2] * 10 + [0] * 6)
NUM_DRAWS = 72


def _epochs(count: int, seed: int = 4) -> list[np.ndarray]:
    draw = tf.function(order.balanced_order(CLASSES, NUM_DRAWS, seed))
    return [draw(tf.constant(epoch, tf.int64)).numpy() for epoch in range(count)]


def test_every_class_is_drawn_as_often() -> None:
    for epoch in _epochs(3):
        counts = np.bincount(CLASSES[epoch])
        np.testing.assert_array_equal(counts[[0, 2, 5]], [24, 24, 24])
        # Not only in all: any stretch of an epoch is as balanced.
        assert np.ptp(np.bincount(CLASSES[epoch[:30]])[[0, 2, 5]]) == 0


def test_the_images_of_a_class_are_repeated_evenly() -> None:
    draws = np.concatenate(_epochs(7))
    for at in (NUM_DRAWS, 3 * NUM_DRAWS, len(draws)):
        times = np.bincount(draws[:at], minlength=len(CLASSES))
        for number in (0, 2, 5):
            assert np.ptp(times[number == CLASSES]) <= 1, "none again before all have come"
    # 60 images of class 2 in 24 draws an epoch: all have come in the third.
    assert np.bincount(draws[: 3 * NUM_DRAWS], minlength=len(CLASSES)).min() >= 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first, again, other = _epochs(3), _epochs(3), _epochs(3, seed=5)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    classes = [tuple(CLASSES[epoch[:9]]) for epoch in first]
    assert len(set(classes)) > 1, "the classes take turns in changing orders"


def test_a_class_without_images_is_left_out() -> None:
    assert set(CLASSES[_epochs(1)[0]]) == {0, 2, 5}


def test_shuffled_order_is_each_example_once_in_any_order() -> None:
    draw = order.shuffled_order(40, seed=3)
    epochs = np.stack([draw(tf.constant(epoch, tf.int64)).numpy() for epoch in range(400)])
    assert (np.sort(epochs, axis=1) == np.arange(40)).all()
    counts = np.stack([np.bincount(epochs[:, place], minlength=40) for place in range(40)])
    # Chi-squared over 39 * 39 degrees of freedom: mean 1, deviation 0.036.
    assert 0.85 < ((counts - 10) ** 2 / 10).sum() / 39**2 < 1.15


def test_batches_of_a_balanced_training_are_balanced_and_resumable(tmp_path: Path) -> None:
    stored = write_stored(tmp_path, [0] * 40 + [1] * 6)

    def batches(balance: str, first_step: int = 0) -> list[dataset.Batch]:
        config = TrainConfig(balance=balance, seed=2)
        options = {"batch_size": 10, "steps_per_epoch": 4, "num_steps": 9}
        found = dataset.train_batches(stored, config, first_step=first_step, **options)
        return [dataset.Batch(*(value.numpy() for value in batch)) for batch in found]

    balanced = batches("sample")
    assert all(batch.targets[:, 1].sum() == 5 for batch in balanced)
    assert sum(batch.targets[:, 1].sum() for batch in batches("none")) < 20
    for whole, resumed in zip(balanced[5:], batches("sample", 5), strict=True):
        np.testing.assert_array_equal(whole.ids, resumed.ids)
        np.testing.assert_array_equal(whole.inputs, resumed.inputs)


def test_an_unknown_balance_names_the_known() -> None:
    with pytest.raises(ValueError, match="'none', 'weights', 'sample' or 'focal'"):
        TrainConfig.model_validate({"balance": "oversample"})


@pytest.fixture(scope="module")
def rare_flowers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainInputs:
    """Real photos: 110 of each of three classes, 10 of each of two; 25 of each to evaluate."""
    folder = tmp_path_factory.mktemp("rare")
    photos = shared / "data" / "datasets" / "flowers_800"
    names = sorted(path.name for path in photos.iterdir())
    inception = get_preprocessing("inception")
    store = tf.function(
        lambda encoded: serialize_stored(inception.to_stored(encoded, 146, 3)),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    bounds = {
        "eval": [(0, 25)] * 5,
        "train": [(25, 135)] * 3 + [(25, 35)] * 2,
    }
    for split, ranges in bounds.items():
        target = contracts.split_folder(folder / "stored", split)
        target.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(target / "data_tfrecord-00000-of-00001")) as writer:
            for class_index, (name, (start, stop)) in enumerate(zip(names, ranges, strict=True)):
                for path in sorted((photos / name).iterdir())[start:stop]:
                    pixels = store(path.read_bytes()).numpy()
                    writer.write(stored_example(path.name, class_index, pixels))
    build_graph(folder / "graph", TransformSettings(family="inception", stored_size=146))
    contracts.LabelMap(tuple(names)).write(folder / "label_map")
    return TrainInputs(*(str(folder / name) for name in ("stored", "graph", "label_map")))


@pytest.mark.big
@pytest.mark.shared
@pytest.mark.timeout(1200)
def test_rare_classes_are_recognised_better_with_weights_and_with_sampling(
    rare_flowers: TrainInputs, shared: Path, tmp_path: Path
) -> None:
    """The eval split is balanced, so that its accuracy is the mean recall of the classes."""

    def mean_recall(balance: str) -> float:
        config = TrainConfig(
            checkpoint_path=str(shared / "data" / "checkpoints" / "mobilenet_v1_0.25_128"),
            balance=balance,
            epochs=4,
            seed=1,
        )
        folder = tmp_path / balance
        facts = train(
            rare_flowers, str(folder / "model"), str(folder / "work"),
            ModelConfig(net="mobilenet_v1_025"), config, ExportConfig(),
        )  # fmt: skip
        return float(facts["best_eval_accuracy"])

    recall = {balance: mean_recall(balance) for balance in ("none", "weights", "sample")}
    # Seen with 6 epochs: none 0.61, focal 0.63, weights and sample 0.76.
    assert recall["weights"] > recall["none"] + 0.05, recall
    assert recall["sample"] > recall["none"] + 0.05, recall
