"""Random erasing, TF-Slim's own distortions, and settings that exclude each other."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.preprocessing import erasing, families, geometry
from slimworks.components.preprocessing.config import AugmentationSettings


def test_erasing_blanks_one_rectangle_of_some_images() -> None:
    erase = tf.function(lambda seed: erasing.random_erasing(tf.ones([40, 40, 3]), 0.5, seed))
    areas = []
    for number in range(200):
        blank = erase(tf.constant([number, 2], tf.int64)).numpy()[..., 0] == 0
        rows, columns = blank.any(axis=1), blank.any(axis=0)
        assert blank.sum() == rows.sum() * columns.sum(), "one rectangle"
        areas.append(blank.mean())
    erased = [area for area in areas if area]
    assert 70 < len(erased) < 130
    assert min(erased) > 0
    assert 0.28 < max(erased) < 0.38
    assert np.std(erased) > 0.05


@pytest.mark.parametrize(("probability", "expected"), [(0.0, False), (1.0, True)])
def test_erasing_is_part_of_training_on_request(probability: float, expected: bool) -> None:
    preprocessing = families.get_preprocessing("vgg")
    stored = tf.fill([36, 36, 3], tf.constant(255, tf.uint8))
    settings = AugmentationSettings(random_erasing_probability=probability)
    image = preprocessing.for_train(stored, 32, tf.constant([5, 6]), settings).numpy()
    assert (image == 0).any() == expected


@pytest.mark.parametrize("name", geometry.FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_slim_style_is_tf_slims_own(name: str, channels: int) -> None:
    preprocessing = families.get_preprocessing(name)
    size = preprocessing.stored_size(32)
    pixels = np.random.default_rng(1).integers(0, 256, (size, size, channels), np.uint8)
    stored, seed = tf.constant(pixels), tf.constant([3, 4], tf.int64)
    settings = AugmentationSettings(style="slim")
    np.testing.assert_array_equal(
        preprocessing.for_train(stored, 32, seed, settings),
        preprocessing.preprocess_for_train(stored, 32, 32, seed),
    )


def test_slim_styles_slow_mode_draws_more() -> None:
    inception = families.get_preprocessing("inception")
    stored = tf.constant(np.random.default_rng(1).integers(0, 256, (36, 36, 3), np.uint8))
    seed = tf.constant([3, 4], tf.int64)
    slow = AugmentationSettings(style="slim", fast_mode=False)
    np.testing.assert_array_equal(
        inception.for_train(stored, 32, seed, slow),
        inception.preprocess_for_train(stored, 32, 32, seed, fast_mode=False),
    )
    fast = inception.for_train(stored, 32, seed, AugmentationSettings(style="slim"))
    assert np.abs(inception.for_train(stored, 32, seed, slow) - fast).max() > 1e-3


def test_slim_style_refuses_settings_that_it_has_not() -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.flip has no effect with style: slim"):
        AugmentationSettings(style="slim", flip=False)
    with pytest.raises(ConfigError, match="fast_mode has no effect without style: slim") as caught:
        AugmentationSettings(fast_mode=False)
    assert caught.value.fix.endswith("set train.augmentation.style=slim.")
