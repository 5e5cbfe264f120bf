"""TF-Slim's own preprocessing of whole photos: every option, one image and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.preprocessing import colors, families, geometry, inception, resizing

CASES: list[tuple[str, dict[str, Any]]] = [
    ("cifarnet", {}),
    ("inception", {}),
    ("inception", {"fast_mode": False}),
    ("lenet", {}),
    ("vgg", {"resize_side_min": 50, "resize_side_max": 70}),
]
COUNT = 400  # of random draws; four standard deviations of a fair coin are 40


def photos(count: int = 2, height: int = 47, width: int = 64, channels: int = 3) -> tf.Tensor:
    pixels = np.random.default_rng(5).integers(0, 256, (count, height, width, channels))
    return tf.constant(pixels, tf.uint8)


def seeds(count: int) -> tf.Tensor:
    return tf.stack([tf.range(count), tf.fill([count], 7)], axis=1)


def train(family: str, images: tf.Tensor, height: int, width: int, **options: Any) -> np.ndarray:
    """One output per image, each with its own seed."""
    function = families.get_preprocessing(family).preprocess_for_train
    graph = tf.function(
        lambda images, seeds: function(images, height, width, seeds, **options), autograph=False
    )
    return graph(images, seeds(images.shape[0])).numpy()


@pytest.mark.parametrize("use_grayscale", [False, True])
@pytest.mark.parametrize(("family", "options"), CASES)
def test_one_image_batch_graph_and_dataset_give_the_same_training_pixels(
    family: str, options: dict[str, Any], use_grayscale: bool
) -> None:
    function = families.get_preprocessing(family).preprocess_for_train

    def varied(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        return function(images, 36, 28, seeds, use_grayscale=use_grayscale, **options)

    images, both = photos(), seeds(2)
    single = [varied(image, seed).numpy() for image, seed in zip(images, both, strict=True)]
    assert single[0].shape == (36, 28, 1 if use_grayscale else 3)
    np.testing.assert_array_equal(varied(images, both), single)
    graph = tf.function(varied, autograph=False)
    np.testing.assert_array_equal(graph(images, both), single)
    dataset = tf.data.Dataset.from_tensor_slices((images, both)).map(varied)
    np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), single)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", geometry.FAMILIES)
def test_one_image_batch_graph_and_dataset_give_the_same_evaluation_pixels(
    family: str, channels: int
) -> None:
    function = families.get_preprocessing(family).preprocess_for_eval

    def plain(images: tf.Tensor) -> tf.Tensor:
        return function(images, 30, 40)

    images = photos(channels=channels)
    single = [plain(image).numpy() for image in images]
    assert single[0].shape == (30, 40, channels)
    np.testing.assert_array_equal(plain(images), single)
    np.testing.assert_array_equal(tf.function(plain, autograph=False)(images), single)
    dataset = tf.data.Dataset.from_tensor_slices(images).map(plain)
    np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), single)


@pytest.mark.parametrize(("family", "options"), CASES)
def test_the_seed_alone_decides(family: str, options: dict[str, Any]) -> None:
    same = tf.repeat(photos(1), 3, axis=0)
    first, second = (train(family, same, 40, 40, **options) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len({image.tobytes() for image in first}) == (1 if family == "lenet" else 3)


@pytest.mark.parametrize("family", geometry.FAMILIES)
def test_functions_run_in_a_tf1_graph(family: str) -> None:
    preprocessing = families.get_preprocessing(family)
    expected = preprocessing.preprocess_for_train(photos()[0], 24, 24, tf.constant([3, 4]))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = tf.constant(photos_array()[0])
        output = preprocessing.preprocess_for_train(image, 24, 24, tf.constant([3, 4]))
        assert output.shape == (24, 24, 3)
        np.testing.assert_array_equal(session.run(output), expected)


def photos_array() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (2, 47, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("family", geometry.FAMILIES)
def test_height_comes_first(family: str) -> None:
    """A picture of rows stays one of rows, whatever the family crops or pads."""
    rows = tf.cast(tf.tile(tf.range(60)[:, None, None], [1, 60, 3]), tf.uint8)
    preprocessing = families.get_preprocessing(family)
    image = preprocessing.preprocess_for_eval(rows, 20, 50).numpy()
    assert image.shape == (20, 50, 3)
    assert np.ptp(image, axis=1).max() == 0
    assert (np.diff(image[:, 0, 0]) > 0).all()


# --- inception


def test_inception_eval_keeps_the_centre_unless_told_otherwise() -> None:
    image = photos(1, 80, 64)[0]
    scaled = tf.cast(image, tf.float32) * (2 / 255) - 1
    function = families.get_preprocessing("inception").preprocess_for_eval
    whole = resizing.resize_legacy(scaled, 40, 32)
    centre = resizing.resize_legacy(scaled[20:60, 16:48], 40, 32)
    np.testing.assert_allclose(function(image, 40, 32, crop_image=False), whole, atol=1e-6)
    np.testing.assert_allclose(function(image, 40, 32, central_fraction=0), whole, atol=1e-6)
    np.testing.assert_allclose(function(image, 40, 32, central_fraction=0.5), centre, atol=1e-6)


def test_inception_eval_without_a_size_leaves_it_alone() -> None:
    function = families.get_preprocessing("inception").preprocess_for_eval
    assert function(photos(1, 80, 64)[0], None, None).shape == (70, 56, 3)


def test_inception_takes_float_images_in_0_to_1() -> None:
    image = photos(1)[0]
    function = families.get_preprocessing("inception").preprocess_for_eval
    as_float = function(tf.image.convert_image_dtype(image, tf.float32), 20, 20)
    np.testing.assert_array_equal(as_float, function(image, 20, 20))


def boxes_of_coordinates(boxes: list[float]) -> np.ndarray:
    """COUNT random crops of 200 x 300 pixels: top, left, height, width in pixels each."""
    rows, columns = tf.meshgrid(tf.range(200), tf.range(300), indexing="ij")
    coordinates = tf.stack([rows, columns, rows], axis=-1)

    def box(seed: tf.Tensor) -> tf.Tensor:
        crop = inception._random_crop(coordinates, tf.reshape(boxes, [1, -1, 4]), seed)
        return tf.concat([crop[0, 0, :2], tf.shape(crop)[:2]], axis=0)

    dataset = tf.data.Dataset.from_tensor_slices(seeds(COUNT)).map(box)
    return np.array(list(dataset.as_numpy_iterator()))


def test_inception_boxes_have_the_published_areas_and_shapes() -> None:
    top, left, height, width = boxes_of_coordinates([0.0, 0.0, 1.0, 1.0]).T
    areas = height * width / 60_000
    # At least 0.1, not 0.05: a tenth of the whole image has to be covered.
    assert 0.09 < areas.min() < 0.15
    assert 0.7 < areas.max() <= 1.0
    ratios = width / height
    assert (ratios > 0.75 - 0.02).all()
    assert (ratios < 1.33 + 0.02).all()
    assert ratios.min() < 0.80
    assert ratios.max() > 1.25
    assert (top + height <= 200).all()
    assert (left + width <= 300).all()
    assert top.min() < 5
    assert left.min() < 5


def test_inception_boxes_show_a_tenth_of_the_given_object() -> None:
    top, left, height, width = boxes_of_coordinates([0.0, 0.0, 0.5, 0.5]).T
    shown_height = np.minimum(top + height, 100) - top
    shown_width = np.minimum(left + width, 150) - left
    assert (shown_height * shown_width / 15_000 > 0.09).all()


def test_inception_takes_bounding_boxes_of_one_image_and_of_a_batch() -> None:
    images, both = photos(2, 90, 90), seeds(2)
    boxes = tf.constant([[[0.0, 0.0, 0.03, 0.03]], [[0.97, 0.97, 1.0, 1.0]]])
    function = families.get_preprocessing("inception").preprocess_for_train
    single = [function(images[i], 20, 20, both[i], bbox=boxes[i : i + 1]) for i in range(2)]
    np.testing.assert_array_equal(function(images, 20, 20, both, bbox=boxes), single)
    assert not np.array_equal(function(images, 20, 20, both), single)


def test_half_of_inceptions_images_are_mirrored() -> None:
    ramp = tf.cast(tf.tile(tf.range(40)[None, :, None] * 6, [40, 1, 3]), tf.uint8)
    images = train("inception", tf.repeat(ramp[None], COUNT, axis=0), 20, 20, crop_image=False)
    mirrored = images[:, 10, 0, 0] > images[:, 10, -1, 0]
    assert abs(mirrored.sum() - COUNT / 2) < 40


def test_inceptions_brightness_moves_by_32_levels_at_most() -> None:
    grey = tf.fill([COUNT, 8, 8, 3], tf.constant(127, tf.uint8))  # saturation does nothing to it
    images = train("inception", grey, 8, 8)
    shifts = (images[:, 0, 0, 0] + 1) / 2 * 255 - 127
    assert np.abs(shifts).max() <= 32.001
    assert shifts.min() < -30
    assert shifts.max() > 30
    assert abs(shifts.mean()) < 4


def test_inceptions_saturation_changes_by_half_at_most() -> None:
    image = tf.constant([[[0.6, 0.5, 0.4]]])
    changed = np.array([colors.distort_color(image, seed, True)[0, 0] for seed in seeds(60)])
    strongest, weakest = changed.max(axis=1), changed.min(axis=1)
    before = 0.2 / strongest  # brightness moves all three, saturation leaves the strongest
    factors = (1 - weakest / strongest) / before
    assert (factors > 0.5 - 1e-3).all()
    assert (factors < 1.5 + 1e-3).all()
    assert factors.min() < 0.6
    assert factors.max() > 1.4


def hues(fast_mode: bool) -> set[float]:
    image = tf.constant([[[0.6, 0.5, 0.4]]])
    changed = [colors.distort_color(image, seed, fast_mode) for seed in seeds(30)]
    return {round(float(tf.image.rgb_to_hsv(color)[0, 0, 0]), 3) for color in changed}


def test_slow_mode_alone_changes_the_hue() -> None:
    assert len(hues(fast_mode=True)) == 1
    assert len(hues(fast_mode=False)) > 20


def test_slow_mode_draws_each_way_to_resize() -> None:
    edge = tf.cast(tf.repeat([[[0.2]] * 3 + [[0.8]] * 3], 6, axis=0), tf.float32)
    drawn = {inception._resized(edge, 7, 7, seed, False).numpy().tobytes() for seed in seeds(40)}
    expected = {
        tf.cast(resizing.resize_legacy(edge, 7, 7, way), tf.float32).numpy().tobytes()
        for way in resizing.LEGACY_WAYS
    }
    assert drawn == expected
    assert len(expected) == 4


# --- vgg


@pytest.mark.parametrize("size", [225, 256])
def test_vgg_resizes_to_256_as_long_as_the_crop_fits_in(size: int) -> None:
    """A ramp of 512 pixels is halved; above 256 TF-Slim has no answer."""
    ramp = tf.cast(tf.tile(tf.range(512)[None, :, None] / 2, [512, 1, 3]), tf.float32)
    image = families.get_preprocessing("vgg").preprocess_for_eval(ramp, size, size)
    step = (image[0, -1, 0] - image[0, 0, 0]) / (size - 1)
    assert float(step) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (40, 40)])
@pytest.mark.parametrize("size", [(299, 299), (260, 100), (100, 331)])
def test_vgg_crops_above_256_work_for_every_shape(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    preprocessing, image = families.get_preprocessing("vgg"), photos(1, *shape)[0]
    assert preprocessing.preprocess_for_eval(image, *size).shape == (*size, 3)
    assert preprocessing.preprocess_for_train(image, *size, [1, 2]).shape == (*size, 3)


def test_vgg_crop_above_256_shows_seven_eighths_of_the_short_side() -> None:
    ramp = tf.cast(tf.tile(tf.range(400)[None, :, None], [400, 1, 3]), tf.float32)
    image = families.get_preprocessing("vgg").preprocess_for_eval(ramp, 299, 299)
    assert float(image[0, -1, 0] - image[0, 0, 0]) / 400 == pytest.approx(0.875, abs=0.01)


def test_vgg_resize_side_can_be_chosen() -> None:
    image = photos(1, 64, 64)[0]
    whole = families.get_preprocessing("vgg").preprocess_for_eval(image, 64, 64, resize_side_min=64)
    expected = image.numpy() - np.float32([123.68, 116.78, 103.94])
    np.testing.assert_allclose(whole, expected, atol=1e-4)


def test_vgg_train_draws_the_short_side_evenly_between_its_bounds() -> None:
    ramp = tf.cast(tf.tile(tf.range(160.0)[None, :, None], [160, 1, 3]), tf.float32)
    images = train(
        "vgg", tf.repeat(ramp[None], COUNT, axis=0), 64, 64, resize_side_min=80, resize_side_max=160
    )
    shown = np.abs(images[:, 0, -1, 0] - images[:, 0, 0, 0])
    sides = 63 / shown * 160
    assert sides.min() == pytest.approx(80, abs=2)
    assert sides.max() == pytest.approx(160, abs=3)
    assert sides.mean() == pytest.approx(120, abs=6)


def test_vgg_train_mirrors_half_and_crops_everywhere() -> None:
    ramp = tf.cast(tf.tile(tf.range(100.0)[None, :, None], [100, 1, 3]), tf.float32)
    images = train(
        "vgg",
        tf.repeat(ramp[None], COUNT, axis=0),
        60,
        60,
        resize_side_min=100,
        resize_side_max=100,
    )
    first, last = images[:, 0, 0, 0] + 123.68, images[:, 0, -1, 0] + 123.68
    assert abs((first > last).sum() - COUNT / 2) < 40
    starts = set(np.round(np.minimum(first, last)).astype(int).tolist())
    assert starts == set(range(41))


def test_vgg_grey_images_lose_the_mean_of_the_three_means() -> None:
    grey = tf.fill([10, 10, 1], tf.constant(200, tf.uint8))
    image = families.get_preprocessing("vgg").preprocess_for_eval(grey, 8, 8)
    np.testing.assert_allclose(image, np.full((8, 8, 1), 200 - 344.4 / 3), rtol=1e-5)


def test_vgg_strip_does_not_fill_the_memory() -> None:
    strip = tf.fill([1, 30_000, 3], tf.constant(9, tf.uint8))
    preprocessing = families.get_preprocessing("vgg")
    assert preprocessing.preprocess_for_eval(strip, 224, 224).shape == (224, 224, 3)
    assert preprocessing.preprocess_for_train(strip, 224, 224, [1, 2]).shape == (224, 224, 3)


def test_vgg_bounds_in_the_wrong_order_are_refused() -> None:
    function = families.get_preprocessing("vgg").preprocess_for_train
    with pytest.raises(ValueError, match="resize_side_min is 300 and resize_side_max 256"):
        function(photos(1)[0], 224, 224, [1, 2], resize_side_min=300, resize_side_max=256)


# --- cifarnet and lenet


def test_cifarnet_train_takes_each_shift_and_mirror_image() -> None:
    """Of a grey image standardising undoes brightness and contrast: shifts and flips are left."""
    image = photos(1, 32, 32, 1)[0]
    padded = tf.pad(tf.cast(image, tf.float32), [[4, 4], [4, 4], [0, 0]]).numpy()
    windows = [padded[top : top + 32, left : left + 32] for top in range(9) for left in range(9)]
    windows += [window[:, ::-1] for window in windows]
    expected = tf.image.per_image_standardization(np.stack(windows)).numpy().reshape(162, -1)
    images = train("cifarnet", tf.repeat(image[None], COUNT, axis=0), 32, 32).reshape(COUNT, -1)
    similarity = images @ expected.T / 1024
    np.testing.assert_allclose(similarity.max(axis=1), 1, atol=1e-3)
    mirrored = similarity.argmax(axis=1) >= 81
    assert abs(mirrored.sum() - COUNT / 2) < 40
    assert len(set((similarity.argmax(axis=1) % 81).tolist())) > 75


def test_cifarnet_padding_can_be_chosen() -> None:
    image = photos(1, 32, 32, 1)[0]
    plain = families.get_preprocessing("cifarnet").preprocess_for_eval(image, 32, 32)
    images = train("cifarnet", tf.repeat(image[None], 20, axis=0), 32, 32, padding=0)
    close = [np.abs(np.stack([image - plain, image[:, ::-1] - plain])).max((1, 2, 3)).min() < 1e-2
             for image in images]  # fmt: skip
    assert all(close)


def test_cifarnet_train_pads_small_images_to_the_size() -> None:
    image = families.get_preprocessing("cifarnet").preprocess_for_train(
        photos(1, 9, 50)[0], 32, 33, [1, 2]
    )
    assert image.shape == (32, 33, 3)
    assert float(tf.math.reduce_std(image)) == pytest.approx(1, abs=1e-3)


def test_lenet_trains_as_it_evaluates() -> None:
    image = photos(1)[0]
    preprocessing = families.get_preprocessing("lenet")
    np.testing.assert_array_equal(
        preprocessing.preprocess_for_train(image, 28, 28, [1, 2]),
        preprocessing.preprocess_for_eval(image, 28, 28),
    )


# --- mistakes of a programmer


def test_wrong_arguments_name_the_value_and_the_rule() -> None:
    preprocessing = families.get_preprocessing("inception")
    images = photos()
    with pytest.raises(
        ValueError, match=r"shape \(64, 3\), expected \[H, W, C\] or \[N, H, W, C\]"
    ):
        preprocessing.preprocess_for_eval(images[0, 0], 8, 8)
    with pytest.raises(ValueError, match="4 channels, expected 1 or 3"):
        preprocessing.preprocess_for_eval(tf.zeros([9, 9, 4]), 8, 8)
    with pytest.raises(ValueError, match="width is 0, expected at least 1 pixel"):
        preprocessing.preprocess_for_train(images[0], 8, 0, [1, 2])
    with pytest.raises(ValueError, match=r"seed has int32 \(2,\), expected integers \[2, 2\]"):
        preprocessing.preprocess_for_train(images, 8, 8, [1, 2])
    with pytest.raises(ValueError, match="seed has float32"):
        preprocessing.preprocess_for_train(images[0], 8, 8, [1.0, 2.0])
