"""MobileNet v3 and EdgeTPU: layers, activations, gates, pools, padding, one step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets.mobilenet import mobilenet_v3
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")


@pytest.fixture
def _graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


in_graph = pytest.mark.usefixtures("_graph")

V3_SMALL, V3_EDGETPU = mobilenet_v3.V3_SMALL, mobilenet_v3.V3_EDGETPU
# Layers of each kind, for tests of what holds for any number of them.
SHORT_DEF = {**V3_SMALL, "spec": [*V3_SMALL["spec"][:5], *V3_SMALL["spec"][-3:]]}
SHORT_EDGE_DEF = {**V3_EDGETPU, "spec": [*V3_EDGETPU["spec"][:4], *V3_EDGETPU["spec"][9:13]]}


def _build(network: Callable[..., Any], images: tf.Tensor, **options: Any) -> Any:
    # As the factory does: converting layers by AutoGraph takes seconds.
    return tf.autograph.experimental.do_not_convert(network)(images, **options)


def _images(height: int = 32, width: int | None = None) -> tf.Tensor:
    return tf.zeros([1, height, width or height, 3])


def _operations(kind: str) -> list[tf.Operation]:
    graph = tf.compat.v1.get_default_graph()
    return [operation for operation in graph.get_operations() if operation.type == kind]


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@in_graph
@pytest.mark.parametrize(
    ("network", "last", "shape"),
    [
        (mobilenet_v3.mobilenet, "layer_19", [1, 1, 1, 1280]),
        (mobilenet_v3.small, "layer_15", [1, 1, 1, 1024]),
        (mobilenet_v3.edge_tpu, "layer_24", [1, 7, 7, 1280]),
        slow(mobilenet_v3.large, "layer_19", [1, 1, 1, 1280]),
        slow(mobilenet_v3.large_minimalistic, "layer_19", [1, 1, 1, 1280]),
        slow(mobilenet_v3.small_minimalistic, "layer_15", [1, 1, 1, 1024]),
        slow(mobilenet_v3.edge_tpu_075, "layer_24", [1, 7, 7, 1280]),
    ],
)
def test_last_layer_and_logits(network: Callable[..., Any], last: str, shape: list[int]) -> None:
    logits, end_points = _build(network, _images(224))
    assert end_points[last].shape.as_list() == shape
    assert logits.shape.as_list() == [1, 1001]
    assert network.default_image_size == 224  # type: ignore[attr-defined]


@in_graph
@pytest.mark.parametrize("scope", [None, "Mine"])
def test_scope_of_the_edge_network_is_free(scope: str | None) -> None:
    options = {"scope": scope} if scope else {}
    _build(mobilenet_v3.edge_tpu, _images(), final_endpoint="layer_2", **options)
    roots = {variable.op.name.split("/")[0] for variable in tf.compat.v1.model_variables()}
    assert roots == {scope or "MobilenetEdgeTPU"}


@in_graph
@pytest.mark.parametrize(("size", "shape"), [(224, [1, 7, 7, 960]), (None, [1, None, None, 960])])
def test_base_stops_before_the_pool(size: int | None, shape: list[int | None]) -> None:
    net, end_points = _build(
        mobilenet_v3.mobilenet,
        tf.compat.v1.placeholder(tf.float32, [1, size, size, 3]),
        base_only=True,
        final_endpoint="layer_17",
    )
    assert net is end_points["layer_17"]
    assert net.shape.as_list() == shape
    assert "global_pool" not in end_points


@in_graph
def test_minimalistic_networks_have_nothing_slow() -> None:
    _build(mobilenet_v3.small_minimalistic, _images())
    names = " ".join(v.op.name for v in tf.compat.v1.model_variables())
    assert "squeeze_excite" not in names
    assert not _operations("Relu6")
    kernels = [op.inputs[1].shape[0] for op in _operations("DepthwiseConv2dNative")]
    assert kernels == [3] * 11


@in_graph
def test_finegrain_mode_keeps_the_last_layer_wide() -> None:
    net, end_points = _build(
        mobilenet_v3.mobilenet_base,
        _images(),
        conv_defs=SHORT_DEF,
        depth_multiplier=0.1,
        finegrain_classification_mode=True,
    )
    assert end_points["layer_6"].shape[3] == 56  # a tenth of 576, as a multiple of 8
    assert net.shape.as_list() == [1, 1, 1, 1024]


@in_graph
@pytest.mark.parametrize("by_reduction", [False, True])
def test_head_pools_in_either_way(by_reduction: bool) -> None:
    _build(
        mobilenet_v3.edge_tpu,
        _images(),
        use_reduce_mean_for_pooling=by_reduction,
        final_endpoint="layer_2",
        num_classes=5,
    )
    assert any("ReduceMean" in op.name for op in _operations("Mean")) == by_reduction


@in_graph
def test_group_norm_takes_the_place_of_batch_norm() -> None:
    _build(mobilenet_v3.small, _images(), use_groupnorm=True, final_endpoint="layer_5")
    names = [variable.op.name for variable in tf.compat.v1.model_variables()]
    assert any("GroupNorm" in name for name in names)
    assert not any("BatchNorm" in name for name in names)


@in_graph
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize(
    ("conv_defs", "last", "output_stride", "side"),
    [
        (SHORT_DEF, "layer_6", None, 4),
        (SHORT_DEF, "layer_6", 8, 8),
        (SHORT_EDGE_DEF, "layer_8", None, 8),
        (SHORT_EDGE_DEF, "layer_8", 4, 16),
        (SHORT_EDGE_DEF, "layer_8", 2, 32),
    ],
)
def test_output_stride_sets_the_resolution(
    conv_defs: dict[str, Any], last: str, output_stride: int | None, side: int, explicit: bool
) -> None:
    logits, end_points = _build(
        mobilenet_v3.mobilenet,
        _images(64),
        num_classes=5,
        conv_defs=conv_defs,
        output_stride=output_stride,
        use_explicit_padding=explicit,
    )
    assert end_points[last].shape.as_list()[1:3] == [side, side]
    assert logits.shape.as_list() == [1, 5]


@in_graph
def test_explicit_padding_changes_nothing_where_strides_are_one() -> None:
    """Stride 1 pads alike both ways: the same weights give the same features."""
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, [1, 16, 16, 3]), tf.float32)
    features = [
        _build(
            mobilenet_v3.mobilenet,
            images,
            conv_defs=SHORT_EDGE_DEF,
            output_stride=1,
            use_explicit_padding=explicit,
            base_only=True,
            reuse=reuse,
        )[0]
        for explicit, reuse in ((False, None), (True, True))
    ]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        same, explicit = session.run(features)
    assert np.abs(same).max() > 0
    np.testing.assert_allclose(explicit, same, atol=1e-5 * np.abs(same).max())


@in_graph
@pytest.mark.parametrize(
    ("shape", "pooled"),
    [
        ([1, 7, 7, 4], [1, 1, 1, 4]),
        ([1, 12, 12, 4], [1, 1, 1, 4]),
        ([1, 3, 10, 4], [1, 1, 4, 4]),  # windows of 7, cut to the map, and the head averages
        ([1, None, None, 4], [1, 1, 1, 4]),
    ],
)
def test_maps_are_reduced(shape: list[int | None], pooled: list[int]) -> None:
    features = tf.compat.v1.placeholder(tf.float32, shape)
    net = mobilenet_v3.reduce_to_1x1(features, stride=1, padding="VALID", rate=2)
    assert net.shape.as_list() == pooled


@in_graph
@pytest.mark.parametrize("shape", [[2, 96, 320, 3], [None, None, None, 3], [None, 48, 48, 1]])
def test_images_of_any_size_give_one_row_of_logits(shape: list[int | None]) -> None:
    images = tf.compat.v1.placeholder(tf.float32, shape)
    logits, _ = _build(mobilenet_v3.mobilenet, images, num_classes=5, conv_defs=SHORT_DEF)
    assert logits.shape.as_list() == [shape[0], 5]


def test_hard_swish_is_exact_at_its_corners() -> None:
    values = mobilenet_v3.hard_swish(tf.constant([-4.0, -3.0, -1.5, 0.0, 1.0, 3.0, 4.0]))
    np.testing.assert_allclose(values, [0, 0, -0.375, 0, 4 / 6, 3, 4], rtol=1e-6)


@in_graph
def test_gate_is_the_published_hard_sigmoid() -> None:
    """Zero weights leave a gate of 3 * 0.16667: TF-Slim's digits, not a sixth."""
    images = tf.ones([1, 2, 2, 16])
    zeros = tf.compat.v1.zeros_initializer()
    with mobilenet_v3.slim.arg_scope([mobilenet_v3.slim.conv2d], weights_initializer=zeros):
        gated = mobilenet_v3.squeeze_excite(images)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        np.testing.assert_allclose(session.run(gated), 0.50001, rtol=1e-7)


