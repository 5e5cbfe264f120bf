"""PNASNet-5: shapes and options that the golden outputs do not reach."""

from __future__ import annotations

import pytest
import tensorflow as tf

from slimworks.components.nets import layout
from slimworks.components.nets.nasnet import pnasnet
from slimworks.components.nets.nasnet.hparams import HParams
from slimworks.components.nets.registry import get_net
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.(layer.apply|layer.updates|tf.layers.*). (is deprecated|will be removed)"
)

NUM_CLASSES = 5


def _tiny(**changes) -> HParams:
    """Two narrow cells, both strided, the first with the auxiliary head."""
    config = pnasnet.mobile_imagenet_config()
    for name, value in {"num_cells": 2, "num_conv_filters": 6, **changes}.items():
        config.set_hparam(name, value)
    return config


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph, slim.arg_scope(pnasnet.pnasnet_mobile_arg_scope()):
        yield graph


def _images(size: int = 75) -> tf.Tensor:
    return tf.compat.v1.placeholder(tf.float32, [2, size, size, 3])


def test_end_points_of_training_in_order_and_shape(graph: tf.Graph) -> None:
    logits, end_points = pnasnet.build_pnasnet_mobile(_images(), NUM_CLASSES, config=_tiny())
    assert {name: tensor.shape.as_list() for name, tensor in end_points.items()} == {
        "Stem": [2, 10, 10, 15],
        "Cell_0": [2, 5, 5, 60],
        "AuxLogits": [2, NUM_CLASSES],
        "Cell_1": [2, 3, 3, 120],
        "global_pool": [2, 120],
        "Logits": [2, NUM_CLASSES],
        "Predictions": [2, NUM_CLASSES],
    }
    assert logits is end_points["Logits"]


def test_odd_widths_are_split_in_two(graph: tf.Graph) -> None:
    pnasnet.build_pnasnet_mobile(_images(), None, config=_tiny(), final_endpoint="Stem")
    depths = [
        tf.compat.v1.model_variables(f"cell_stem_1/path{path}_conv/weights")[0].shape[-1]
        for path in (1, 2)
    ]
    assert depths == [1, 2]


def test_evaluation_has_no_auxiliary_head(graph: tf.Graph) -> None:
    _, end_points = pnasnet.build_pnasnet_mobile(
        _images(), NUM_CLASSES, is_training=False, config=_tiny()
    )
    assert "AuxLogits" not in end_points
    assert not tf.compat.v1.model_variables("aux_0/")


def test_no_classes_returns_the_features(graph: tf.Graph) -> None:
    config = _tiny(num_cells=1, num_reduction_layers=0)
    net, end_points = pnasnet.build_pnasnet_mobile(_images(), None, config=config)
    assert net.shape.as_list() == [2, 30]
    assert list(end_points) == ["Stem", "Cell_0", "global_pool"]


def test_building_stops_at_the_final_endpoint(graph: tf.Graph) -> None:
    net, end_points = pnasnet.build_pnasnet_mobile(
        _images(), NUM_CLASSES, config=_tiny(), final_endpoint="Cell_0"
    )
    assert net is end_points["Cell_0"]
    assert list(end_points) == ["Stem", "Cell_0"]


def test_channels_first_changes_the_end_points_only(graph: tf.Graph) -> None:
    config = _tiny(data_format="NCHW")
    net, _ = pnasnet.build_pnasnet_mobile(_images(), 5, config=config, final_endpoint="Stem")
    assert net.shape.as_list() == [2, 15, 10, 10]


def test_bounded_activation_uses_relu6_only(graph: tf.Graph) -> None:
    config = _tiny(use_bounded_activation=True)
    pnasnet.build_pnasnet_mobile(_images(), 5, config=config, final_endpoint="Stem")
    kinds = {operation.type for operation in graph.get_operations()}
    assert "Relu6" in kinds
    assert "Relu" not in kinds


def test_minimum_of_the_registry_is_where_training_fails(graph: tf.Graph) -> None:
    minimum = get_net("pnasnet_mobile").min_image_size
    build = pnasnet.build_pnasnet_mobile
    build(_images(minimum), 5, config=_tiny(), final_endpoint="AuxLogits")
    tf.compat.v1.get_variable_scope().reuse_variables()
    with pytest.raises(ValueError, match="subtracting 5 from 4"):
        build(_images(minimum - 1), 5, config=_tiny(), final_endpoint="AuxLogits")


@pytest.mark.slow
def test_published_sizes_of_the_mobile_network() -> None:
    graph = layout.build_graph("pnasnet_mobile", 1000, 224, 3, is_training=False)
    shapes = {name: tensor.shape.as_list() for name, tensor in graph.end_points.items()}
    assert shapes["Stem"] == [1, 28, 28, 135]
    assert shapes["Cell_2"] == [1, 28, 28, 270]
    assert shapes["Cell_5"] == [1, 14, 14, 540]
    assert shapes["Cell_8"] == [1, 7, 7, 1080]
