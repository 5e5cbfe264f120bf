"""NASNet-A: shapes, options, drop path and numbers that the golden outputs do not reach."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import layout
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.nasnet import nasnet, nasnet_utils
from slimworks.components.nets.nasnet.hparams import HParams
from slimworks.components.nets.nets_factory import get_network_fn
from slimworks.components.nets.registry import get_net
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.(layer.apply|layer.updates|tf.layers.*). (is deprecated|will be removed)"
)

NUM_CLASSES = 5


def _changed(config: HParams, **changes) -> HParams:
    for name, value in changes.items():
        config.set_hparam(name, value)
    return config


def _mobile(**changes) -> HParams:
    """The mobile network with three narrow cells: a reduction before cells 1 and 2."""
    return _changed(
        nasnet.mobile_imagenet_config(), **{"num_cells": 3, "num_conv_filters": 8, **changes}
    )


def _cifar(**changes) -> HParams:
    """The network for CIFAR with two narrow cells: a reduction before each."""
    return _changed(nasnet.cifar_config(), **{"num_cells": 2, "num_conv_filters": 8, **changes})


def _one_cell(**changes) -> HParams:
    return _cifar(num_cells=1, num_reduction_layers=0, **changes)


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph, slim.arg_scope(nasnet.nasnet_mobile_arg_scope()):
        yield graph


@dataclasses.dataclass(frozen=True)
class Built:
    """A network in a TF1 graph, built for training and then for evaluation."""

    graph: tf.Graph
    images: tf.Tensor
    logits: tf.Tensor
    end_points: dict[str, tf.Tensor]
    variables: list[str]
    eval_end_points: dict[str, tf.Tensor]
    all_variables: list[str]
    global_step: tf.Variable | None


def _names() -> list[str]:
    return [variable.op.name for variable in tf.compat.v1.model_variables()]


@pytest.fixture(scope="module")
def mobile() -> Built:
    with tf.Graph().as_default() as graph, slim.arg_scope(nasnet.nasnet_mobile_arg_scope()):
        images = _images(75, num_images=None)
        logits, end_points = nasnet.build_nasnet_mobile(images, NUM_CLASSES, config=_mobile())
        variables = _names()
        tf.compat.v1.get_variable_scope().reuse_variables()
        _, eval_end_points = nasnet.build_nasnet_mobile(
            images, NUM_CLASSES, is_training=False, config=_mobile()
        )
        step = tf.compat.v1.train.get_global_step()
        return Built(graph, images, logits, end_points, variables, eval_end_points, _names(), step)


def _images(size: int, num_images: int | None = 2) -> tf.Tensor:
    return tf.compat.v1.placeholder(tf.float32, [num_images, size, size, 3])


def _shapes(end_points: dict[str, tf.Tensor]) -> dict[str, list[int]]:
    return {name: tensor.shape.as_list() for name, tensor in end_points.items()}


def test_end_points_of_training_in_order_and_shape(mobile: Built) -> None:
    assert list(_shapes(mobile.end_points).items()) == [
        ("Stem", [None, 10, 10, 16]),
        ("Cell_0", [None, 10, 10, 48]),
        ("Reduction_Cell_0", [None, 5, 5, 64]),
        ("Cell_1", [None, 5, 5, 96]),
        ("AuxLogits", [None, NUM_CLASSES]),
        ("Reduction_Cell_1", [None, 3, 3, 128]),
        ("Cell_2", [None, 3, 3, 192]),
        ("global_pool", [None, 192]),
        ("Logits", [None, NUM_CLASSES]),
        ("Predictions", [None, NUM_CLASSES]),
    ]
    assert mobile.logits is mobile.end_points["Logits"]


def test_evaluation_has_no_auxiliary_head_and_reuses_the_variables(mobile: Built) -> None:
    assert list(mobile.eval_end_points) == [e for e in mobile.end_points if e != "AuxLogits"]
    assert mobile.all_variables == mobile.variables
    assert any(name.startswith("aux_1/aux_logits/") for name in mobile.variables)


def test_batch_size_may_be_unknown(mobile: Built) -> None:
    with mobile.graph.as_default(), tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        feed = {mobile.images: np.zeros([3, 75, 75, 3])}
        predictions = session.run(mobile.eval_end_points["Predictions"], feed)
    np.testing.assert_allclose(predictions.sum(axis=1), [1, 1, 1], rtol=1e-5)


def test_tf1_graph_without_drop_path_gets_no_global_step(mobile: Built) -> None:
    assert mobile.global_step is None


def test_cifar_network_keeps_the_resolution_in_its_stem(graph: tf.Graph) -> None:
    _, end_points = nasnet.build_nasnet_cifar(_images(32), NUM_CLASSES, config=_cifar())
    shapes = _shapes(end_points)
    assert shapes["Stem"] == [2, 32, 32, 24]
    assert shapes["Cell_0"] == [2, 16, 16, 96]
    assert shapes["Cell_1"] == [2, 8, 8, 192]


@pytest.mark.slow
def test_published_sizes_of_the_mobile_network() -> None:
    graph = layout.build_graph("nasnet_mobile", 1000, 224, 3, is_training=False)
    shapes = _shapes(graph.end_points)
    assert shapes["Stem"] == [1, 28, 28, 88]
    assert shapes["Cell_3"] == [1, 28, 28, 264]
    assert shapes["Cell_7"] == [1, 14, 14, 528]
    assert shapes["Cell_11"] == [1, 7, 7, 1056]
    assert shapes["global_pool"] == [1, 1056]


@pytest.mark.parametrize("final_endpoint", ["Stem", "Cell_0", "global_pool"])
def test_building_stops_at_the_final_endpoint(graph: tf.Graph, final_endpoint: str) -> None:
    net, end_points = nasnet.build_nasnet_cifar(
        _images(32), NUM_CLASSES, config=_one_cell(), final_endpoint=final_endpoint
    )
    assert net is end_points[final_endpoint]
    assert list(end_points)[-1] == final_endpoint
    assert not tf.compat.v1.model_variables("final_layer")


def test_unknown_final_endpoint_is_named(graph: tf.Graph) -> None:
    with pytest.raises(ValueError, match=r"Unknown final_endpoint 'Cell_9', known: Stem, Cell_0"):
        nasnet.build_nasnet_cifar(_images(32), 5, config=_one_cell(), final_endpoint="Cell_9")


@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_classes_returns_the_features(graph: tf.Graph, num_classes: int | None) -> None:
    net, end_points = nasnet.build_nasnet_cifar(_images(32), num_classes, config=_one_cell())
    assert net.shape.as_list() == [2, 48]
    assert list(end_points) == ["Stem", "Cell_0", "global_pool"]


def test_auxiliary_head_is_optional(graph: tf.Graph) -> None:
    config = _cifar(use_aux_head=0)
    _, end_points = nasnet.build_nasnet_cifar(_images(32), NUM_CLASSES, config=config)
    assert "AuxLogits" not in end_points
    assert not tf.compat.v1.model_variables("aux_0/")


@pytest.mark.parametrize(("height", "width"), [(68, 131), (131, 68)])
def test_other_sizes_and_grey_images(graph: tf.Graph, height: int, width: int) -> None:
    images = tf.zeros([1, height, width, 1])
    logits, _ = nasnet.build_nasnet_mobile(
        images, 5, config=_mobile(num_cells=2), final_endpoint="AuxLogits"
    )
    assert logits.shape.as_list() == [1, 5]


@pytest.mark.parametrize(
    ("name", "build", "config"),
    [
        ("nasnet_mobile", nasnet.build_nasnet_mobile, _mobile(num_cells=2)),
        ("nasnet_cifar", nasnet.build_nasnet_cifar, _cifar()),
    ],
)
def test_minimum_of_the_registry_is_where_training_fails(graph, name: str, build, config) -> None:
    minimum = get_net(name).min_image_size
    build(_images(minimum), 5, config=config, final_endpoint="AuxLogits")
    tf.compat.v1.get_variable_scope().reuse_variables()
    with pytest.raises(ValueError, match="subtracting 5 from 4"):
        build(_images(minimum - 1), 5, config=config, final_endpoint="AuxLogits")


def test_images_without_static_size_are_refused(graph: tf.Graph) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
    with pytest.raises(ValueError, match=r"\(None, None, None, 3\), expected .* static H, W and C"):
        nasnet.build_nasnet_mobile(images, 5)


def test_channels_first_changes_the_end_points_only(graph: tf.Graph) -> None:
    config = _cifar(data_format="NCHW")
    _, end_points = nasnet.build_nasnet_cifar(_images(32), NUM_CLASSES, config=config)
    shapes = _shapes(end_points)
    assert shapes["Stem"] == [2, 24, 32, 32]
    assert shapes["Cell_1"] == [2, 192, 8, 8]
    assert shapes["AuxLogits"] == [2, NUM_CLASSES]


@pytest.mark.parametrize("is_bounded", [False, True])
def test_bounded_activation_uses_relu6_and_clips(graph: tf.Graph, is_bounded: bool) -> None:
    config = _cifar(use_bounded_activation=is_bounded)
    nasnet.build_nasnet_cifar(_images(32), 5, config=config, final_endpoint="AuxLogits")
    kinds = {operation.type for operation in graph.get_operations()}
    assert ("Relu6" in kinds, "Relu" in kinds) == (is_bounded, not is_bounded)
    assert any("clip_by_value" in op.name for op in graph.get_operations()) is is_bounded


@pytest.mark.parametrize(("skip", "depth"), [(False, 48), (True, 24)])
def test_skipping_takes_the_input_from_before_the_reduction(
    graph: tf.Graph, skip: bool, depth: int
) -> None:
    config = _cifar(num_reduction_layers=1, skip_reduction_layer_input=skip)
    nasnet.build_nasnet_cifar(_images(32), None, config=config)
    (weights,) = tf.compat.v1.model_variables("cell_1/path1_conv/weights")
    assert weights.shape.as_list() == [1, 1, depth, 8]  # of Cell_0, or of the stem


def test_config_is_left_as_it_was(graph: tf.Graph) -> None:
    config = _one_cell()
    nasnet.build_nasnet_cifar(_images(32), None, is_training=False, config=config)
    assert config.drop_path_keep_prob == 0.6


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_filters", 8, "Unknown hyperparameter 'num_filters', known: stem_multiplier,"),
        ("num_cells", 2.5, "num_cells is 2.5, expected a value of type int."),
        ("use_aux_head", "no", "use_aux_head is 'no', expected a value of type bool."),
        ("data_format", 1, "data_format is 1, expected a value of type str."),
    ],
)
def test_set_hparam_refuses_what_it_does_not_know(name: str, value, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nasnet.cifar_config().set_hparam(name, value)


def test_set_hparam_takes_numbers_for_truth_values() -> None:
    config = nasnet.cifar_config()
    config.set_hparam("use_aux_head", 0)
    assert config.use_aux_head is False


def test_unknown_data_format_is_refused(graph: tf.Graph) -> None:
    with pytest.raises(ValueError, match="data_format is 'NWHC', expected 'NHWC' or 'NCHW'"):
        nasnet.build_nasnet_cifar(_images(32), 5, config=_one_cell(data_format="NWHC"))


@pytest.mark.parametrize(
    ("num_cells", "num_reductions", "expected"), [(18, 2, [6, 12]), (9, 2, [3, 6]), (4, 1, [2])]
)
def test_reductions_are_spread_evenly(
    num_cells: int, num_reductions: int, expected: list[int]
) -> None:
    assert nasnet_utils.calc_reduction_layers(num_cells, num_reductions) == expected


@pytest.mark.parametrize(("data_format", "index", "depth"), [("NHWC", 3, 4), ("NCHW", 1, 2)])
def test_channels_follow_the_data_format(data_format: str, index: int, depth: int) -> None:
    assert nasnet_utils.get_channel_index(data_format=data_format) == index
    assert nasnet_utils.get_channel_dim([1, 2, 3, 4], data_format=data_format) == depth


def test_data_format_has_no_default() -> None:
    with pytest.raises(ValueError, match="data_format is 'null', expected 'NHWC' or 'NCHW'"):
        nasnet_utils.get_channel_index()


@pytest.mark.parametrize("filters", [6, 7])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_factorized_reduction_halves_any_size_to_any_depth(
    graph: tf.Graph, filters: int, data_format: str
) -> None:
    shape = [2, 9, 10, 4] if data_format == "NHWC" else [2, 4, 9, 10]
    with slim.arg_scope([slim.conv2d, slim.batch_norm], data_format=data_format):
        net = nasnet_utils.factorized_reduction(tf.zeros(shape), filters, 2, data_format)
    assert net.shape.as_list() == (
        [2, 5, 5, filters] if data_format == "NHWC" else [2, filters, 5, 5]
    )


def test_factorized_reduction_keeps_two_of_four_pixels(graph: tf.Graph) -> None:
    pixels = np.arange(16, dtype=np.float32).reshape([1, 4, 4, 1])
    with (
        slim.arg_scope([slim.conv2d], weights_initializer=tf.compat.v1.ones_initializer()),
        slim.arg_scope([slim.batch_norm], is_training=False, epsilon=0.0),
    ):
        net = nasnet_utils.factorized_reduction(tf.constant(pixels), 2, 2, "NHWC")
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        found = session.run(net)
    np.testing.assert_allclose(found[0, :, :, 0], [[0, 2], [8, 10]])
    np.testing.assert_allclose(found[0, :, :, 1], [[5, 7], [13, 15]])


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    images = tf.ones([2000, 2, 2, 3])
    for dropped in (
        nasnet_utils.drop_path(images, 0.8),
        tf.function(nasnet_utils.drop_path)(images, tf.constant(0.8)),
    ):
        values = dropped.numpy().reshape([2000, -1])
        assert set(np.round(np.unique(values), 4)) == {0.0, 1.25}
        assert np.all(values == values[:, :1])
        assert values.mean() == pytest.approx(1.0, abs=0.05)


def test_drop_path_is_for_training() -> None:
    images = tf.ones([3, 1, 1, 1])
    assert nasnet_utils.drop_path(images, 0.1, is_training=False) is images


@pytest.mark.parametrize(
    ("step", "cell_num", "keep_prob"),
    [(0, 3, 1.0), (50, 3, 0.8), (100, 3, 0.6), (900, 3, 0.6), (100, 0, 0.9)],
)
def test_drop_path_grows_with_step_and_depth(step: int, cell_num: int, keep_prob: float) -> None:
    cell = nasnet_utils.NasNetANormalCell(8, 0.6, total_num_cells=4, total_training_steps=100)
    found = cell._keep_prob(cell_num, tf.constant(step, tf.int64))
    assert float(found) == pytest.approx(keep_prob)


def test_drop_path_needs_the_cells_position(graph: tf.Graph) -> None:
    cell = nasnet_utils.NasNetANormalCell(8, 0.6, total_num_cells=4, total_training_steps=100)
    with pytest.raises(ValueError, match="cell_num is -1, but drop path needs the cell's position"):
        cell(tf.zeros([1, 8, 8, 8]), scope="cell")


def test_cell_refuses_an_unknown_operation(graph: tf.Graph) -> None:
    cell = nasnet_utils.NasNetABaseCell(8, ["conv_3x3", "none"], [1, 1, 0], [0, 1], 1.0, 1, 1)
    scope = [slim.conv2d, nasnet_utils.get_channel_dim, nasnet_utils.get_channel_index]
    with (
        slim.arg_scope(scope, data_format="NHWC"),
        pytest.raises(ValueError, match="Unknown operation 'conv_3x3', expected none, separable_"),
    ):
        cell(tf.zeros([1, 8, 8, 8]), scope="cell")


def test_tf1_graph_gets_a_global_step_for_drop_path(graph: tf.Graph) -> None:
    nasnet.build_nasnet_cifar(_images(32), 5, config=_one_cell())
    assert tf.compat.v1.train.get_global_step().op.name == "global_step"


@pytest.mark.slow
def test_module_drops_paths_by_the_step_that_it_is_given() -> None:
    module = SlimModule(get_net("nasnet_cifar"), NUM_CLASSES, 9, 3)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 9, 9, 3)).astype(np.float32)

    @tf.function(autograph=False)
    def train(images):
        outputs = module.forward(images, is_training=True, step=step)
        return outputs.logits, outputs.end_points["AuxLogits"]

    start = [train(images)[0].numpy() for _ in range(2)]
    step.assign(nasnet.cifar_config().total_training_steps)
    end = [train(images)[0].numpy() for _ in range(2)]
    np.testing.assert_allclose(start[0], start[1], atol=1e-5)
    assert np.abs(end[0] - end[1]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["nasnet_mobile", "pnasnet_mobile"])
def test_decayed_weights_are_the_recorded_ones(name: str, shared: Path) -> None:
    facts = json.loads((shared / "nets" / "layout" / f"{name}.facts.json").read_text())
    with tf.Graph().as_default():
        network_fn = get_network_fn(name, 1001, weight_decay=4e-5, is_training=True)
        network_fn(tf.zeros([1, 224, 224, 3]))
        losses = tf.compat.v1.losses.get_regularization_losses()
        decayed = set()
        for loss in losses:
            behind = layout.operations_behind([loss]).values()
            decayed |= {op.name for op in behind if op.type == "VarHandleOp"}
    assert decayed == set(facts["regularized_with_weight_decay"])


@pytest.mark.slow
@pytest.mark.shared
def test_dropped_paths_are_the_recorded_ones(shared: Path) -> None:
    facts = json.loads((shared / "nets" / "layout" / "nasnet_cifar.facts.json").read_text())
    built = layout.build_graph("nasnet_cifar", 10, 32, 3, is_training=True)
    random = [op.name for op in built.graph.get_operations() if op.type == "RandomUniform"]
    assert set(random) == set(facts["random_ops_in_training_graph"])
