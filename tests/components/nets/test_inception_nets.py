"""Inception v1 to v4 and Inception-ResNet v2: shapes, end points, partial bodies and options."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import inception
from slimworks.components.nets.slim import published_nets, slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

ROOTS = {
    "inception_v1": "InceptionV1",
    "inception_v2": "InceptionV2",
    "inception_v3": "InceptionV3",
    "inception_v4": "InceptionV4",
    "inception_resnet_v2": "InceptionResnetV2",
}
# (end point, side at the published image size, depth) of each body.
BODIES: dict[str, list[tuple[str, int, int]]] = {
    "inception_v1": [
        *(("Conv2d_1a_7x7", 112, 64), ("MaxPool_2a_3x3", 56, 64), ("Conv2d_2b_1x1", 56, 64)),
        *(("Conv2d_2c_3x3", 56, 192), ("MaxPool_3a_3x3", 28, 192), ("Mixed_3b", 28, 256)),
        *(("Mixed_3c", 28, 480), ("MaxPool_4a_3x3", 14, 480), ("Mixed_4b", 14, 512)),
        *(("Mixed_4c", 14, 512), ("Mixed_4d", 14, 512), ("Mixed_4e", 14, 528)),
        *(("Mixed_4f", 14, 832), ("MaxPool_5a_2x2", 7, 832), ("Mixed_5b", 7, 832)),
        ("Mixed_5c", 7, 1024),
    ],
    "inception_v2": [
        *(("Conv2d_1a_7x7", 112, 64), ("MaxPool_2a_3x3", 56, 64), ("Conv2d_2b_1x1", 56, 64)),
        *(("Conv2d_2c_3x3", 56, 192), ("MaxPool_3a_3x3", 28, 192), ("Mixed_3b", 28, 256)),
        *(("Mixed_3c", 28, 320), ("Mixed_4a", 14, 576), ("Mixed_4b", 14, 576)),
        *(("Mixed_4c", 14, 576), ("Mixed_4d", 14, 576), ("Mixed_4e", 14, 576)),
        *(("Mixed_5a", 7, 1024), ("Mixed_5b", 7, 1024), ("Mixed_5c", 7, 1024)),
    ],
    "inception_v3": [
        *(("Conv2d_1a_3x3", 149, 32), ("Conv2d_2a_3x3", 147, 32), ("Conv2d_2b_3x3", 147, 64)),
        *(("MaxPool_3a_3x3", 73, 64), ("Conv2d_3b_1x1", 73, 80), ("Conv2d_4a_3x3", 71, 192)),
        *(("MaxPool_5a_3x3", 35, 192), ("Mixed_5b", 35, 256), ("Mixed_5c", 35, 288)),
        *(("Mixed_5d", 35, 288), ("Mixed_6a", 17, 768), ("Mixed_6b", 17, 768)),
        *(("Mixed_6c", 17, 768), ("Mixed_6d", 17, 768), ("Mixed_6e", 17, 768)),
        *(("Mixed_7a", 8, 1280), ("Mixed_7b", 8, 2048), ("Mixed_7c", 8, 2048)),
    ],
    "inception_v4": [
        *(("Conv2d_1a_3x3", 149, 32), ("Conv2d_2a_3x3", 147, 32), ("Conv2d_2b_3x3", 147, 64)),
        *(("Mixed_3a", 73, 160), ("Mixed_4a", 71, 192), ("Mixed_5a", 35, 384)),
        *((f"Mixed_5{letter}", 35, 384) for letter in "bcde"),
        *((f"Mixed_6{letter}", 17, 1024) for letter in "abcdefgh"),
        *((f"Mixed_7{letter}", 8, 1536) for letter in "abcd"),
    ],
    "inception_resnet_v2": [
        *(("Conv2d_1a_3x3", 149, 32), ("Conv2d_2a_3x3", 147, 32), ("Conv2d_2b_3x3", 147, 64)),
        *(("MaxPool_3a_3x3", 73, 64), ("Conv2d_3b_1x1", 73, 80), ("Conv2d_4a_3x3", 71, 192)),
        *(("MaxPool_5a_3x3", 35, 192), ("Mixed_5b", 35, 320), ("Mixed_6a", 17, 1088)),
        *(("PreAuxLogits", 17, 1088), ("Mixed_7a", 8, 2080), ("Conv2d_7b_1x1", 8, 1536)),
    ],
}
HEADS = {
    "inception_v1": {"AvgPool_0a_7x7": [5, 1, 1, 1024]},
    "inception_v2": {"AvgPool_1a": [5, 1, 1, 1024], "PreLogits": [5, 1, 1, 1024]},
    "inception_v3": {
        "AuxLogits": [5, 1000],
        "AvgPool_1a": [5, 1, 1, 2048],
        "PreLogits": [5, 1, 1, 2048],
    },
    "inception_v4": {
        "AuxLogits": [5, 1000],
        "global_pool": [5, 1, 1, 1536],
        "PreLogitsFlatten": [5, 1536],
    },
    "inception_resnet_v2": {
        "AuxLogits": [5, 1000],
        "global_pool": [5, 1, 1, 1536],
        "PreLogitsFlatten": [5, 1536],
    },
}
QUICK = {"inception_v1"}
Outputs = tuple[tf.Tensor, dict[str, tf.Tensor]]


def _nets(*names: str) -> list[Any]:
    return [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in names or ROOTS
    ]


def _build(name: str, *arguments: Any, **options: Any) -> Outputs:
    """Calls a function of `inception`; converting it by AutoGraph would take seconds."""
    return tf.autograph.experimental.do_not_convert(getattr(inception, name))(*arguments, **options)


def _images(height: int, width: int | None = None, channels: int = 3, batch: int = 5) -> tf.Tensor:
    return tf.zeros([batch, height, width or height, channels])


def _variables() -> dict[str, list[int]]:
    return {v.op.name: v.shape.as_list() for v in tf.compat.v1.model_variables()}


@functools.lru_cache(maxsize=1)
def _classifier(name: str) -> Outputs:
    with tf.Graph().as_default():
        size = getattr(inception, name).default_image_size
        return _build(name, _images(size), 1000)


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.mark.parametrize("name", _nets())
def test_classifier_has_the_published_end_points(name: str) -> None:
    _, end_points = _classifier(name)
    found = {key: value.shape.as_list() for key, value in end_points.items()}
    assert found == {
        **{key: [5, side, side, depth] for key, side, depth in BODIES[name]},
        **HEADS[name],
        "Logits": [5, 1000],
        "Predictions": [5, 1000],
    }


@pytest.mark.parametrize("name", _nets())
def test_logits_lie_below_the_scope_of_the_head(name: str) -> None:
    logits, end_points = _classifier(name)
    assert logits is end_points["Logits"]
    assert logits.op.name.startswith(f"{ROOTS[name]}/Logits/")


@pytest.mark.parametrize("name", _nets("inception_v3", "inception_v4", "inception_resnet_v2"))
def test_auxiliary_logits_lie_below_a_scope_of_their_own(name: str) -> None:
    _, end_points = _classifier(name)
    assert end_points["AuxLogits"].op.name.startswith(f"{ROOTS[name]}/AuxLogits/")


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("inception_v1", "InceptionV1/Logits/AvgPool_0a_7x7/AvgPool"),
        ("inception_v2", "InceptionV2/Logits/AvgPool_1a_7x7/AvgPool"),
    ],
)
def test_pools_have_the_published_node_names(name: str, pool: str) -> None:
    features, _ = _build(name, _images(224), None)
    assert features.op.name == pool


@pytest.mark.parametrize(
    ("name", "final_endpoint"),
    [
        pytest.param(name, end_point, marks=[pytest.mark.slow] if index > 5 else [])
        for name, body in BODIES.items()
        for index, (end_point, _, _) in enumerate(body)
        if index in (0, 2, 5, 7, 9, len(body) - 1)
    ],
)
def test_body_ends_at_the_final_endpoint(name: str, final_endpoint: str) -> None:
    size = getattr(inception, name).default_image_size
    net, end_points = _build(f"{name}_base", _images(size), final_endpoint)
    names = [end_point for end_point, _, _ in BODIES[name]]
    assert list(end_points) == names[: names.index(final_endpoint) + 1]
    assert net is end_points[final_endpoint]
    if final_endpoint != "PreAuxLogits":  # which has no scope of its own
        assert net.op.name.startswith(f"{ROOTS[name]}/{final_endpoint}")


@pytest.mark.parametrize("name", [name for name in ROOTS if name != "inception_v3"])
def test_unknown_final_endpoint_is_refused_with_those_known(name: str) -> None:
    with pytest.raises(ValueError, match=r"Unknown final_endpoint 'Mixed_9', known: Conv2d_1a_"):
        _build(f"{name}_base", _images(64), "Mixed_9")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("inception_v1", 5_607_184),
        pytest.param("inception_v2", 10_173_112, marks=pytest.mark.slow),
        pytest.param("inception_v3", 21_802_784, marks=pytest.mark.slow),
    ],
)
def test_body_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with slim.arg_scope(getattr(inception, f"{name}_arg_scope")()):
        _build(f"{name}_base", _images(224))
    assert sum(int(np.prod(shape)) for shape in _variables().values()) == parameters


@pytest.mark.parametrize("name", ["inception_v1", "inception_v2"])
def test_body_without_root_block_starts_at_the_first_module(name: str) -> None:
    net, end_points = _build(
        f"{name}_base", tf.zeros([5, 28, 28, 192]), "Mixed_3c", include_root_block=False
    )
    assert list(end_points) == ["Mixed_3b", "Mixed_3c"]
    assert net.shape.as_list()[:3] == [5, 28, 28]


@pytest.mark.parametrize("name", ["inception_v1", "inception_v2"])
def test_end_points_of_a_missing_root_block_are_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="Unknown final_endpoint 'MaxPool_2a_3x3', known: Mixed_3"):
        _build(f"{name}_base", _images(28), "MaxPool_2a_3x3", include_root_block=False)


@pytest.mark.parametrize(
    ("name", "size", "last", "side"),
    [
        ("inception_v1", 112, "Mixed_5c", 4),
        pytest.param("inception_v2", 112, "Mixed_5c", 4, marks=pytest.mark.slow),
        pytest.param("inception_v3", 150, "Mixed_7c", 3, marks=pytest.mark.slow),
        pytest.param("inception_v4", 150, "Mixed_7d", 3, marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", 150, "Conv2d_7b_1x1", 3, marks=pytest.mark.slow),
    ],
)
def test_images_of_half_the_size_are_pooled_whole(
    name: str, size: int, last: str, side: int
) -> None:
    logits, end_points = _build(name, _images(size), 10)
    assert logits.shape.as_list() == [5, 10]
    assert end_points[last].shape.as_list()[1:3] == [side, side]


@pytest.mark.parametrize(
    ("name", "options", "last", "shape"),
    [
        ("inception_v1", {"global_pool": True}, "Mixed_5c", [10, 13]),
        pytest.param(
            "inception_v2", {"global_pool": True}, "Mixed_5c", [10, 13], marks=pytest.mark.slow
        ),
        pytest.param(
            "inception_v3", {"global_pool": True}, "Mixed_7c", [8, 11], marks=pytest.mark.slow
        ),
        pytest.param("inception_v4", {}, "Mixed_7d", [8, 11], marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", {}, "Conv2d_7b_1x1", [8, 11], marks=pytest.mark.slow),
    ],
)
def test_large_images_of_any_shape_give_one_row_of_logits(
    name: str, options: dict[str, Any], last: str, shape: list[int]
) -> None:
    logits, end_points = _build(name, _images(300, 400), 10, **options)
    assert logits.shape.as_list() == [5, 10]
    assert end_points[last].shape.as_list()[1:3] == shape
    assert end_points["global_pool"].shape.as_list()[:3] == [5, 1, 1]


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("inception_v1", {"global_pool": True}, 75),
        pytest.param("inception_v2", {"global_pool": True}, 75, marks=pytest.mark.slow),
        pytest.param(
            "inception_v3",
            {"global_pool": True, "create_aux_logits": False},
            107,
            marks=pytest.mark.slow,
        ),
        pytest.param("inception_v4", {"create_aux_logits": False}, 107, marks=pytest.mark.slow),
        pytest.param(
            "inception_resnet_v2", {"create_aux_logits": False}, 107, marks=pytest.mark.slow
        ),
    ],
)
def test_batch_and_image_size_may_be_unknown(name: str, options: dict[str, Any], side: int) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
    logits, _ = _build(name, images, 10, is_training=False, **options)
    assert logits.shape.as_list() == [None, 10]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        found = session.run(logits, {images: np.zeros([2, side, side + 20, 3], np.float32)})
    assert found.shape == (2, 10)


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
@pytest.mark.slow
def test_auxiliary_head_needs_a_known_image_size(name: str) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
    with pytest.raises(ValueError, match=r"known height and width.* pass create_aux_logits=False"):
        _build(name, images, 10)


@pytest.mark.parametrize("name", _nets("inception_v3", "inception_v4", "inception_resnet_v2"))
def test_auxiliary_head_can_be_left_out(name: str) -> None:
    logits, end_points = _build(name, _images(107), 10, create_aux_logits=False)
    assert logits.shape.as_list() == [5, 10]
    assert "AuxLogits" not in end_points
    assert not [variable for variable in _variables() if "AuxLogits" in variable]


@pytest.mark.parametrize("name", _nets())
@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_classes_gives_the_pooled_features(name: str, num_classes: int | None) -> None:
    features, end_points = _build(name, _images(107), num_classes)
    assert features.shape.as_list() == [5, 1, 1, BODIES[name][-1][2]]
    assert not {"Logits", "AuxLogits", "Predictions", "PreLogits"} & set(end_points)


@pytest.mark.parametrize("name", _nets())
def test_evaluation_reuses_the_variables_of_training(name: str) -> None:
    _build(name, _images(107), 10)
    variables = _variables()
    logits, _ = _build(name, _images(107, batch=2), 10, is_training=False, reuse=True)
    assert logits.shape.as_list() == [2, 10]
    assert _variables() == variables


@pytest.mark.parametrize("name", _nets("inception_v1", "inception_v2", "inception_v3"))
def test_logits_keep_their_space_unless_squeezed(name: str) -> None:
    logits, _ = _build(name, _images(107), 10, spatial_squeeze=False)
    assert logits.shape.as_list() == [5, 1, 1, 10]


@pytest.mark.parametrize("name", _nets())
def test_grey_images_are_accepted(name: str) -> None:
    logits, _ = _build(name, _images(107, channels=1), 10)
    assert logits.shape.as_list() == [5, 10]


@pytest.mark.parametrize("name", _nets())
def test_dropout_keeps_the_fraction_asked_for(name: str) -> None:
    images = tf.zeros([1, 107, 107, 3])
    _build(name, images, 5, dropout_keep_prob=0.6)
    graph = tf.compat.v1.get_default_graph()
    rates = [
        tf.get_static_value(operation.inputs[1])
        for operation in graph.get_operations()
        if operation.type == "GreaterEqual" and "ropout" in operation.name
    ]
    assert rates == pytest.approx([0.4])


@pytest.mark.parametrize("depth_multiplier", [0.5, 2.0])
@pytest.mark.parametrize("name", _nets("inception_v2", "inception_v3"))
def test_depth_multiplier_scales_every_layer(name: str, depth_multiplier: float) -> None:
    _, end_points = _build(name, _images(107), 10, depth_multiplier=depth_multiplier)
    for end_point, _, depth in BODIES[name]:
        assert end_points[end_point].shape[3] == depth_multiplier * depth


def test_min_depth_bounds_narrow_layers() -> None:
    net, _ = _build(
        "inception_v2_base", _images(32), "Conv2d_2b_1x1", min_depth=9, depth_multiplier=0.01
    )
    assert net.shape[3] == 9


@pytest.mark.parametrize("depth_multiplier", [0, -0.1])
@pytest.mark.parametrize("name", ["inception_v2", "inception_v3"])
def test_width_must_be_above_zero(name: str, depth_multiplier: float) -> None:
    message = f"depth_multiplier is {depth_multiplier}, expected a number above 0"
    with pytest.raises(ValueError, match=message):
        _build(name, _images(107), depth_multiplier=depth_multiplier)


def test_first_layer_of_v2_is_separable_by_choice() -> None:
    _build("inception_v2_base", _images(32), "Conv2d_1a_7x7", use_separable_conv=False)
    assert _variables()["InceptionV2/Conv2d_1a_7x7/weights"] == [7, 7, 3, 64]


@pytest.mark.slow
def test_v2_takes_channels_first() -> None:
    _, end_points = _build(
        "inception_v2_base",
        tf.zeros([5, 3, 224, 224]),
        use_separable_conv=False,
        data_format="NCHW",
    )
    found = {key: value.shape.as_list() for key, value in end_points.items()}
    assert found == {name: [5, depth, side, side] for name, side, depth in BODIES["inception_v2"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_format": "NCHW"}, "data_format 'NCHW' needs use_separable_conv=False"),
        ({"data_format": "HWCN"}, "data_format is 'HWCN', expected 'NHWC' or 'NCHW'"),
    ],
)
def test_v2_refuses_layouts_that_it_cannot_build(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _build("inception_v2_base", _images(32), **options)


@pytest.mark.slow
def test_v2_computes_what_the_body_of_tf_slim_computes() -> None:
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, [2, 64, 64, 3]), tf.float32)
    with slim.arg_scope(inception.inception_v2_arg_scope()):
        ours, _ = _build("inception_v2_base", images)
        theirs, _ = tf.autograph.experimental.do_not_convert(
            published_nets.inception.inception_v2_base
        )(images, scope="Theirs")
    groups = [tf.compat.v1.global_variables(scope) for scope in ("InceptionV2/", "Theirs/")]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        for mine, other in zip(*groups, strict=True):
            assert mine.op.name.partition("/")[2] == other.op.name.partition("/")[2]
        session.run([b.assign(a) for a, b in zip(*groups, strict=True)])
        found, expected = session.run([ours, theirs])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("batch_norm_scale", [False, True])
def test_batch_norm_has_a_factor_only_on_request(name: str, batch_norm_scale: bool) -> None:
    arg_scope = getattr(inception, f"{name}_arg_scope")
    with slim.arg_scope(arg_scope(batch_norm_scale=batch_norm_scale)):
        _build(f"{name}_base", _images(32), BODIES[name][1][0])
    norms = {v.rpartition("/")[0] for v in _variables() if v.endswith("/moving_mean")}
    factors = {v.rpartition("/")[0] for v in _variables() if v.endswith("/gamma")}
    assert factors == (norms if batch_norm_scale else set())


def test_arg_scope_without_batch_norm_gives_biases() -> None:
    with slim.arg_scope(inception.inception_v1_arg_scope(use_batch_norm=False)):
        _build("inception_v1_base", _images(32), "Conv2d_1a_7x7")
    assert list(_variables()) == [
        "InceptionV1/Conv2d_1a_7x7/weights",
        "InceptionV1/Conv2d_1a_7x7/biases",
    ]


@pytest.mark.parametrize("name", ROOTS)
def test_arg_scope_sets_the_activation(name: str) -> None:
    with slim.arg_scope(getattr(inception, f"{name}_arg_scope")(activation_fn=tf.nn.relu6)):
        net, _ = _build(f"{name}_base", _images(32), BODIES[name][2][0])
    assert net.op.type == "Relu6"
