"""Inception-ResNet v2 and the blocks of v4: variants, residuals, and numbers against Keras'.

There are no golden outputs of this network, hence an implementation by others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import inception, inception_resnet_v2, inception_v4
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")


@pytest.fixture
def _graph():
    with tf.Graph().as_default():
        yield


def _base(size: int, *arguments: Any, **options: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    build = tf.autograph.experimental.do_not_convert(inception.inception_resnet_v2_base)
    return build(tf.zeros([2, size, size, 3]), *arguments, **options)


@pytest.mark.usefixtures("_graph")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"align_feature_maps": True}, [150, 150, 150, 75, 75, 75, 38, 38, 19, 19]),
        ({"output_stride": 8}, [149, 147, 147, 73, 73, 71, 35, 35, 33, 33]),
    ],
)
def test_resnet_v2_body_has_aligned_and_denser_variants(
    options: dict[str, Any], sides: list[int]
) -> None:
    _, end_points = _base(299, "PreAuxLogits", **options)
    assert [value.shape[1] for value in end_points.values()] == sides


@pytest.mark.usefixtures("_graph")
@pytest.mark.slow
@pytest.mark.parametrize(("output_stride", "num_atrous"), [(8, 20), (16, 0)])
def test_resnet_v2_blocks_beyond_the_output_stride_are_atrous(
    output_stride: int, num_atrous: int
) -> None:
    _base(107, "PreAuxLogits", output_stride=output_stride)
    atrous = [
        operation.name
        for operation in tf.compat.v1.get_default_graph().get_operations()
        if operation.type == "SpaceToBatchND" and "/Conv2d_0b_1x7/" in operation.name
    ]
    assert len(atrous) == num_atrous


@pytest.mark.usefixtures("_graph")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 32}, "output_stride is 32, expected 8 or 16"),
        ({"output_stride": 8}, "output_stride is 8, expected 16 for final_endpoint 'Conv2d_7b"),
    ],
)
def test_resnet_v2_refuses_output_strides_that_it_cannot_have(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _base(107, **options)


BLOCKS = [
    (inception_resnet_v2.block35, "Block35", 320),
    (inception_resnet_v2.block17, "Block17", 1088),
    (inception_resnet_v2.block8, "Block8", 2080),
]


@pytest.mark.usefixtures("_graph")
@pytest.mark.parametrize(("block", "scope", "depth"), BLOCKS)
def test_residual_block_adds_a_scaled_residual(
    block: Callable[..., tf.Tensor], scope: str, depth: int
) -> None:
    inputs = tf.random.stateless_normal([1, 3, 3, depth], seed=(1, 2))
    outputs = [
        block(inputs, scale, None, scope, reuse) for scale, reuse in ((0.5, None), (1, True))
    ]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        before, half, whole = session.run([inputs, *outputs])
    np.testing.assert_allclose(whole - before, 2 * (half - before), atol=1e-4)


@pytest.mark.usefixtures("_graph")
@pytest.mark.parametrize(("block", "scope", "depth"), BLOCKS)
def test_residual_block_is_bounded_with_relu6(
    block: Callable[..., tf.Tensor], scope: str, depth: int
) -> None:
    inputs = tf.ones([1, 3, 3, depth])
    output = block(inputs, 1e6, tf.nn.relu6)
    unbounded = block(inputs, 1e6, None, scope, True)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        found, residual = session.run([output, unbounded - inputs])
    np.testing.assert_allclose(found, np.clip(1 + np.clip(residual, -6, 6), 0, 6))


@pytest.mark.usefixtures("_graph")
@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (inception_v4.block_inception_a, [1, 9, 9, 384]),
        (inception_v4.block_reduction_a, [1, 4, 4, 8 + 640]),
        (inception_v4.block_inception_b, [1, 9, 9, 1024]),
        (inception_v4.block_reduction_b, [1, 4, 4, 8 + 512]),
        (inception_v4.block_inception_c, [1, 9, 9, 1536]),
    ],
)
def test_blocks_of_v4_work_by_themselves(block: Callable[..., tf.Tensor], shape: list[int]) -> None:
    assert block(tf.zeros([1, 9, 9, 8])).shape.as_list() == shape


@pytest.mark.slow
@pytest.mark.big
def test_inception_resnet_v2_computes_what_keras_computes() -> None:
    images = np.random.default_rng(0).uniform(-1, 1, [2, 139, 139, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = tf.constant(images)
        with slim.arg_scope(inception.inception_resnet_v2_arg_scope()):
            logits, _ = tf.autograph.experimental.do_not_convert(inception.inception_resnet_v2)(
                inputs, 10, is_training=False
            )
        variables = tf.compat.v1.model_variables()
        generator = np.random.default_rng(1)
        values = {v.op.name: _filled(v.op.name, v.shape, generator) for v in variables}
        session.run(
            [v.initializer for v in variables],
            {v.initial_value: values[v.op.name] for v in variables},
        )
        found = session.run(logits)
    model = tf.keras.applications.InceptionResNetV2(
        weights=None, input_shape=(139, 139, 3), classes=10, classifier_activation=None
    )
    _fill_keras(model, values)
    expected = model(images).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def _filled(name: str, shape: Any, generator: np.random.Generator) -> np.ndarray:
    if name.endswith(("weights", "kernel")):
        scale = np.sqrt(2 / np.prod(shape.as_list()[:-1]))
        return generator.normal(0, scale, shape).astype(np.float32)
    return generator.uniform(0.1, 1, shape).astype(np.float32)


def _fill_keras(model: Any, values: dict[str, np.ndarray]) -> None:
    """Copies values by order: Keras numbers its unnamed layers as it builds them."""
    number = 0
    for name, weights in values.items():
        scope, _, kind = name.rpartition("/")
        if kind != "weights" or "AuxLogits" in name:
            continue
        path = scope.split("/")
        if path[-2:] == ["Logits", "Logits"]:
            model.get_layer("predictions").set_weights([weights, values[f"{scope}/biases"]])
        elif f"{scope}/biases" in values:
            block = "block8_10" if path[-2] == "Block8" else path[-2]
            model.get_layer(f"{block}_conv").set_weights([weights, values[f"{scope}/biases"]])
        else:
            suffix = f"_{number}" if number else ""
            last = path[-1] == "Conv2d_7b_1x1"
            convolution = "conv_7b" if last else f"conv2d{suffix}"
            norm = "conv_7b_bn" if last else f"batch_normalization{suffix}"
            statistics = ("beta", "moving_mean", "moving_variance")
            model.get_layer(convolution).set_weights([weights])
            model.get_layer(norm).set_weights(
                [values[f"{scope}/BatchNorm/{statistic}"] for statistic in statistics]
            )
            number += 1
