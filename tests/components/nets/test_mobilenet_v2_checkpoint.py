"""Published MobileNet v2 weights: they load by name, and know a cat and an espresso."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components.checkpoints.restore import restore
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing.families import get_preprocessing

pytestmark = pytest.mark.shared

SIZE = 224


Classify = Callable[[np.ndarray], list[tuple[str, float]]]


@pytest.fixture(scope="module")
def classify(shared: Path) -> Classify:
    """A function of [1, S, S, 3] that lists (class name, probability), likely ones first."""
    module = SlimModule(get_net("mobilenet_v2"), 1001, SIZE, 3)
    folder = shared / "data" / "checkpoints"
    report = restore(module.variables_by_name, folder / "mobilenet_v2_1.0_224")
    assert len(report.restored) == 262
    assert (report.excluded, report.missing) == ((), ())
    class_names = (folder / "imagenet_labels_1001.txt").read_text().splitlines()
    forward = tf.function(lambda x: module.forward(x, is_training=False).logits)

    def ranking(images: np.ndarray) -> list[tuple[str, float]]:
        probabilities = tf.nn.softmax(forward(images))[0].numpy()
        return [(class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities)]

    return ranking


def _as_recorded(photo: Path) -> np.ndarray:
    """[1, S, S, 3] in [-1, 1]: the central 87.5 % of the centre square, by Pillow."""
    image = Image.open(photo).convert("RGB")
    side = round(min(image.size) * 0.875)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)
    return pixels[np.newaxis] / 127.5 - 1


def _as_tf_slim_does(photo: Path) -> np.ndarray:
    """[1, S, S, 3] in [-1, 1]: the central 87.5 % of each side, squeezed to a square."""
    pixels = tf.constant(np.asarray(Image.open(photo).convert("RGB")))
    prepared = get_preprocessing("inception").preprocess_for_eval(pixels, SIZE, SIZE)
    return prepared.numpy()[np.newaxis]


def test_cat_has_the_recorded_probability(classify: Classify, shared: Path) -> None:
    (best, probability), *_ = classify(_as_recorded(shared / "data" / "photos" / "chelsea.png"))
    assert best == "tiger cat"
    assert probability == pytest.approx(0.47, abs=0.01)


def test_squeezed_cat_stays_the_same_kind_of_cat(classify: Classify, shared: Path) -> None:
    """TF-Slim's way squeezes a photo that is not square, here by a third."""
    first, second, *_ = classify(_as_tf_slim_does(shared / "data" / "photos" / "chelsea.png"))
    assert (first[0], second[0]) == ("Egyptian cat", "tiger cat")
    assert first[1] + second[1] > 0.9


@pytest.mark.parametrize("prepare", [_as_recorded, _as_tf_slim_does])
def test_coffee_is_an_espresso(
    prepare: Callable[[Path], np.ndarray], classify: Classify, shared: Path
) -> None:
    (best, probability), *_ = classify(prepare(shared / "data" / "photos" / "coffee.png"))
    assert best == "espresso"
    assert probability >= 0.97
