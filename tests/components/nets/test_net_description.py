"""What `slimworks nets NAME` says."""

from __future__ import annotations

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.nets.describe import describe_net
from slimworks.components.nets.registry import get_net


def test_description_counts_what_the_paper_counts() -> None:
    described = describe_net("mobilenet_v1_025")
    assert described.parameters == get_net("mobilenet_v1_025").parameters
    assert described.macs == pytest.approx(41e6, rel=0.01)  # table 7 of the paper
    assert described.end_points["Conv2d_13_pointwise"] == (1, 7, 7, 256)
    assert described.variables["MobilenetV1/Logits/Conv2d_1c_1x1/biases"] == (1001,)


def test_description_follows_classes_and_image_size() -> None:
    described = describe_net("mobilenet_v1_025", num_classes=5, image_size=128)
    assert described.end_points["Logits"] == (1, 5)
    assert described.end_points["Conv2d_13_pointwise"] == (1, 4, 4, 256)


def test_macs_of_lenet_by_hand() -> None:
    convolutions = 28 * 28 * 25 * 32 + 14 * 14 * 25 * 32 * 64
    assert describe_net("lenet").macs == convolutions + 3136 * 1024 + 1024 * 10


def test_description_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs at least 224 pixels"):
        describe_net("vgg_16", image_size=32)
