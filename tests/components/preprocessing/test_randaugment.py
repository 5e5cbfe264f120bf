"""RandAugment's changes do what their names say, on colour and on grey images."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from slimworks.components.preprocessing import randaugment
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.preprocessing.families import get_preprocessing

PIXELS = np.random.default_rng(3).integers(20, 200, (24, 24, 3), np.uint8)


def _changed(name: str, strength: float, pixels: np.ndarray = PIXELS) -> np.ndarray:
    image = tf.constant(pixels, tf.float32)
    changed = randaugment.changes_for(pixels.shape[-1])[name](image, tf.constant(strength))
    return np.round(np.clip(changed.numpy(), 0, 255))


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("color", ImageEnhance.Color), ("contrast", ImageEnhance.Contrast),
     ("brightness", ImageEnhance.Brightness)],
)  # fmt: skip
@pytest.mark.parametrize("strength", [-1.0, 0.5])
def test_enhancements_equal_pillows(name: str, enhance: type, strength: float) -> None:
    expected = np.array(enhance(Image.fromarray(PIXELS)).enhance(1 + 0.9 * strength))
    # Pillow's contrast is around the mean luma, and it rounds on the way.
    assert np.abs(_changed(name, strength) - expected).max() <= (12 if name == "contrast" else 2)


def test_sharpness_equals_pillows_inside() -> None:
    expected = np.array(ImageEnhance.Sharpness(Image.fromarray(PIXELS)).enhance(1.45))
    difference = _changed("sharpness", 0.5) - expected
    assert np.abs(difference[1:-1, 1:-1]).max() <= 2


@pytest.mark.parametrize(
    ("name", "strength", "operation"),
    [("auto_contrast", 1.0, ImageOps.autocontrast),
     ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6)),
     ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128))],
)  # fmt: skip
def test_tones_equal_pillows(name: str, strength: float, operation: object) -> None:
    expected = np.array(operation(Image.fromarray(PIXELS)))  # type: ignore[operator]
    assert np.abs(_changed(name, strength) - expected).max() <= 1


def test_equalize_evens_out_each_channel() -> None:
    dark = (PIXELS // 4).astype(np.uint8)
    equalized = _changed("equalize", 1.0, dark)
    for channel in range(3):
        assert equalized[..., channel].min() == 0
        assert equalized[..., channel].max() == 255
        assert 100 < equalized[..., channel].mean() < 155
    order = np.argsort(dark[..., 0].ravel(), kind="stable")
    assert (np.diff(equalized[..., 0].ravel()[order]) >= 0).all(), "darker stays darker"


def test_a_flat_image_stays_as_it_is() -> None:
    flat = np.full((8, 8, 3), 77, np.uint8)
    for name in ("auto_contrast", "equalize", "color", "contrast", "sharpness"):
        np.testing.assert_array_equal(_changed(name, 0.7, flat), flat, err_msg=name)


def test_shifts_move_the_image_and_fill_with_grey() -> None:
    right, down = _changed("translate_x", 1 / (0.45 * 24) * 3), _changed("translate_y", -1.0)
    np.testing.assert_allclose(right[:, 3:], PIXELS[:, :-3], atol=1)
    assert (right[:, :2] == 128).all()
    assert (down[-10:] == 128).all()


def test_geometry_keeps_the_centre() -> None:
    pixels = np.full((25, 25, 1), 30, np.uint8)
    pixels[12, 12] = 240
    for name in ("rotate", "shear_x", "shear_y"):
        changed = _changed(name, 0.8, pixels)
        assert np.unravel_index(changed.argmax(), changed.shape)[:2] == (12, 12), name
        assert not np.array_equal(changed, pixels), name
    np.testing.assert_allclose(_changed("rotate", 0.0, pixels), pixels, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_any_seed_gives_an_image_of_the_same_kind(channels: int) -> None:
    stored = tf.constant(PIXELS[..., :channels])
    augment = tf.function(lambda seed: randaugment.rand_augment(stored, 2, 10.0, seed))
    images = [augment(tf.constant([number, 1], tf.int64)).numpy() for number in range(60)]
    assert {image.shape for image in images} == {(24, 24, channels)}
    assert images[0].dtype == np.uint8
    assert len({image.tobytes() for image in images}) > 40
    np.testing.assert_array_equal(images[7], augment(tf.constant([7, 1], tf.int64)).numpy())


def test_grey_images_have_every_change_but_colour() -> None:
    assert set(randaugment.changes_for(3)) - set(randaugment.changes_for(1)) == {"color"}
    assert len(randaugment.changes_for(3)) == 14, "as many as in the paper"


def test_magnitude_0_changes_nothing_but_tones() -> None:
    for name in set(randaugment.changes_for(3)) - {"auto_contrast", "equalize"}:
        np.testing.assert_allclose(_changed(name, 0.0), PIXELS, atol=1, err_msg=name)


def test_training_images_have_it_on_request() -> None:
    lenet = get_preprocessing("lenet")
    stored = tf.constant(PIXELS[..., :1])
    settings = {"max_shift_pixels": 0, "flip": False}
    plain = lenet.for_eval(stored[tf.newaxis], 24)[0].numpy()
    for layers, changed in ((0, False), (2, True)):
        augmentation = AugmentationSettings(randaugment_layers=layers, **settings)
        images = [
            lenet.for_train(stored, 24, tf.constant([0, n]), augmentation).numpy() for n in range(5)
        ]
        assert any(np.abs(image - plain).max() > 0.02 for image in images) is changed
