"""Real ImageNet weights: they load by name, and know a cat and an espresso."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components.checkpoints.describe import describe_checkpoint
from slimworks.components.checkpoints.restore import restore
from slimworks.components.errors import ConfigError
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net

pytestmark = pytest.mark.shared

QUARTER = "mobilenet_v1_0.25_128/mobilenet_v1_0.25_128.ckpt"
V1_FORMAT = "mobilenet_v1_0.25_128/v1_format"
FULL = "mobilenet_v1_1.0_224/mobilenet_v1_1.0_224.ckpt"
V2 = "mobilenet_v2_1.0_224/mobilenet_v2_1.0_224.ckpt"


@pytest.fixture(scope="module")
def checkpoints(shared: Path) -> Path:
    return shared / "data" / "checkpoints"


def _module(name: str, size: int, num_classes: int = 1001) -> SlimModule:
    return SlimModule(get_net(name), num_classes, size, 3)


@pytest.fixture(scope="module")
def quarter() -> SlimModule:
    return _module("mobilenet_v1_025", 128)


def _preprocess(path: Path, size: int) -> np.ndarray:
    """[1, size, size, 3] in [-1, 1]: the central 87.5 % of the centre square, as was recorded."""
    image = Image.open(path).convert("RGB")
    side = round(min(image.size) * 0.875)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    return pixels[np.newaxis] / 127.5 - 1


def _classify(module: SlimModule, shared: Path, photo: str) -> tuple[str, float]:
    images = _preprocess(shared / "data" / "photos" / photo, module.image_size)
    forward = tf.function(lambda x: module.forward(x, is_training=False).logits)
    probabilities = tf.nn.softmax(forward(images))[0].numpy()
    labels = shared / "data" / "checkpoints" / "imagenet_labels_1001.txt"
    best = int(np.argmax(probabilities))
    return labels.read_text().splitlines()[best], float(probabilities[best])


def _check_photos(
    module: SlimModule, shared: Path, cat_probability: float, cat_name: str = "Egyptian cat"
) -> None:
    cat, probability = _classify(module, shared, "chelsea.png")
    assert cat == cat_name
    assert probability == pytest.approx(cat_probability, abs=0.01)
    coffee, probability = _classify(module, shared, "coffee.png")
    assert coffee == "espresso"
    assert probability >= 0.97


def test_quarter_width_classifies_the_photos(
    quarter: SlimModule, checkpoints: Path, shared: Path
) -> None:
    report = restore(
        quarter.variables_by_name, checkpoints / QUARTER, head_scopes=quarter.spec.head_scopes
    )
    assert len(report.restored) == 137
    assert (report.excluded, report.missing) == ((), ())
    _check_photos(quarter, shared, 0.54)


def test_full_width_classifies_the_photos(checkpoints: Path, shared: Path) -> None:
    module = _module("mobilenet_v1", 224)
    restore(module.variables_by_name, checkpoints / FULL, head_scopes=module.spec.head_scopes)
    _check_photos(module, shared, 0.78)


@pytest.mark.slow
def test_mobilenet_v2_classifies_the_photos(checkpoints: Path, shared: Path) -> None:
    module = _module("mobilenet_v2", 224)
    report = restore(
        module.variables_by_name, checkpoints / V2, head_scopes=module.spec.head_scopes
    )
    assert len(report.restored) == 262
    assert (report.excluded, report.missing) == ((), ())
    _check_photos(module, shared, 0.47, "tiger cat")


def test_v1_and_v2_formats_hold_the_same_values(quarter: SlimModule, checkpoints: Path) -> None:
    files = [path for path in (checkpoints / V1_FORMAT).iterdir() if path.is_file()]
    (v1_file,) = [path for path in files if path.suffix not in (".meta", ".txt", ".md")]
    values = []
    for path in (checkpoints / QUARTER, v1_file):
        for variable in quarter.variables_by_name.values():
            variable.assign(tf.zeros_like(variable))
        restore(quarter.variables_by_name, path)
        values.append({name: v.numpy() for name, v in quarter.variables_by_name.items()})
    for name, value in values[0].items():
        np.testing.assert_array_equal(value, values[1][name])


def test_folder_of_an_unpacked_archive_is_enough(quarter: SlimModule, checkpoints: Path) -> None:
    report = restore(quarter.variables_by_name, (checkpoints / QUARTER).parent)
    assert report.checkpoint_path == str(checkpoints / QUARTER)


def test_new_classes_leave_the_head_at_its_initial_values(checkpoints: Path) -> None:
    module = _module("mobilenet_v1_025", 128, num_classes=5)
    head = "MobilenetV1/Logits/Conv2d_1c_1x1/weights"
    before = module.variables_by_name[head].numpy()
    report = restore(
        module.variables_by_name, checkpoints / QUARTER, head_scopes=module.spec.head_scopes
    )
    assert set(report.excluded) == {head, head.replace("weights", "biases")}
    assert len(report.restored) == 135
    np.testing.assert_array_equal(before, module.variables_by_name[head])


def test_wrong_width_of_a_real_checkpoint_is_named(quarter: SlimModule, checkpoints: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        restore(quarter.variables_by_name, checkpoints / FULL, head_scopes=("MobilenetV1/Logits",))
    assert "is of mobilenet_v1 (137 of 137 variables fit), the network is mobilenet_v1_025." in (
        caught.value.cause
    )
    assert "`--set model.net=mobilenet_v1`" in caught.value.fix
    row = "3x3x3x8 in the network, 3x3x3x32 in the checkpoint"
    assert any("Conv2d_0/weights" in r and row in r for r in caught.value.details.splitlines())


def test_other_network_of_a_real_checkpoint_is_named(
    quarter: SlimModule, checkpoints: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        restore(quarter.variables_by_name, checkpoints / V2, head_scopes=("MobilenetV1/Logits",))
    assert "135 missing, 262 unexpected" in caught.value.cause
    assert "is of mobilenet_v2 (262 of 262 variables fit)" in caught.value.cause
    assert "`--set model.net=mobilenet_v2`" in caught.value.fix


@pytest.mark.parametrize(
    ("path", "version", "net", "size"),
    [
        (QUARTER, "V2", "mobilenet_v1_025", 128),
        (V1_FORMAT, "V1", "mobilenet_v1_025", 128),
        (FULL, "V2", "mobilenet_v1", 224),
        (V2, "V2", "mobilenet_v2", 224),
    ],
)
def test_real_checkpoint_is_described(
    path: str, version: str, net: str, size: int, checkpoints: Path
) -> None:
    found = describe_checkpoint(checkpoints / path)
    assert (found.version, found.net, found.image_size) == (version, net, size)
    assert found.num_fitting == found.num_variables
    assert (found.num_classes, found.num_others, found.global_step) == (1001, 0, 0)
    assert found.classes == "ImageNet's 1000, with the background as class 0"
