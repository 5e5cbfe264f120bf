"""What `slimworks nets NAME` says."""

from __future__ import annotations

import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets import layout
from slimworks.components.nets.describe import count_macs, describe_net
from slimworks.components.nets.registry import REGISTRY, get_net

QUICK = {"lenet", "cifarnet", "mobilenet_v1_025", "alexnet_v2"}


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


def test_macs_of_convolutions_products_and_separable_layers() -> None:
    with tf.Graph().as_default():
        images = tf.zeros([1, 8, 8, 3])
        net = tf.nn.conv2d(images, tf.zeros([3, 3, 3, 4]), 2, "SAME")
        net = tf.nn.depthwise_conv2d(net, tf.zeros([3, 3, 4, 2]), [1, 1, 1, 1], "SAME")
        net = tf.nn.conv2d(net, tf.zeros([1, 1, 8, 5]), 1, "SAME")
        logits = tf.matmul(tf.reduce_mean(net, [1, 2]), tf.zeros([5, 7]))
        unused = tf.matmul(logits, tf.zeros([7, 900]))
        by_hand = 16 * 4 * 27 + 16 * 8 * 9 + 16 * 5 * 8 + 5 * 7
        assert count_macs(logits) == by_hand
        assert count_macs(unused) == by_hand + 7 * 900


def test_description_says_what_is_trained() -> None:
    described = describe_net("mobilenet_v1_025", num_classes=5, image_size=32)
    statistics = set(described.variables) - described.trainable
    assert {name.rpartition("/")[2] for name in statistics} == {"moving_mean", "moving_variance"}
    assert next(iter(described.variables)) == "MobilenetV1/Conv2d_0/weights"


@pytest.mark.slow
def test_description_includes_the_auxiliary_head_but_not_its_macs() -> None:
    described = describe_net("nasnet_cifar")
    assert described.end_points["AuxLogits"] == (1, 10)
    assert described.variables["aux_11/aux_logits/FC/biases"] == (10,)
    evaluation = layout.build_graph("nasnet_cifar", 10, 32, 3, is_training=False)
    assert described.macs == count_macs(evaluation.logits)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REGISTRY],
)
def test_record_agrees_with_the_network(name: str) -> None:
    spec = get_net(name)
    described = describe_net(name)
    assert described.parameters == spec.parameters
    assert described.macs == spec.macs


def test_description_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs at least 224 pixels"):
        describe_net("vgg_16", image_size=32)
