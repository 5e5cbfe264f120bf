"""What `slimworks nets --checkpoint` says of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_samples import Shapes, write_checkpoint

from slimworks.components.checkpoints.describe import (
    describe_checkpoint,
    meaning_of_classes,
    size_in_name,
)
from slimworks.components.checkpoints.fingerprints import build_layout
from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import get_net


@pytest.fixture(scope="module")
def lenet() -> Shapes:
    return build_layout(get_net("lenet"))


def test_training_checkpoint_under_another_root(lenet: Shapes, tmp_path: Path) -> None:
    stored: Shapes = {"global_step": (), "mine/other/weights": (2,)}
    for name, shape in lenet.items():
        stored |= {f"mine/{name}": shape, f"mine/{name}/Momentum": shape}
    weights = "mine/LeNet/conv1/weights"
    stored[f"{weights}/ExponentialMovingAverage"] = stored[weights]
    prefix = write_checkpoint(tmp_path, stored, value=7)
    found = describe_checkpoint(tmp_path)
    assert (found.checkpoint, found.version, found.net) == (str(prefix), "V2", "lenet")
    assert (found.num_fitting, found.num_variables, found.num_others) == (8, 8, 1)
    assert (found.num_classes, found.classes) == (10, "classes of its own")
    assert (found.num_averages, found.slots, found.global_step) == (1, {"Momentum": 8}, 7)
    assert found.name_map == {"mine/LeNet/": "LeNet/"}
    assert found.command == (
        f"slimworks run --data PHOTOS --set model.net=lenet --set train.checkpoint_path={prefix} "
        '--set \'train.checkpoint_name_map={"mine/LeNet/": "LeNet/"}\''
    )


def test_checkpoint_of_another_width_has_no_command(lenet: Shapes, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {n: tuple(2 * s for s in lenet[n]) for n in lenet})
    found = describe_checkpoint(prefix)
    assert (found.net, found.fits, found.num_fitting, found.command) == ("lenet", False, 0, None)


def test_checkpoint_of_no_network(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"EfficientNet/stem/weights": (1,), "top/weights": (2,)})
    with pytest.raises(ConfigError) as caught:
        describe_checkpoint(prefix)
    assert caught.value.cause == (
        f"{prefix} is of no registered network: 2 variables with names that start with "
        "EfficientNet, top."
    )
    assert caught.value.fix == (
        "`slimworks nets` lists the networks; `slimworks nets NAME` prints the names of one."
    )


def test_damaged_values_are_found(lenet: Shapes, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, lenet)
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="is no readable TensorFlow checkpoint"):
        describe_checkpoint(prefix)


def test_missing_checkpoint_is_told_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^--checkpoint is {tmp_path}/none, but neither"):
        describe_checkpoint(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("mobilenet_v1_0.25_128/mobilenet_v1_0.25_128.ckpt", 128),
        ("v2/mobilenet_v2_1.4_224.ckpt", 224),
        ("mobilenet_v1_1.0_192/model.ckpt-160", 192),
        ("run/model.ckpt-224", None),
        ("resnet_v1_152_2016_08_28/resnet_v1_152.ckpt", None),
        ("vgg_16.ckpt", None),
    ],
)
def test_image_size_is_read_from_the_name(path: str, size: int | None) -> None:
    assert size_in_name(path) == size


@pytest.mark.parametrize(
    ("num_classes", "meaning"),
    [
        (1001, "ImageNet's 1000, with the background as class 0"),
        (1000, "ImageNet's 1000, without a background class: its labels are one lower"),
        (5, "classes of its own"),
        (None, "there is no head"),
    ],
)
def test_class_counts_have_a_meaning(num_classes: int | None, meaning: str) -> None:
    assert meaning_of_classes(num_classes) == meaning
