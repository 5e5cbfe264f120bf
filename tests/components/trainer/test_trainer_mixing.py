"""mixup and cutmix: images and targets are mixed alike, and the same again after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from stored_samples import write_stored

from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.trainer import dataset, mixing
from slimworks.components.trainer.config import TrainConfig

N = 16
# Image i is i everywhere, so that a pixel tells where it is from.
IMAGES = tf.tile(tf.range(N, dtype=tf.float32)[:, None, None, None], [1, 20, 30, 3])
TARGETS = tf.one_hot(tf.range(N), N)
SEED = tf.constant([1, 2], tf.int64)


def test_mixup_blends_images_and_targets_in_the_same_shares() -> None:
    images, targets = (value.numpy() for value in mixing.mixup(IMAGES, TARGETS, 1.0, SEED))
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert (np.count_nonzero(targets, axis=1) == 2).all()
    np.testing.assert_allclose(images[:, 0, 0, 0], targets @ np.arange(N), rtol=1e-5)
    assert np.ptp(images, axis=(1, 2, 3)).max() == 0
    assert np.std(targets.max(axis=1)) > 0.05, "each image has a share of its own"


def test_small_alphas_mix_little() -> None:
    def main_share(alpha: float) -> float:
        shares = [
            mixing.mixup(IMAGES, TARGETS, alpha, tf.constant([n, 0]))[1].numpy().max(axis=1).mean()
            for n in range(20)
        ]
        return float(np.mean(shares))

    # The mean of max(s, 1 - s), s from Beta(alpha, alpha): 0.75 for the uniform.
    assert 0.72 < main_share(1.0) < 0.78
    assert main_share(0.1) > 0.9
    assert np.isfinite(mixing.mixup(IMAGES, TARGETS, 1e-3, SEED)[1]).all()


def test_cutmix_pastes_one_rectangle_and_counts_its_pixels() -> None:
    images, targets = (value.numpy() for value in mixing.cutmix(IMAGES, TARGETS, 1.0, SEED))
    areas = []
    for number in range(N):
        neighbour = (number - 1) % N
        pasted = images[number, :, :, 0] == neighbour
        assert set(np.unique(images[number])) <= {number, neighbour}
        assert pasted.sum() == pasted.any(axis=1).sum() * pasted.any(axis=0).sum()
        np.testing.assert_allclose(targets[number, neighbour], pasted.mean(), atol=1e-6)
        np.testing.assert_allclose(targets[number, number], 1 - pasted.mean(), atol=1e-6)
        areas.append(pasted.mean())
    assert np.std(areas) > 0.1


def test_with_both_each_step_is_one_of_the_two() -> None:
    mix = mixing.mixer(AugmentationSettings(mixup_alpha=1.0, cutmix_alpha=1.0), seed=3)
    assert mix is not None
    kinds = []
    for step in range(40):
        images = mix(IMAGES, TARGETS, tf.constant(step, tf.int64), 0)[0].numpy()
        kinds.append("mixup" if images[0].min() == images[0].max() > 0 else "cutmix")
    assert 10 < kinds.count("mixup") < 30


@pytest.mark.parametrize(
    "settings", [{}, {"mixup_alpha": 1.0, "cutmix_alpha": 1.0, "enabled": False}]
)
def test_nothing_is_mixed_unless_asked_for(settings: dict[str, object]) -> None:
    assert mixing.mixer(AugmentationSettings.model_validate(settings), seed=0) is None


def test_seed_step_and_shard_change_what_is_mixed() -> None:
    def shares(seed: int, step: int, shard: int) -> bytes:
        mix = mixing.mixer(AugmentationSettings(mixup_alpha=0.4), seed)
        assert mix is not None
        return mix(IMAGES, TARGETS, tf.constant(step, tf.int64), shard)[1].numpy().tobytes()

    assert len({shares(0, 0, 0), shares(1, 0, 0), shares(0, 1, 0), shares(0, 0, 1)}) == 4
    assert shares(0, 1, 0) == shares(0, 1, 0)


@pytest.mark.parametrize("settings", [{"mixup_alpha": 0.3}, {"mixup_alpha": 1, "cutmix_alpha": 1}])
def test_a_resumed_training_mixes_the_same(tmp_path: Path, settings: dict[str, float]) -> None:
    stored = write_stored(tmp_path, [number % 3 for number in range(30)])
    config = TrainConfig(seed=9, augmentation=AugmentationSettings(**settings))

    def batches(first_step: int) -> list[dataset.Batch]:
        return list(
            dataset.train_batches(
                stored, config,
                batch_size=8, steps_per_epoch=3, first_step=first_step, num_steps=7,
            )
        )  # fmt: skip

    for whole, resumed in zip(batches(0)[4:], batches(4), strict=True):
        np.testing.assert_array_equal(whole.inputs, resumed.inputs)
        np.testing.assert_array_equal(whole.targets, resumed.targets)
        assert whole.targets.numpy().max(axis=1).min() < 1
        np.testing.assert_allclose(whole.targets.numpy().sum(axis=1), 1, rtol=1e-6)
