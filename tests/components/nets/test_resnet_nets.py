"""ResNet v1 and v2: shapes, end points, dense prediction and other options, on thin networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import residual, resnet_v1, resnet_v2
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

Outputs = tuple[tf.Tensor, dict[str, tf.Tensor]]
BUILDERS: dict[int, tuple[Callable[..., Outputs], Callable[..., Any]]] = {
    1: (resnet_v1.resnet_v1, resnet_v1.resnet_v1_block),
    2: (resnet_v2.resnet_v2, resnet_v2.resnet_v2_block),
}
each_version = pytest.mark.parametrize("version", [1, 2])
# The body is shared: v2 repeats in the slow tests what v1 shows in the fast ones.
both_versions = pytest.mark.parametrize("version", [1, pytest.param(2, marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default(), slim.arg_scope(residual.resnet_arg_scope()):
        yield


def _blocks(version: int) -> list[Any]:
    _, block = BUILDERS[version]
    return [
        block("block1", base_depth=1, num_units=2, stride=2),
        block("block2", base_depth=2, num_units=2, stride=2),
        block("block3", base_depth=4, num_units=2, stride=2),
        block("block4", base_depth=8, num_units=1, stride=1),
    ]


@tf.autograph.experimental.do_not_convert
def _small(version: int, images: tf.Tensor, *arguments: Any, **options: Any) -> Outputs:
    """A shallow and thin network."""
    return BUILDERS[version][0](
        images, _blocks(version), *arguments, **{"scope": "resnet", **options}
    )


def _mesh(height: int, width: int) -> tf.Tensor:
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    grid = (rows + columns).astype(np.float32)[None, :, :, None]
    return tf.constant(np.tile(grid, [2, 1, 1, 3]))


def _block_shapes(end_points: dict[str, tf.Tensor]) -> list[list[int]]:
    return [end_points[f"resnet/block{index}"].shape.as_list() for index in (1, 2, 3, 4)]


def _run(*tensors: tf.Tensor) -> list[np.ndarray]:
    with tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(0)
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run(list(tensors))


@each_version
def test_classifier_has_the_published_end_points(version: int) -> None:
    logits, end_points = _small(version, _mesh(64, 64), 10)
    units = [
        f"resnet/block{b}/unit_{u + 1}" for b, n in enumerate((2, 2, 2, 1), 1) for u in range(n)
    ]
    expected = {"resnet/conv1", "global_pool", "predictions"}
    expected |= {"resnet/logits", "resnet/spatial_squeeze"}
    expected |= {f"resnet/block{index}" for index in (1, 2, 3, 4)}
    for unit in (f"{unit}/bottleneck_v{version}" for unit in units):
        expected |= {unit, *(f"{unit}/conv{index}" for index in (1, 2, 3))}
        if "unit_1" in unit:
            expected.add(f"{unit}/shortcut")
    assert set(end_points) == expected
    assert logits.op.name.startswith("resnet/SpatialSqueeze")
    assert logits.shape.as_list() == end_points["predictions"].shape.as_list() == [2, 10]
    assert end_points["resnet/logits"].shape.as_list() == [2, 1, 1, 10]
    assert end_points["global_pool"].shape.as_list() == [2, 1, 1, 32]


@both_versions
@pytest.mark.parametrize(
    ("size", "options", "sides"),
    [
        (224, {}, [28, 14, 7, 7]),
        (321, {"global_pool": False, "spatial_squeeze": False}, [41, 21, 11, 11]),
        (128, {"include_root_block": False}, [64, 32, 16, 16]),
        (321, {"global_pool": False, "spatial_squeeze": False, "output_stride": 8}, [41] * 4),
        (321, {"output_stride": 4}, [81] * 4),
    ],
)
def test_blocks_have_the_resolution_asked_for(
    version: int, size: int, options: dict[str, Any], sides: list[int]
) -> None:
    _, end_points = _small(version, tf.zeros([2, size, size, 3]), 10, **options)
    depths = (4, 8, 16, 32)
    assert _block_shapes(end_points) == [
        [2, side, side, depth] for side, depth in zip(sides, depths, strict=True)
    ]


@both_versions
@pytest.mark.parametrize(
    "output_stride", [8, *(pytest.param(stride, marks=pytest.mark.slow) for stride in (4, 16, 32))]
)
def test_dense_features_subsampled_equal_the_nominal_ones(version: int, output_stride: int) -> None:
    options = {"is_training": False, "global_pool": False}
    dense, _ = _small(version, _mesh(81, 81), output_stride=output_stride, **options)
    nominal, _ = _small(version, _mesh(81, 81), reuse=True, **options)
    found, expected = _run(residual.subsample(dense, 32 // output_stride), nominal)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("output_stride", [None, pytest.param(8, marks=pytest.mark.slow)])
def test_stored_activations_before_the_stride_change_no_result(output_stride: int | None) -> None:
    options = {"is_training": False, "global_pool": False, "output_stride": output_stride}
    usual, usual_points = _small(1, _mesh(65, 65), **options)
    other, other_points = _small(
        1, _mesh(65, 65), store_non_strided_activations=True, reuse=True, **options
    )
    sides = [shape[1] for shape in _block_shapes(other_points)]
    assert sides == ([17, 9, 5, 3] if output_stride is None else [17, 9, 9, 9])
    block1 = residual.subsample(other_points["resnet/block1"], 2)
    found = _run(other, usual, block1, usual_points["resnet/block1"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[2], found[3], rtol=1e-4, atol=1e-4)


@each_version
def test_batch_size_may_be_unknown(version: int) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, 65, 65, 3])
    logits, _ = _small(version, images, 10, spatial_squeeze=False)
    assert logits.shape.as_list() == [None, 1, 1, 10]


@both_versions
@pytest.mark.parametrize(
    ("output_stride", "side"), [(8, 9), pytest.param(None, 3, marks=pytest.mark.slow)]
)
def test_image_size_may_be_unknown(version: int, output_stride: int | None, side: int) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [2, None, None, 3])
    output, _ = _small(version, images, global_pool=False, output_stride=output_stride)
    assert output.shape.as_list() == [2, None, None, 32]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        found = session.run(output, {images: np.zeros([2, 65, 65, 3], np.float32)})
    assert found.shape == (2, side, side, 32)


@both_versions
@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_classes_gives_the_pooled_features(version: int, num_classes: int | None) -> None:
    features, end_points = _small(version, _mesh(64, 64), num_classes)
    assert features.shape.as_list() == [2, 1, 1, 32]
    assert not {"predictions", "resnet/logits"} & set(end_points)


@both_versions
def test_logits_keep_their_space_unless_squeezed(version: int) -> None:
    logits, _ = _small(version, _mesh(64, 64), 10, spatial_squeeze=False)
    assert logits.shape.as_list() == [2, 1, 1, 10]


@both_versions
def test_evaluation_reuses_the_variables_of_training(version: int) -> None:
    _, first = _small(version, _mesh(64, 64), 10)
    num_variables = len(tf.compat.v1.global_variables())
    _, second = _small(version, _mesh(64, 64), 10, is_training=False, reuse=True)
    assert list(second) == list(first)
    assert len(tf.compat.v1.global_variables()) == num_variables


@pytest.mark.slow
@each_version
def test_scopes_are_made_unique_when_none_is_given(version: int) -> None:
    for _ in range(2):
        _small(version, _mesh(64, 64), scope=None)
    roots = {v.op.name.partition("/")[0] for v in tf.compat.v1.model_variables()}
    assert roots == {f"resnet_v{version}", f"resnet_v{version}_1"}


@both_versions
@pytest.mark.parametrize(
    ("output_stride", "message"),
    [
        (6, "output_stride is 6, expected a multiple of 4"),
        (12, "output_stride of the blocks is 3, expected one of 1, 2, 4, 8"),
        (64, "output_stride of the blocks is 16, expected one of 1, 2, 4, 8"),
    ],
)
def test_output_stride_that_cannot_be_reached_is_refused(
    version: int, output_stride: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _small(version, _mesh(64, 64), output_stride=output_stride)


@both_versions
def test_training_mode_may_come_from_the_arg_scope(version: int) -> None:
    with slim.arg_scope([slim.batch_norm], is_training=False):
        _small(version, _mesh(64, 64), 10, is_training=None)
    assert not tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)


def test_arg_scope_without_batch_norm_gives_biases() -> None:
    with slim.arg_scope(resnet_v1.resnet_arg_scope(use_batch_norm=False)):
        _small(1, _mesh(64, 64), 10)
    variables = [v.op.name for v in tf.compat.v1.model_variables()]
    assert "resnet/conv1/biases" in variables
    assert not [name for name in variables if "BatchNorm" in name]


def test_arg_scope_sets_the_activation() -> None:
    with slim.arg_scope(resnet_v1.resnet_arg_scope(activation_fn=tf.nn.relu6)):
        _, end_points = _small(1, _mesh(64, 64))
    assert end_points["resnet/conv1"].op.type == "Relu6"


def test_bounded_activations_stay_within_six() -> None:
    with slim.arg_scope([resnet_v1.bottleneck], use_bounded_activations=True):
        _, end_points = _small(1, 1e3 * _mesh(64, 64), is_training=False)
    units = [value for name, value in end_points.items() if name.endswith("/bottleneck_v1")]
    assert {value.op.type for value in units} == {"Relu6"}
    assert max(float(value.max()) for value in _run(*units)) <= 6


@pytest.mark.parametrize(
    ("options", "depths"),
    [
        ({"depth_multiplier": 0.25}, [64, 128, 256, 512]),
        pytest.param({"depth_multiplier": 0.001}, [32, 32, 32, 32], marks=pytest.mark.slow),
        pytest.param(
            {"depth_multiplier": 0.01, "min_base_depth": 4},
            [16, 16, 16, 20],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_depth_multiplier_scales_the_blocks_of_v1(
    options: dict[str, Any], depths: list[int]
) -> None:
    network = tf.autograph.experimental.do_not_convert(resnet_v1.resnet_v1_50)
    _, end_points = network(tf.zeros([1, 32, 32, 3]), scope="resnet", **options)
    assert [shape[3] for shape in _block_shapes(end_points)] == depths


def test_width_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="depth_multiplier is 0, expected a number above 0"):
        resnet_v1.resnet_v1_50(_mesh(32, 32), depth_multiplier=0)


@both_versions
def test_grey_images_are_accepted(version: int) -> None:
    logits, _ = _small(version, tf.zeros([2, 64, 64, 1]), 10)
    assert logits.shape.as_list() == [2, 10]


@pytest.mark.parametrize(("name", "order"), [("resnet_v1_101", (5, 6)), ("resnet_v1_152", (6, 5))])
@pytest.mark.slow
def test_published_depths_take_their_arguments_by_position(
    name: str, order: tuple[int, int]
) -> None:
    arguments: list[Any] = [10, True, True, None, None, None]
    arguments[order[0] - 1], arguments[order[1] - 1] = False, True  # squeeze, store
    network = tf.autograph.experimental.do_not_convert(getattr(resnet_v1, name))
    logits, end_points = network(_mesh(64, 64), *arguments)
    assert logits.shape.as_list() == [2, 1, 1, 10]
    assert end_points[f"{name}/block1"].shape[1] == 16
