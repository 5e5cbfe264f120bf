"""LeNet and CifarNet: shapes, end points and options."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from slimworks.components.nets import cifarnet, lenet
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

NETS = {"lenet": (lenet.lenet, 28, 1), "cifarnet": (cifarnet.cifarnet, 32, 3)}
SHAPES = {
    "lenet": {
        "conv1": [2, 28, 28, 32],
        "pool1": [2, 14, 14, 32],
        "conv2": [2, 14, 14, 64],
        "pool2": [2, 7, 7, 64],
        "Flatten": [2, 3136],
        "fc3": [2, 1024],
        "dropout3": [2, 1024],
    },
    "cifarnet": {
        "conv1": [2, 32, 32, 64],
        "pool1": [2, 16, 16, 64],
        "conv2": [2, 16, 16, 64],
        "pool2": [2, 8, 8, 64],
        "Flatten": [2, 4096],
        "fc3": [2, 384],
        "fc4": [2, 192],
    },
}
each_net = pytest.mark.parametrize("name", NETS)


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def _build(name: str, size: int | None = None, channels: int | None = None, **options: Any):
    build, default_size, default_channels = NETS[name]
    side = size or default_size
    return build(tf.zeros([2, side, side, channels or default_channels]), **options)


@each_net
def test_classifier_has_the_published_end_points(name: str) -> None:
    logits, end_points = _build(name)
    found = {key: value.shape.as_list() for key, value in end_points.items()}
    assert found == {**SHAPES[name], "Logits": [2, 10], "Predictions": [2, 10]}
    assert logits is end_points["Logits"]


@each_net
def test_default_image_size_is_the_published_one(name: str) -> None:
    build, size, _ = NETS[name]
    assert build.default_image_size == size  # type: ignore[attr-defined]


@each_net
@pytest.mark.parametrize("size", [4, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_other_sizes_and_channels_are_accepted(
    name: str, size: int, channels: int
) -> None:
    logits, _ = _build(name, size, channels)
    assert logits.shape.as_list() == [2, 10]


@each_net
def test_batch_size_may_be_unknown(name: str) -> None:
    build, size, channels = NETS[name]
    logits, _ = build(tf.compat.v1.placeholder(tf.float32, [None, size, size, channels]))
    assert logits.shape.as_list() == [None, 10]


@each_net
@pytest.mark.parametrize("is_training", [False, True])
def test_dropout_is_active_in_training_only(name: str, is_training: bool) -> None:
    _build(name, is_training=is_training, dropout_keep_prob=0.7)
    rates = [
        tf.get_static_value(operation.inputs[1])
        for operation in tf.compat.v1.get_default_graph().get_operations()
        if operation.type == "GreaterEqual" and "dropout3" in operation.name
    ]
    assert rates == (pytest.approx([0.3]) if is_training else [])


@pytest.mark.parametrize(
    ("name", "arg_scope", "num_losses"),
    [("lenet", lenet.lenet_arg_scope, 4), ("cifarnet", cifarnet.cifarnet_arg_scope, 2)],
)
def test_arg_scope_decays_the_recorded_weights(name: str, arg_scope: Any, num_losses: int) -> None:
    with slim.arg_scope(arg_scope(weight_decay=0.1)):
        _build(name)
    assert len(tf.compat.v1.losses.get_regularization_losses()) == num_losses
