"""MobileNet v2 and what it shares with v3: layers, widths, strides, heads, scopes, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

from slimworks.components.nets.mobilenet import conv_blocks, mobilenet, mobilenet_v2
from slimworks.components.nets.nets_factory import get_network_fn
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")

V2_DEF = mobilenet_v2.V2_DEF
# The first layers, for tests of what holds for any of them.
SHORT_DEF = {**V2_DEF, "spec": V2_DEF["spec"][:5]}
# The first layer of each resolution, and the last two of all.
STRIDED_DEF = {**V2_DEF, "spec": [V2_DEF["spec"][index] for index in (0, 2, 4, 7, 14, 17, 18)]}


@pytest.fixture(autouse=True)
def _graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def _build(network: Callable[..., Any], images: tf.Tensor, **options: Any) -> Any:
    # As the factory does: converting layers by AutoGraph takes seconds.
    return tf.autograph.experimental.do_not_convert(network)(images, **options)


def _images(size: int = 32, channels: int = 3) -> tf.Tensor:
    return tf.zeros([2, size, size, channels])


def _operations(kind: str) -> list[tf.Operation]:
    graph = tf.compat.v1.get_default_graph()
    return [operation for operation in graph.get_operations() if operation.type == kind]


def _depths() -> list[int]:
    return [operation.outputs[0].shape[3] for operation in _operations("Conv2D")]


def test_definition_builds_without_an_arg_scope() -> None:
    _, end_points = _build(mobilenet.mobilenet, _images(channels=16), conv_defs=V2_DEF)
    # Two convolutions a layer, but one in the first two and the last; and the logits.
    assert len(_operations("Conv2D")) == 2 * len(V2_DEF["spec"]) - 2
    assert len(_operations("DepthwiseConv2dNative")) == len(V2_DEF["spec"]) - 2
    assert all(f"layer_{index}/depthwise_output" in end_points for index in range(2, 19))
    assert all(v.op.name.startswith("Mobilenet/") for v in tf.compat.v1.model_variables())


@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_classes_returns_the_pooled_features(num_classes: int | None) -> None:
    net, end_points = _build(
        mobilenet.mobilenet, _images(), conv_defs=SHORT_DEF, num_classes=num_classes
    )
    assert net is end_points["global_pool"]
    assert net.shape.as_list() == [2, 1, 1, 32]
    assert not {"Logits", "Predictions"} & set(end_points)


@pytest.mark.parametrize(("size", "side"), [(224, 7), (192, 6), (33, 2), (32, 1)])
def test_resolution_is_a_32nd(size: int, side: int) -> None:
    net, _ = _build(mobilenet_v2.mobilenet_base, _images(size), conv_defs=STRIDED_DEF)
    assert net.shape.as_list()[1:3] == [side, side]


def test_override_of_a_copied_definition_splits_every_expansion() -> None:
    conv_defs = copy.deepcopy(SHORT_DEF)
    conv_defs["overrides"] = {(conv_blocks.expanded_conv,): {"split_expansion": 2}}
    _, end_points = _build(mobilenet.mobilenet_base, _images(), conv_defs=conv_defs)
    # The first layer is plain, the second does not expand, the others expand twice.
    assert len(_operations("Conv2D")) == 1 + 1 + 3 * 3
    assert "layer_3/expand_part_0_output" in end_points


@pytest.mark.parametrize(
    ("output_stride", "side", "explicit"),
    [(32, 3, False), (None, 3, True), (16, 6, False), (8, 12, True)],
)
def test_output_stride_sets_the_resolution(
    output_stride: int | None, side: int, explicit: bool
) -> None:
    net, _ = _build(
        mobilenet.mobilenet_base,
        _images(96),
        conv_defs=STRIDED_DEF,
        multiplier=0.1,
        output_stride=output_stride,
        use_explicit_padding=explicit,
        scope="MobilenetV2",
    )
    assert net.shape.as_list() == [2, side, side, 128]
    assert bool(_operations("Pad")) == explicit


def test_atrous_layers_see_as_far_as_the_strided_ones() -> None:
    _build(mobilenet.mobilenet_base, _images(64), conv_defs=SHORT_DEF, output_stride=4)
    strides = {tuple(op.get_attr("strides")) for op in _operations("DepthwiseConv2dNative")}
    assert strides == {(1, 1, 1, 1), (1, 2, 2, 1)}
    # Layer 5 would have a stride of 2; with a rate of 1 it starts the atrous part.
    assert _operations("SpaceToBatchND") == []
    longer = {**V2_DEF, "spec": V2_DEF["spec"][:6]}
    _build(mobilenet.mobilenet_base, _images(64), conv_defs=longer, output_stride=4)
    assert len(_operations("SpaceToBatchND")) == 1


def test_explicit_padding_pads_one_pixel_around_each_3x3_kernel() -> None:
    _build(mobilenet.mobilenet_base, _images(), conv_defs=SHORT_DEF, use_explicit_padding=True)
    paddings = [
        tf.get_static_value(operation.inputs[1]).tolist() for operation in _operations("Pad")
    ]
    assert paddings == [[[0, 0], [1, 1], [1, 1], [0, 0]]] * 5
    kinds = _operations("Conv2D") + _operations("DepthwiseConv2dNative")
    kernels = {op.get_attr("padding"): op.inputs[1].shape.as_list()[:2] for op in kinds}
    assert kernels.get(b"SAME", [1, 1]) == [1, 1]


def test_channels_keep_the_divisor_and_the_least_depth() -> None:
    _build(mobilenet_v2.mobilenet, _images(), divisible_by=16, min_depth=32)
    expected = {32, 64, 96, 160, 192, 320, 384, 576, 960, 1280, 1001}
    assert set(_depths()) == expected


def test_arg_scope_sets_the_least_depth() -> None:
    with slim.arg_scope([mobilenet.depth_multiplier], min_depth=32):
        net, _ = _build(
            mobilenet_v2.mobilenet_base, _images(), conv_defs=STRIDED_DEF, depth_multiplier=0.1
        )
    assert set(_depths()) == {32, 192, 128}
    assert net.shape.as_list() == [2, 1, 1, 128]


def test_finegrain_mode_keeps_the_last_layer_wide() -> None:
    _build(
        mobilenet_v2.mobilenet,
        _images(),
        conv_defs=STRIDED_DEF,
        depth_multiplier=0.01,
        finegrain_classification_mode=True,
    )
    assert set(_depths()) == {8, 48, 1280, 1001}


def test_finegrain_mode_lets_wider_networks_grow() -> None:
    net, _ = _build(
        mobilenet_v2.mobilenet_base,
        _images(),
        conv_defs=SHORT_DEF,
        depth_multiplier=2.0,
        finegrain_classification_mode=True,
    )
    assert net.shape[3] == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "last_depth"),
    [
        (mobilenet_v2.mobilenet_v2_140, 1792),
        (mobilenet_v2.mobilenet_v2_050, 1280),
        (mobilenet_v2.mobilenet_v2_035, 1280),
    ],
)
def test_published_widths(network: Callable[..., Any], last_depth: int) -> None:
    features, _ = _build(network, _images(), num_classes=None)
    assert features.shape.as_list() == [2, 1, 1, last_depth]
    assert network.default_image_size == 224  # type: ignore[attr-defined]


@pytest.mark.parametrize("keyword", ["multiplier_func", "multiplier_transform"])
def test_layer_may_have_its_own_multiplier(keyword: str) -> None:
    def inverse(params: dict[str, Any], multiplier: float) -> None:
        params["num_outputs"] = int(params["num_outputs"] / multiplier)

    conv_defs = copy.deepcopy(SHORT_DEF)
    layer = {keyword: inverse, "num_outputs": 16, "kernel_size": (3, 3)}
    conv_defs["spec"][0] = mobilenet.op(slim.conv2d, **layer)
    _build(mobilenet_v2.mobilenet_base, _images(), conv_defs=conv_defs, depth_multiplier=0.1)
    assert _depths()[:5] == [160, 8, 48, 8, 48]


def test_activation_may_be_another() -> None:
    _build(
        mobilenet_v2.mobilenet_base, _images(), conv_defs=SHORT_DEF, activation_fn=tf.nn.softplus
    )
    assert _operations("Softplus")
    assert not _operations("Relu6")


def test_definitions_stay_as_they_are() -> None:
    conv_defs = STRIDED_DEF
    before = copy.deepcopy(conv_defs)
    _build(
        mobilenet_v2.mobilenet,
        _images(),
        conv_defs=conv_defs,
        depth_multiplier=0.1,
        finegrain_classification_mode=True,
        activation_fn=tf.nn.relu,
        use_explicit_padding=True,
        output_stride=8,
    )
    assert conv_defs == before


def test_base_stops_at_the_final_endpoint() -> None:
    net, end_points = _build(mobilenet_v2.mobilenet_base, _images(), final_endpoint="layer_3")
    assert [name for name in end_points if "/" not in name] == ["layer_1", "layer_2", "layer_3"]
    assert net is end_points["layer_3"]


def test_second_network_shares_the_variables() -> None:
    for reuse in (None, True):
        _, end_points = _build(mobilenet_v2.mobilenet, _images(), conv_defs=SHORT_DEF, reuse=reuse)
    assert len(tf.compat.v1.get_collection("trainable_variables", "MobilenetV2/Conv/")) == 3
    assert end_points["layer_3/output"].op.name == "MobilenetV2_1/expanded_conv_1/output"


def test_batch_and_image_size_may_be_unknown() -> None:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
    logits, end_points = _build(mobilenet_v2.mobilenet, images, conv_defs=SHORT_DEF, num_classes=5)
    assert logits.shape.as_list() == [None, 5]
    assert end_points["global_pool"].shape.as_list() == [None, 1, 1, 32]


def test_grey_images_are_accepted() -> None:
    logits, _ = get_network_fn("mobilenet_v2_035", 5)(_images(channels=1), conv_defs=SHORT_DEF)
    assert logits.shape.as_list() == [2, 5]


def test_head_has_the_names_of_published_graphs() -> None:
    logits, end_points = _build(mobilenet_v2.mobilenet, _images(), conv_defs=SHORT_DEF)
    assert logits.op.name == "MobilenetV2/Logits/output"
    assert end_points["Predictions"].op.name == "MobilenetV2/Predictions/Reshape_1"


def test_prediction_fn_is_free() -> None:
    options = {"conv_defs": SHORT_DEF, "num_classes": 5}
    _, end_points = _build(
        mobilenet_v2.mobilenet,
        _images(),
        prediction_fn=lambda logits, name: tf.sigmoid(logits, name),
        **options,
    )
    assert end_points["Predictions"].op.type == "Sigmoid"
    _, end_points = _build(
        mobilenet_v2.mobilenet, _images(), prediction_fn=None, scope="Other", **options
    )
    assert "Predictions" not in end_points


def test_group_norm_takes_the_place_of_batch_norm() -> None:
    _build(mobilenet_v2.mobilenet_base_group_norm, _images(), groups=4, final_endpoint="layer_4")
    names = [variable.op.name for variable in tf.compat.v1.model_variables()]
    assert any("GroupNorm" in name for name in names)
    assert not any("BatchNorm" in name for name in names)


@pytest.mark.parametrize("by_reduction", [False, True])
def test_both_pools_average_the_map(by_reduction: bool) -> None:
    features = tf.reshape(tf.range(24.0), [1, 3, 4, 2])
    pooled = mobilenet.global_pool(features, use_reduce_mean_for_pooling=by_reduction)
    assert ("ReduceMean" in pooled.op.name) == by_reduction
    with tf.compat.v1.Session() as session:
        assert session.run(pooled).tolist() == [[[[11.0, 12.0]]]]


def test_other_pools_need_a_known_size() -> None:
    assert mobilenet.global_pool(_images(), pool_op=tf.nn.max_pool2d).op.type == "MaxPool"
    unknown = tf.compat.v1.placeholder(tf.float32, [1, None, None, 3])
    with pytest.raises(ValueError, match=r"needs a known size, the features are \(1, None"):
        mobilenet.global_pool(unknown, pool_op=tf.nn.max_pool2d)


def test_dropout_follows_training_scope_and_option() -> None:
    def num_dropouts(scope: str, **options: Any) -> int:
        _build(mobilenet_v2.mobilenet, _images(), conv_defs=SHORT_DEF, scope=scope, **options)
        return sum(
            op.name.startswith(f"{scope}/Logits/Dropout/") for op in _operations("RandomUniform")
        )

    with slim.arg_scope(mobilenet_v2.training_scope(dropout_keep_prob=0.5)):
        assert num_dropouts("A") == 1
        assert num_dropouts("B", is_training=False) == 0
    assert num_dropouts("C") == 0


def _batch_norm_options(**options: Any) -> dict[str, Any]:
    scope = mobilenet.training_scope(**options)
    return scope[slim.arg_scope_func_key(slim.batch_norm)]


def test_training_scope_leaves_batch_norm_alone_when_told_none() -> None:
    assert "is_training" not in _batch_norm_options(is_training=None)
    assert "decay" not in _batch_norm_options(bn_decay=None)


@pytest.mark.parametrize("is_training", [False, True])
def test_training_scope_sets_batch_norm(is_training: bool) -> None:
    options = _batch_norm_options(is_training=is_training, bn_decay=0.9)
    assert (options["is_training"], options["decay"]) == (is_training, 0.9)
    assert _batch_norm_options()["is_training"] is True


def test_is_training_none_leaves_the_choice_to_the_arg_scope() -> None:
    with (
        slim.arg_scope(mobilenet.training_scope(is_training=None)),
        slim.arg_scope([slim.batch_norm], is_training=True),
    ):
        _build(mobilenet_v2.mobilenet_base, _images(), conv_defs=SHORT_DEF)
    (first, *_) = _operations("FusedBatchNormV3")
    assert first.get_attr("is_training") is True


def test_negative_stddev_asks_for_xavier() -> None:
    with slim.arg_scope(mobilenet.training_scope(stddev=-1.0)):
        _build(mobilenet_v2.mobilenet_base, _images(), final_endpoint="layer_1")
    assert _operations("RandomUniform")
    assert not _operations("TruncatedNormal")


def test_safe_arg_scope_of_nothing_does_nothing() -> None:
    with mobilenet.safe_arg_scope([slim.batch_norm], is_training=None):
        key = slim.arg_scope_func_key(slim.batch_norm)
        assert key not in slim.current_arg_scope()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth_multiplier": 0}, "multiplier is 0, expected a number above 0."),
        ({"multiplier": 0.5}, "multiplier is 0.5, call it depth_multiplier."),
        ({"output_stride": 6}, "output_stride is 6, expected 1, 2, 4, 8, 16, 32 or None."),
        ({"output_stride": 0}, "output_stride is 0, expected 1, 2,"),
        ({"final_endpoint": "layer_99"}, "'layer_99', known: layer_1 to layer_19."),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mobilenet_v2.mobilenet(_images(), **options)


def test_images_need_four_dimensions() -> None:
    with pytest.raises(ValueError, match=r"inputs has shape \(2, 32, 32\), expected"):
        mobilenet_v2.mobilenet(tf.zeros([2, 32, 32]))
