"""AlexNet v2, OverFeat and VGG: shapes, end points and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import alexnet, overfeat, vgg
from slimworks.components.nets.nets_factory import get_network_fn
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

NETS: dict[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]] = {
    "alexnet_v2": alexnet.alexnet_v2,
    "overfeat": overfeat.overfeat,
    "vgg_a": vgg.vgg_a,
    "vgg_16": vgg.vgg_16,
    "vgg_19": vgg.vgg_19,
}
each_net = pytest.mark.parametrize(
    # The bodies of VGG differ in their number of layers only.
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in ("vgg_a", "vgg_19") else []) for n in NETS],
)
# A size above the default, and the side of its map of predictions.
LARGER = {"alexnet_v2": (300, 4), "overfeat": (281, 2), "vgg_a": (256, 2), "vgg_16": (256, 2)}
CONVOLUTIONS = {"vgg_a": (1, 1, 2, 2, 2), "vgg_16": (2, 2, 3, 3, 3), "vgg_19": (2, 2, 4, 4, 4)}


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def _build(name: str, size: int, *arguments: Any, channels: int = 3, **options: Any):
    images = tf.zeros([2, size, size, channels])
    return tf.autograph.experimental.do_not_convert(NETS[name])(images, *arguments, **options)


def _layers(name: str) -> list[str]:
    if name not in CONVOLUTIONS:
        body = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    else:
        body = []
        for block, times in enumerate(CONVOLUTIONS[name], start=1):
            body += [f"conv{block}/conv{block}_{index + 1}" for index in range(times)]
            body.append(f"pool{block}")
    return [f"{name}/{layer}" for layer in (*body, "fc6", "fc7", "fc8")]


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_end_points_are_the_layers(name: str, is_training: bool) -> None:
    size = NETS[name].default_image_size  # type: ignore[attr-defined]
    logits, end_points = _build(name, size, 1000, is_training)
    assert list(end_points) == _layers(name)
    assert logits is end_points[f"{name}/fc8"]
    assert logits.op.name == f"{name}/fc8/squeezed"
    assert logits.shape.as_list() == [2, 1000]


@each_net
def test_every_layer_with_weights_has_biases(name: str) -> None:
    _build(name, NETS[name].default_image_size)  # type: ignore[attr-defined]
    layers = [layer for layer in _layers(name) if "pool" not in layer]
    assert [variable.op.name for variable in tf.compat.v1.model_variables()] == [
        f"{layer}/{kind}" for layer in layers for kind in ("weights", "biases")
    ]


@pytest.mark.parametrize(("name", "size", "side"), [(n, *sizes) for n, sizes in LARGER.items()])
def test_larger_images_give_a_map_of_predictions(name: str, size: int, side: int) -> None:
    logits, _ = _build(name, size, 10, spatial_squeeze=False)
    assert logits.op.name == f"{name}/fc8/BiasAdd"
    assert logits.shape.as_list() == [2, side, side, 10]


@pytest.mark.parametrize(("name", "size", "side"), [(n, *sizes) for n, sizes in LARGER.items()])
def test_global_pool_gives_one_row_of_logits_at_any_size(name: str, size: int, side: int) -> None:
    logits, end_points = _build(name, size, 10, global_pool=True)
    assert logits.shape.as_list() == [2, 10]
    assert end_points[f"{name}/fc7"].shape.as_list() == [2, side, side, 4096]
    assert end_points["global_pool"].shape.as_list() == [2, 1, 1, 4096]


@pytest.mark.parametrize(
    ("name", "size"), [(n, size) for n, (size, _) in LARGER.items()] + [("vgg_16", 320)]
)
def test_factory_takes_images_above_the_published_size(name: str, size: int) -> None:
    logits, _ = get_network_fn(name, 10)(tf.zeros([2, size, size, 3]))
    assert logits.shape.as_list() == [2, 10]


@pytest.mark.parametrize("num_classes", [None, 0])
@each_net
def test_no_classes_gives_the_features(name: str, num_classes: int | None) -> None:
    features, end_points = _build(name, NETS[name].default_image_size, num_classes)  # type: ignore[attr-defined]
    assert features.op.name == f"{name}/fc7/Relu"
    assert features.shape.as_list() == [2, 1, 1, 4096]
    assert list(end_points) == _layers(name)[:-1]


@pytest.mark.parametrize("name", ["vgg_a", "vgg_16", "vgg_19"])
def test_padded_fc6_keeps_the_resolution_of_the_last_pool(name: str) -> None:
    logits, _ = _build(name, 96, 10, spatial_squeeze=False, fc_conv_padding="SAME")
    assert logits.shape.as_list() == [2, 3, 3, 10]


@each_net
def test_evaluation_reuses_the_variables_of_training(name: str) -> None:
    size = NETS[name].default_image_size  # type: ignore[attr-defined]
    _build(name, size, 10)
    num_variables = len(tf.compat.v1.model_variables())
    logits, end_points = _build(name, size, 10, is_training=False, reuse=True)
    assert logits.shape.as_list() == [2, 10]
    assert list(end_points) == _layers(name)
    assert len(tf.compat.v1.model_variables()) == num_variables


def test_reuse_of_an_outer_scope_works_too() -> None:
    _build("vgg_a", 224)
    with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=True):
        logits, _ = _build("vgg_a", 256, is_training=False, spatial_squeeze=False)
    assert logits.shape.as_list() == [2, 2, 2, 1000]


def test_scope_is_free() -> None:
    _, end_points = _build("vgg_a", 224, scope="mine")
    assert "mine/fc8" in end_points
    assert all(v.op.name.startswith("mine/") for v in tf.compat.v1.model_variables())


@each_net
def test_grey_images_are_accepted(name: str) -> None:
    size = NETS[name].default_image_size  # type: ignore[attr-defined]
    logits, _ = _build(name, size, 10, channels=1)
    assert logits.shape.as_list() == [2, 10]


def test_vgg_by_the_names_of_the_paper() -> None:
    assert (vgg.vgg_d, vgg.vgg_e) == (vgg.vgg_16, vgg.vgg_19)


def test_dropout_is_off_in_evaluation() -> None:
    with slim.arg_scope(alexnet.alexnet_v2_arg_scope()):
        logits, _ = _build("alexnet_v2", 195, 10, is_training=False)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        first, second = session.run(logits), session.run(logits)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["alexnet_v2", "vgg_16"])
def test_dropout_keeps_the_fraction_asked_for(name: str) -> None:
    _build(name, NETS[name].default_image_size, dropout_keep_prob=0.9)  # type: ignore[attr-defined]
    rates = [
        tf.get_static_value(operation.inputs[1])
        for operation in tf.compat.v1.get_default_graph().get_operations()
        if operation.type == "GreaterEqual" and "dropout" in operation.name
    ]
    assert rates == pytest.approx([0.1, 0.1])
