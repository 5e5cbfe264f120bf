"""The blocks of MobileNet v1 to v3: channels, padding, groups, places, gates, errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets.mobilenet import conv_blocks
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here they are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

# As the factory does: converting layers by AutoGraph takes seconds.
expanded_conv = tf.autograph.experimental.do_not_convert(conv_blocks.expanded_conv)
squeeze_excite = tf.autograph.experimental.do_not_convert(conv_blocks.squeeze_excite)


@pytest.fixture(autouse=True)
def _graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def _images(size: int = 8, channels: int = 16) -> tf.Tensor:
    return tf.zeros([2, size, size, channels])


def _shapes() -> dict[str, tuple[int, ...]]:
    return {v.op.name: tuple(v.shape.as_list()) for v in tf.compat.v1.model_variables()}


@pytest.mark.parametrize(
    ("value", "divisor", "min_value", "expected"),
    [
        (33, 8, None, 32),
        (36, 8, None, 40),  # halves go up
        (3, 8, None, 8),  # never nothing
        (11, 8, None, 16),  # 8 would be less than 90 %
        (12.0, 8, 32, 32),
        (13.4, 1, None, 13),
        (1279.9999, 8, 8, 1280),
    ],
)
def test_channels_are_rounded(
    value: float, divisor: int, min_value: int | None, expected: int
) -> None:
    assert conv_blocks.make_divisible(value, divisor, min_value) == expected


def test_expansion_by_a_factor_is_rounded() -> None:
    assert conv_blocks.expand_input_by_factor(2.3)(num_inputs=80) == 184
    assert conv_blocks.expand_input_by_factor(1, divisible_by=1)(num_inputs=12, more=0) == 12


@pytest.mark.parametrize("rate", [1, 2])
def test_padded_valid_convolution_equals_a_same_one(rate: int) -> None:
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=[1, 9, 9, 2]))
    kernel = tf.constant(rng.normal(size=[3, 5, 2, 4]))
    padded = conv_blocks.pad_like_same(images, (3, 5), rate)
    same, valid = (
        tf.nn.conv2d(inputs, kernel, 1, padding, dilations=rate)
        for inputs, padding in ((images, "SAME"), (padded, "VALID"))
    )
    with tf.compat.v1.Session() as session:
        expected, found = session.run([same, valid])
    np.testing.assert_allclose(found, expected)


def test_separable_pair_is_named_after_its_scope() -> None:
    endpoints: dict[str, tf.Tensor] = {}
    net = conv_blocks.split_separable_conv2d(
        _images(), 24, scope="Conv2d_1", stride=2, endpoints=endpoints
    )
    assert net.shape.as_list() == [2, 4, 4, 24]
    assert list(endpoints) == ["Conv2d_1_depthwise", "Conv2d_1_pointwise"]
    assert _shapes()["Conv2d_1_depthwise/depthwise_weights"] == (3, 3, 16, 1)


def test_separable_pairs_without_a_scope_are_numbered() -> None:
    net = conv_blocks.split_separable_conv2d(_images(), 16)
    conv_blocks.split_separable_conv2d(net, 16, use_explicit_padding=True)
    assert "separable/pointwise/weights" in _shapes()
    assert "separable_1/depthwise/depthwise_weights" in _shapes()


def test_split_conv_joins_parts_of_even_width() -> None:
    net = conv_blocks.split_conv(_images(channels=40), 24, num_ways=3, scope="conv")
    assert net.shape.as_list() == [2, 8, 8, 24]
    weights = [_shapes()[f"conv_part_{index}/weights"] for index in range(3)]
    assert weights == [(1, 1, 16, 8), (1, 1, 16, 8), (1, 1, 8, 8)]


def test_split_conv_of_few_channels_stays_whole() -> None:
    conv_blocks.split_conv(_images(), 24, num_ways=3, scope="conv")
    assert _shapes()["conv/weights"] == (1, 1, 16, 24)


def test_split_conv_refuses_channels_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="20 channels are no multiple of divisible_by=8"):
        conv_blocks.split_conv(_images(channels=20), 16, num_ways=2, scope="conv")


def test_block_expands_filters_and_projects() -> None:
    endpoints: dict[str, tf.Tensor] = {}
    net = expanded_conv(_images(), 24, stride=2, kernel_size=(5, 5), endpoints=endpoints)
    assert net.op.name == "expanded_conv/output"
    assert net.shape.as_list() == [2, 4, 4, 24]
    assert {name: shape for name, shape in _shapes().items() if "weights" in name} == {
        "expanded_conv/expand/weights": (1, 1, 16, 96),
        "expanded_conv/depthwise/depthwise_weights": (5, 5, 96, 1),
        "expanded_conv/project/weights": (1, 1, 96, 24),
    }
    assert list(endpoints) == ["expansion_output", "depthwise_output", "projection_output"]


def test_block_takes_its_options_in_order() -> None:
    net = expanded_conv(_images(), 24, 32, 2)
    assert net.shape.as_list() == [2, 4, 4, 24]
    assert _shapes()["expanded_conv/expand/weights"] == (1, 1, 16, 32)


@pytest.mark.parametrize(
    ("location", "channels"), [("input", 16), ("expansion", 96), ("output", 24), (None, 0)]
)
def test_depthwise_convolution_has_its_place(location: str | None, channels: int) -> None:
    net = expanded_conv(_images(), 24, depthwise_location=location)
    assert net.shape.as_list() == [2, 8, 8, 24]
    name = "expanded_conv/depthwise/depthwise_weights"
    assert _shapes().get(name, (3, 3, 0, 1)) == (3, 3, channels, 1)


def test_narrower_expansion_is_left_out() -> None:
    expanded_conv(_images(), 24, expansion_size=8)
    assert "expanded_conv/expand/weights" not in _shapes()


@pytest.mark.parametrize(
    ("num_outputs", "options", "is_added"),
    [
        (16, {}, True),
        (24, {}, False),
        (16, {"stride": 2}, False),
        (16, {"residual": False}, False),
    ],
)
def test_input_is_added_where_shapes_allow(num_outputs: int, options: dict, is_added: bool) -> None:
    net = expanded_conv(_images(), num_outputs, **options)
    assert (net.op.inputs[0].op.type == "AddV2") == is_added


def test_residual_may_be_a_function() -> None:
    net = expanded_conv(
        _images(), 16, residual=lambda input_tensor, output_tensor: output_tensor * 2.0
    )
    assert net.op.inputs[0].op.type == "Mul"


def test_expansion_transform_gets_both_tensors() -> None:
    seen = []

    def transform(expansion_tensor: tf.Tensor, input_tensor: tf.Tensor) -> tf.Tensor:
        seen.append((expansion_tensor.shape[3], input_tensor.shape[3]))
        return expansion_tensor

    expanded_conv(_images(), 16, expansion_transform=transform)
    assert seen == [(96, 16)]


def test_activations_go_to_their_layers() -> None:
    expanded_conv(
        _images(),
        24,
        inner_activation_fn=tf.nn.relu6,
        depthwise_activation_fn=tf.nn.tanh,
        project_activation_fn=tf.nn.sigmoid,
    )
    graph = tf.compat.v1.get_default_graph()
    types = {
        layer: {op.type for op in graph.get_operations() if f"/{layer}/" in op.name}
        & {"Relu", "Relu6", "Tanh", "Sigmoid"}
        for layer in ("expand", "depthwise", "project")
    }
    assert types == {"expand": {"Relu6"}, "depthwise": {"Tanh"}, "project": {"Sigmoid"}}


def test_own_layers_may_stand_in() -> None:
    def convolution(net: tf.Tensor, depth: int, **options: object) -> tf.Tensor:
        return slim.conv2d(net, depth, [3, 3], **options)

    expanded_conv(_images(), 24, expansion_fn=convolution, projection_fn=convolution)
    assert _shapes()["expanded_conv/expand/weights"] == (3, 3, 16, 96)
    assert _shapes()["expanded_conv/project/weights"] == (3, 3, 96, 24)


def test_arg_scope_reaches_a_block() -> None:
    with slim.arg_scope([conv_blocks.expanded_conv], split_expansion=2):
        expanded_conv(_images(), 16)
    assert _shapes()["expanded_conv/expand_part_1/weights"] == (1, 1, 8, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depthwise_location": "middle"}, "depthwise_location is 'middle', expected 'input', "),
        (
            {"use_explicit_padding": True, "padding": "VALID"},
            "padding is 'VALID', expected 'SAME' with use_explicit_padding.",
        ),
    ],
)
def test_block_refuses_options_that_contradict(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expanded_conv(_images(), 16, **options)


def _run(fetch: tf.Tensor) -> np.ndarray:
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run(fetch)


def test_gate_scales_each_channel_by_its_mean() -> None:
    # All weights are 1: a gate is the sum over the squeezed channels of the sum of the means.
    images = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
    with slim.arg_scope([slim.conv2d], weights_initializer=tf.compat.v1.ones_initializer()):
        net = squeeze_excite(tf.constant(images), squeeze_factor=1, gating_fn=tf.identity)
    gates = 8 * images.mean((1, 2)).sum(1)
    np.testing.assert_allclose(_run(net), images * gates[:, None, None, None], rtol=1e-6)


@pytest.mark.parametrize(("squeeze_factor", "squeezed"), [(3, 40), (4, 32)])
def test_squeezed_channels_are_a_multiple_of_eight(squeeze_factor: int, squeezed: int) -> None:
    squeeze_excite(_images(channels=120), squeeze_factor=squeeze_factor)
    assert _shapes()["squeeze_excite/Conv/weights"] == (1, 1, 120, squeezed)
    assert _shapes()["squeeze_excite/Conv_1/weights"] == (1, 1, squeezed, 120)


def test_gate_may_come_from_another_tensor() -> None:
    net = squeeze_excite(_images(channels=16), squeeze_input_tensor=_images(4, channels=32))
    assert net.shape.as_list() == [2, 8, 8, 16]
    assert _shapes()["squeeze_excite/Conv/weights"] == (1, 1, 32, 16)


@pytest.mark.parametrize(("pool", "window"), [(4, 4), (16, 8)])
def test_windows_have_gates_of_their_own(pool: int, window: int) -> None:
    images = np.random.default_rng(0).uniform(size=[1, 8, 8, 2]).astype(np.float32)
    with slim.arg_scope([slim.conv2d], weights_initializer=tf.compat.v1.ones_initializer()):
        net = squeeze_excite(
            tf.constant(images), squeeze_factor=1, gating_fn=tf.identity, pool=pool
        )
    # A corner takes the gate of the corner's window.
    gate = 8 * images[0, :window, :window].mean((0, 1)).sum()
    np.testing.assert_allclose(_run(net)[0, 0, 0], images[0, 0, 0] * gate, rtol=1e-5)


@pytest.mark.parametrize("pool", [None, 2])
def test_gates_of_maps_of_unknown_size(pool: int | None) -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 16])
    assert squeeze_excite(images, pool=pool).shape.as_list() == [None, None, None, 16]