@pytest.mark.parametrize(
    ("detection", "published", "halved"),
    [
        (mobilenet_v3.V3_LARGE_DETECTION, mobilenet_v3.V3_LARGE, {13: 80, 14: 80, 15: 80, 16: 480}),
        (mobilenet_v3.V3_SMALL_DETECTION, mobilenet_v3.V3_SMALL, {9: 48, 10: 48, 11: 48, 12: 288}),
    ],
)
def test_detection_networks_halve_the_last_stage(
    detection: dict, published: dict, halved: dict[int, int]
) -> None:
    depths = [layer.params.get("num_outputs") for layer in detection["spec"]]
    expected = [layer.params.get("num_outputs") for layer in published["spec"]]
    for index, depth in halved.items():
        assert expected[index] == 2 * depth
        expected[index] = depth
    assert depths == expected


@in_graph
def test_own_definition_takes_v3_layers() -> None:
    spec = [
        mobilenet_v3.op(mobilenet_v3.slim.conv2d, num_outputs=8, kernel_size=[3, 3], stride=2),
        mobilenet_v3.mbv3_fused(ef=4, n=16, k=3, s=2),
        mobilenet_v3.mbv3_op(ef=2, n=16, k=5, act=mobilenet_v3.hard_swish),
        mobilenet_v3.mbv3_op_se(ef=4, n=24, k=3, residual=False),
    ]
    conv_defs = {"defaults": mobilenet_v3.DEFAULTS, "spec": spec}
    net, _ = _build(mobilenet_v3.mobilenet_base, _images(), conv_defs=conv_defs)
    assert net.shape.as_list() == [1, 8, 8, 24]
    shapes = {v.op.name: v.shape.as_list() for v in tf.compat.v1.model_variables()}
    assert shapes["MobilenetV3/expanded_conv/expand/weights"] == [3, 3, 8, 32]
    assert shapes["MobilenetV3/expanded_conv_2/squeeze_excite/Conv/weights"] == [1, 1, 64, 16]


