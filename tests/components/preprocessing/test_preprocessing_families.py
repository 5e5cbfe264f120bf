"""Every family keeps the promises of its record."""

from __future__ import annotations

import io

import numpy as np
import pydantic
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components.errors import ConfigError
from slimworks.components.preprocessing import families, geometry, resizing, serialization
from slimworks.components.preprocessing.config import AugmentationSettings

RANGES = {"inception": (-1.0, 1.0), "lenet": (-1.0, 127 / 128), "vgg": (-123.68, 151.06)}
PLAIN = AugmentationSettings(
    min_crop_area_fraction=1.0, flip=False, color_jitter=False, max_shift_pixels=0
)


def stored_images(family: str, image_size: int, num_channels: int = 3, count: int = 2) -> tf.Tensor:
    size = geometry.stored_size(family, image_size)
    pixels = np.random.default_rng(7).integers(0, 256, (count, size, size, num_channels))
    return tf.constant(pixels, tf.uint8)


def png(pixels: np.ndarray) -> tf.Tensor:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return tf.constant(stream.getvalue())


@pytest.fixture(params=geometry.FAMILIES)
def family(request: pytest.FixtureRequest) -> families.Preprocessing:
    return families.get_preprocessing(request.param)


def test_unknown_family_names_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'incepton' is unknown.*Did you mean 'inception'"):
        families.get_preprocessing("incepton")


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [("inception", 128, 146), ("inception", 224, 256), ("inception", 299, 341), ("vgg", 224, 256),
     ("cifarnet", 32, 32), ("lenet", 28, 28)],
)  # fmt: skip
def test_stored_sizes(name: str, image_size: int, expected: int) -> None:
    assert families.get_preprocessing(name).stored_size(image_size) == expected


@pytest.mark.parametrize("image_size", range(8, 400, 13))
def test_margins_are_equal_on_both_sides(image_size: int) -> None:
    assert (geometry.stored_size("vgg", image_size) - image_size) % 2 == 0


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (1, 1), (1, 500), (7, 9)])
def test_any_shape_is_stored_as_a_square(
    family: families.Preprocessing, shape: tuple[int, int], num_channels: int
) -> None:
    encoded = png(np.full((*shape, 3), 200, np.uint8))
    stored = family.to_stored(encoded, 36, num_channels)
    assert stored.dtype == tf.uint8
    np.testing.assert_array_equal(stored, np.full((36, 36, num_channels), 200))


def test_image_of_stored_size_is_stored_unchanged(family: families.Preprocessing) -> None:
    pixels = stored_images(family.family, 28)[0].numpy()
    stored = family.to_stored(png(pixels), len(pixels), 3)
    np.testing.assert_array_equal(stored, pixels)


def test_vgg_keeps_the_shape_and_inception_warps() -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 255  # the central square is white, the rest black
    vgg = families.get_preprocessing("vgg").to_stored(png(pixels), 40, 3)
    inception = families.get_preprocessing("inception").to_stored(png(pixels), 40, 3)
    assert vgg.numpy().mean() == 255
    assert 80 < inception.numpy().mean() < 90


@pytest.mark.parametrize("num_channels", [1, 3])
def test_eval_has_the_network_shape_and_range(
    family: families.Preprocessing, num_channels: int
) -> None:
    images = family.for_eval(stored_images(family.family, 28, num_channels), 28)
    assert images.shape == (2, 28, 28, num_channels)
    assert images.dtype == tf.float32
    if family.family == "cifarnet":
        np.testing.assert_allclose(tf.reduce_mean(images, [1, 2, 3]), 0, atol=1e-5)
        np.testing.assert_allclose(tf.math.reduce_std(images, [1, 2, 3]), 1, atol=1e-5)
    else:
        low, high = RANGES[family.family]
        assert images.numpy().min() >= low - 1e-4
        assert images.numpy().max() <= high + 1e-4


@pytest.mark.parametrize("stored_size", [20, 32, 57])
def test_eval_shows_the_same_part_of_the_scene_at_any_stored_size(stored_size: int) -> None:
    ramp = np.linspace(0, 255, stored_size)
    stored = tf.constant(
        np.broadcast_to(ramp[None, None, :, None], (1, stored_size, stored_size, 3))
    )
    view = families.get_preprocessing("inception").for_eval(tf.cast(stored, tf.uint8), 28)
    left, right = (view.numpy()[0, 14, column, 0] for column in (0, -1))
    assert -1 < left < -0.78
    assert 0.7 < right < 1


@pytest.mark.parametrize("num_channels", [1, 3])
def test_train_has_the_shape_and_range_of_eval(
    family: families.Preprocessing, num_channels: int
) -> None:
    stored = stored_images(family.family, 28, num_channels)[0]
    for number in range(10):
        image = family.for_train(stored, 28, tf.constant([number, 1]), AugmentationSettings())
        assert image.shape == (28, 28, num_channels)
        assert image.dtype == tf.float32
        if family.family in RANGES:
            low, high = RANGES[family.family]
            assert image.numpy().min() >= low - 1e-4
            assert image.numpy().max() <= high + 1e-4


