"""Preprocessing by a network's name, as TF-Slim's programs ask for it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY
from slimworks.components.preprocessing import families, geometry
from slimworks.components.preprocessing.preprocessing_factory import get_preprocessing

PIXELS = np.random.default_rng(3).integers(0, 256, (50, 60, 3)).astype(np.uint8)
IMAGE = tf.constant(PIXELS)


@pytest.mark.parametrize("name", [*REGISTRY, *geometry.FAMILIES])
def test_every_network_and_family_has_its_preprocessing(name: str) -> None:
    family = REGISTRY[name].preprocessing if name in REGISTRY else name
    expected = families.get_preprocessing(family).preprocess_for_eval(IMAGE, 24, 20)
    np.testing.assert_array_equal(get_preprocessing(name)(IMAGE, 24, 20), expected)


@pytest.mark.parametrize("family", geometry.FAMILIES)
def test_training_with_a_seed_is_the_pure_function(family: str) -> None:
    preprocess = get_preprocessing(family, is_training=True, use_grayscale=True)
    expected = families.get_preprocessing(family).preprocess_for_train(
        IMAGE, 24, 20, [1, 2], use_grayscale=True
    )
    assert expected.shape == (24, 20, 1)
    np.testing.assert_array_equal(preprocess(IMAGE, 24, 20, seed=[1, 2]), expected)


@pytest.mark.parametrize("family", ["cifarnet", "inception", "vgg"])
def test_training_without_a_seed_draws_anew_as_tf_slim_does(family: str) -> None:
    preprocess = get_preprocessing(family, is_training=True)
    dataset = tf.data.Dataset.from_tensors(IMAGE).repeat(3).map(lambda x: preprocess(x, 24, 24))
    assert len({image.tobytes() for image in dataset.as_numpy_iterator()}) == 3
    batch = preprocess(tf.repeat(IMAGE[None], 2, axis=0), 24, 24)
    assert not np.array_equal(batch[0], batch[1])


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inception_v3", {"bbox": None, "fast_mode": False, "crop_image": False}),
        ("inception_v3", {"add_image_summaries": False}),
        ("vgg_16", {"resize_side_min": 30, "resize_side_max": 40}),
        ("cifarnet", {"padding": 2, "add_image_summaries": False}),
    ],
)
def test_tf_slims_options_are_taken_in_training_and_evaluation(
    name: str, options: dict[str, object], is_training: bool
) -> None:
    image = get_preprocessing(name, is_training=is_training)(IMAGE, 24, 20, **options)
    assert image.shape == (24, 20, 3)


def test_factory_works_in_a_tf1_graph_without_a_seed() -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = get_preprocessing("resnet_v1_50", is_training=True)(tf.constant(PIXELS), 224, 224)
        first, second = session.run(image), session.run(image)
    assert not np.array_equal(first, second)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        get_preprocessing("inception_v9")
    assert caught.value.cause == (
        "Preprocessing 'inception_v9' is neither a network's name nor a family; the families are "
        "cifarnet, inception, lenet, vgg."
    )
    assert caught.value.fix.startswith(
        "Choose a family or a network; `slimworks nets` lists them. Did you mean 'inception_v"
    )
