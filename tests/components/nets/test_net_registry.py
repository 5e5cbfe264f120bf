"""The registry: instant, complete, and helpful about wrong names and sizes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import (
    REGISTRY,
    check_image_size,
    check_images_shape,
    get_net,
)


def test_registry_loads_without_tensorflow() -> None:
    program = (
        "import sys; from slimworks.components.nets.registry import REGISTRY\n"
        "heavy = {'tensorflow', 'tf_slim', 'tf_keras', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(len(REGISTRY))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(REGISTRY)


def test_get_net_suggests_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        get_net("mobilnet_v1_025")
    assert caught.value.cause == (
        "model.net is 'mobilnet_v1_025', which is no known network. "
        "Did you mean 'mobilenet_v1_025'?"
    )
    assert "Choose one of lenet, cifarnet, alexnet_v2," in caught.value.fix


@pytest.mark.parametrize(
    ("name", "image_size", "bound"),
    [
        ("vgg_16", 96, "but vgg_16 needs at least 224 pixels."),
        ("inception_v3", 64, "but inception_v3 needs at least 107 pixels."),
    ],
)
def test_check_image_size_names_the_bound(name: str, image_size: int, bound: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_image_size(get_net(name), image_size)
    assert caught.value.cause == f"model.image_size is {image_size}, {bound}"
    default = get_net(name).default_image_size
    assert f"`--set model.image_size={default}`" in caught.value.fix


@pytest.mark.parametrize("name", REGISTRY)
def test_default_image_size_is_allowed(name: str) -> None:
    check_image_size(REGISTRY[name], REGISTRY[name].default_image_size)


@pytest.mark.parametrize("name", REGISTRY)
def test_head_scopes_lie_below_the_root_scope(name: str) -> None:
    spec = REGISTRY[name]
    root = f"{spec.scope}/" if spec.scope else ""
    assert spec.head_scopes
    assert all(scope.startswith(root) for scope in spec.head_scopes)


def test_networks_are_tf_slims() -> None:
    assert len(REGISTRY) == 38  # the forty of its factory less two for video
    assert {spec.module.rpartition(".")[0] for spec in REGISTRY.values()} == {
        "slimworks.components.nets",
        "slimworks.components.nets.mobilenet",
        "slimworks.components.nets.nasnet",
    }


def test_checkpoint_file_is_the_archive_of_the_address() -> None:
    assert get_net("nasnet_mobile").checkpoint_file == "nasnet-a_mobile_04_10_2017.tar.gz"
    assert get_net("lenet").checkpoint_file is None


@pytest.mark.parametrize(("height", "width"), [(None, None), (67, None), (67, 300)])
def test_check_images_shape_takes_what_is_large_enough_or_unknown(
    height: int | None, width: int | None
) -> None:
    check_images_shape(get_net("nasnet_large"), height, width, 67)


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(66, 80, "66x80"), (80, 66, "80x66"), (None, 66, "?x66")]
)
def test_check_images_shape_names_shape_and_minimum(
    height: int | None, width: int, shape: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_images_shape(get_net("nasnet_large"), height, width, 67)
    assert caught.value.cause == (
        f"The images are {shape} pixels, but nasnet_large needs at least 67x67."
    )
    assert caught.value.fix.endswith("to 331x331 as it was published.")


def test_record_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_net("lenet").parameters = 1  # type: ignore[misc]


@pytest.mark.shared
@pytest.mark.parametrize("name", REGISTRY)
def test_record_agrees_with_the_measured_facts(name: str, shared: Path) -> None:
    spec = REGISTRY[name]
    facts = json.loads((shared / "nets" / "layout" / f"{name}.facts.json").read_text())
    decays = [float(decay) for decay in facts["batch_norm_decay"]]
    assert spec.parameters == facts["trainable_parameters"]
    assert spec.num_classes == facts["num_classes"]
    assert spec.default_image_size == facts["image_size"]
    assert spec.num_channels == facts["channels"]
    assert ([spec.batch_norm_decay] if spec.batch_norm_decay else []) == decays