@in_graph
def test_generic_multiplier_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiplier is 0\.5, call it depth_multiplier\."):
        mobilenet_v3.mobilenet(_images(), multiplier=0.5)


def test_a_step_of_training_moves_weights_and_statistics() -> None:
    module = SlimModule(get_net("mobilenet_v3_small"), 3, 64, 3, weight_decay=4e-5)
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.1)
    trainable = module.trainable_by_name
    before = {name: v.numpy() for name, v in module.variables_by_name.items()}

    @tf.function(autograph=False)
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = module.forward(images, is_training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
            loss = tf.reduce_mean(losses) + outputs.regularization_loss
        gradients = tape.gradient(loss, list(trainable.values()))
        optimizer.apply_gradients(zip(gradients, trainable.values(), strict=True))
        return loss

    images = np.random.default_rng(0).uniform(-1, 1, [4, 64, 64, 3]).astype(np.float32)
    assert np.isfinite(step(images, np.array([0, 1, 2, 0])))
    unmoved = {n for n, v in module.variables_by_name.items() if np.all(v.numpy() == before[n])}
    assert unmoved <= set(trainable)  # every moving average moved
    assert len(unmoved) < len(trainable) / 10  # relu may leave a few gradients at zero
    assert "MobilenetV3/Conv/weights" not in unmoved
    assert "MobilenetV3/Logits/Conv2d_1c_1x1/weights" not in unmoved