def test_train_depends_on_the_seed_alone(family: families.Preprocessing) -> None:
    stored = stored_images(family.family, 28)[0]
    settings = AugmentationSettings()
    seeds = [tf.constant([3, number], tf.int64) for number in range(4)]
    first = [family.for_train(stored, 28, seed, settings).numpy() for seed in seeds]
    dataset = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: family.for_train(stored, 28, seed, settings)
    )
    again = list(dataset.as_numpy_iterator())
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-4)
    assert len({image.tobytes() for image in first}) == 4


def test_without_augmentation_train_equals_eval(family: families.Preprocessing) -> None:
    stored = stored_images(family.family, 28)
    seed = tf.constant([1, 2])
    image = family.for_train(stored[0], 28, seed, AugmentationSettings(enabled=False))
    np.testing.assert_allclose(image, family.for_eval(stored, 28)[0], rtol=0, atol=1e-6)


def test_plain_augmentation_shows_the_whole_stored_image(family: families.Preprocessing) -> None:
    size = family.stored_size(28)
    stored = tf.cast(tf.random.stateless_uniform([1, size, size, 3], [1, 2]) * 255, tf.uint8)
    seeds = (tf.constant([1, 1]), tf.constant([2, 2]))
    first, second = (family.for_train(stored[0], 28, seed, PLAIN) for seed in seeds)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("flip", "expected"), [(None, False), (True, True)])
def test_lenet_is_mirrored_only_on_request(flip: bool | None, expected: bool) -> None:
    lenet = families.get_preprocessing("lenet")
    stored = stored_images("lenet", 28)[0]
    settings = AugmentationSettings(flip=flip, max_shift_pixels=0)
    plain = lenet.for_eval(stored[tf.newaxis], 28)[0].numpy()
    mirrored = [
        np.array_equal(lenet.for_train(stored, 28, tf.constant([0, n]), settings), plain[:, ::-1])
        for n in range(12)
    ]
    assert any(mirrored) is expected


@pytest.mark.parametrize("name", ["inception", "vgg"])
def test_crops_stay_inside_the_image(name: str) -> None:
    """A white image stays white: no black border comes in from outside."""
    preprocessing = families.get_preprocessing(name)
    size = preprocessing.stored_size(28)
    stored = tf.fill([size, size, 3], tf.constant(255, tf.uint8))
    settings = AugmentationSettings(min_crop_area_fraction=0.05, color_jitter=False)
    white = preprocessing.for_eval(stored[tf.newaxis], 28)[0]
    for number in range(30):
        image = preprocessing.for_train(stored, 28, tf.constant([number, 5]), settings)
        np.testing.assert_allclose(image, white, rtol=0, atol=1e-3)


def test_crop_areas_keep_to_the_setting() -> None:
    """On a horizontal ramp the range of values tells the width of the crop."""
    inception = families.get_preprocessing("inception")
    ramp = tf.cast(tf.tile(tf.range(146)[None, :, None], [146, 1, 3]), tf.uint8)
    settings = AugmentationSettings(min_crop_area_fraction=0.5, flip=False, color_jitter=False)
    for number in range(20):
        image = inception.for_train(ramp, 128, tf.constant([number, 9]), settings).numpy()
        width = (image[0, -1, 0] - image[0, 0, 0]) * 127.5 / 146
        assert (0.5 * 3 / 4) ** 0.5 - 0.02 < width <= 1.0


def test_cifarnet_jitter_survives_the_standardisation() -> None:
    cifarnet = families.get_preprocessing("cifarnet")
    stored = stored_images("cifarnet", 32)[0]
    settings = AugmentationSettings(flip=False, max_shift_pixels=0)
    plain = cifarnet.for_eval(stored[tf.newaxis], 32)[0]
    images = [cifarnet.for_train(stored, 32, tf.constant([n, 4]), settings) for n in range(8)]
    assert max(np.abs(image - plain).max() for image in images) > 0.2


def test_shift_moves_by_whole_pixels_in_both_directions() -> None:
    image = tf.reshape(tf.range(25.0), [5, 5, 1])
    first = resizing.shifted(image, 1, [tf.constant(0.0), tf.constant(0.99)])
    np.testing.assert_array_equal(first[1:, :-1, 0], image[:-1, 1:, 0])
    np.testing.assert_array_equal(first[0, :, 0], np.zeros(5))


def test_legacy_resize_samples_from_the_top_left_corner() -> None:
    image = tf.reshape(tf.range(8.0), [1, 8, 1])
    np.testing.assert_array_equal(resizing.resize_legacy(image, 1, 4)[0, :, 0], [0, 2, 4, 6])


def test_extreme_shape_does_not_fill_the_memory() -> None:
    strip = png(np.full((1, 30_000, 3), 90, np.uint8))
    stored = families.get_preprocessing("vgg").to_stored(strip, 256, 3)
    assert (stored.numpy() == 90).all()


def test_serialized_image_comes_back() -> None:
    stored = stored_images("inception", 28)[0]
    size = stored.shape[0]
    serialized = serialization.serialize_stored(stored)
    assert len(serialized.numpy()) < stored.numpy().size + 64
    np.testing.assert_array_equal(serialization.parse_stored(serialized, size, 3), stored)
    with pytest.raises(tf.errors.InvalidArgumentError):
        serialization.parse_stored(serialized, size + 1, 3)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_crop_area_is_a_fraction(value: float) -> None:
    with pytest.raises(pydantic.ValidationError, match="min_crop_area_fraction"):
        AugmentationSettings(min_crop_area_fraction=value)
