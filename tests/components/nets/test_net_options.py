"""Options of the build functions: features, widths, strides, pooling, errors."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets import (
    alexnet,
    cifarnet,
    inception,
    lenet,
    mobilenet_v1,
    nets_factory,
    overfeat,
    resnet_v1,
    resnet_v2,
    vgg,
)
from slimworks.components.nets.nets_factory import get_network_fn
from slimworks.components.nets.registry import REGISTRY, check_image_size
from slimworks.components.nets.slim import slim

# tf_slim's own way of calling its layers. The factory hides these; here nets are called directly.
pytestmark = pytest.mark.filterwarnings("ignore:.(layer.apply|tf.layers.*). is deprecated")


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def _images(size: int, channels: int = 3) -> tf.Tensor:
    return tf.zeros([2, size, size, channels])


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("lenet", 28, [2, 1024]),
        ("cifarnet", 32, [2, 192]),
        ("mobilenet_v1_025", 64, [2, 1, 1, 256]),
    ],
)
@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_classes_returns_the_features(
    name: str, size: int, shape: list[int], num_classes: int | None
) -> None:
    features, end_points = get_network_fn(name, num_classes)(_images(size))
    assert features.shape.as_list() == shape
    assert not {"Logits", "Predictions", "predictions"} & set(end_points)


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenet_v1_025", 48), ("mobilenet_v1_025", 256), ("inception_v1", 256)]
)
def test_images_of_other_sizes_give_one_row_of_logits(name: str, size: int) -> None:
    logits, _ = get_network_fn(name, 5)(_images(size))
    assert logits.shape.as_list() == [2, 5]


def test_network_fn_carries_the_published_image_size() -> None:
    assert get_network_fn("inception_v3", 5).default_image_size == 299


@pytest.mark.parametrize("name", [n for n, s in REGISTRY.items() if s.batch_norm_decay])
def test_batch_norm_decay_is_replaced_in_every_arg_scope(name: str) -> None:
    spec = REGISTRY[name]
    arg_scope = getattr(importlib.import_module(spec.module), spec.arg_scope)()
    before, after = (
        [float(decay) for decay in re.findall(r"'decay': ([0-9.]+)", str(scope))]
        for scope in (arg_scope, nets_factory.with_batch_norm_decay(arg_scope, 0.5))
    )
    assert set(before) == {spec.batch_norm_decay}
    assert after == [0.5] * len(before)


@pytest.mark.parametrize("build", [lenet.lenet, cifarnet.cifarnet])
def test_prediction_fn_and_scope_are_free(build) -> None:
    _, end_points = build(
        _images(32), prediction_fn=lambda logits, scope: tf.sigmoid(logits), scope="Mine"
    )
    assert end_points["Predictions"].op.type == "Sigmoid"
    assert all(v.op.name.startswith("Mine/") for v in tf.compat.v1.model_variables())


def test_grey_images_are_accepted() -> None:
    logits, _ = get_network_fn("mobilenet_v1_025", 5)(_images(64, channels=1))
    assert logits.shape.as_list() == [2, 5]


def test_min_depth_bounds_narrow_layers() -> None:
    net, _ = mobilenet_v1.mobilenet_v1_base(
        _images(32), "Conv2d_0", min_depth=8, depth_multiplier=0.01
    )
    assert net.shape.as_list() == [2, 16, 16, 8]


def test_base_stops_at_the_final_endpoint() -> None:
    net, end_points = mobilenet_v1.mobilenet_v1_base(_images(32), "Conv2d_1_depthwise")
    assert list(end_points) == ["Conv2d_0", "Conv2d_1_depthwise"]
    assert net is end_points["Conv2d_1_depthwise"]


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize(("output_stride", "side"), [(None, 7), (32, 7), (16, 14), (8, 28)])
def test_output_stride_sets_the_resolution(
    explicit: bool, output_stride: int | None, side: int
) -> None:
    net, _ = mobilenet_v1.mobilenet_v1_base(
        _images(224),
        depth_multiplier=0.25,
        output_stride=output_stride,
        use_explicit_padding=explicit,
    )
    assert net.shape.as_list() == [2, side, side, 256]


def test_spatial_squeeze_can_be_left_out() -> None:
    logits, _ = mobilenet_v1.mobilenet_v1_025(_images(64), 5, spatial_squeeze=False)
    assert logits.shape.as_list() == [2, 1, 1, 5]


def test_prediction_fn_none_gives_no_predictions() -> None:
    _, end_points = mobilenet_v1.mobilenet_v1_025(_images(64), 5, prediction_fn=None)
    assert "Predictions" not in end_points


@tf.autograph.experimental.do_not_convert  # as the factory does: converting takes seconds
def test_depthwise_weights_decay_only_on_request() -> None:
    names = []
    for regularize in (False, True):
        with tf.Graph().as_default():
            scope = mobilenet_v1.mobilenet_v1_arg_scope(regularize_depthwise=regularize)
            with slim.arg_scope(scope):
                mobilenet_v1.mobilenet_v1_025(_images(32), 5)
            losses = tf.compat.v1.losses.get_regularization_losses()
            names.append(sum("depthwise" in loss.op.name for loss in losses))
    assert names == [0, 13]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth_multiplier": 0}, "depth_multiplier is 0, expected a number above 0."),
        ({"output_stride": 9}, "output_stride is 9, expected 1, 2, 4, 8, 16, 32 or None."),
        ({"final_endpoint": "Conv2d_99"}, "Unknown final_endpoint 'Conv2d_99', known: Conv2d_0,"),
    ],
)
def test_mobilenet_refuses_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        mobilenet_v1.mobilenet_v1_base(_images(32), **options)


def test_mobilenet_refuses_a_single_image_without_batch() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, H, W, C\]"):
        mobilenet_v1.mobilenet_v1(tf.zeros([32, 32, 3]))


def test_inception_v3_refuses_a_width_of_zero() -> None:
    with pytest.raises(ValueError, match="depth_multiplier is 0, expected a number above 0"):
        inception.inception_v3(_images(128), depth_multiplier=0)


def test_resnet_refuses_an_output_stride_that_is_no_multiple_of_four() -> None:
    with pytest.raises(ValueError, match="output_stride is 6, expected a multiple of 4"):
        resnet_v1.resnet_v1_50(_images(32), 5, output_stride=6)


SLOW_TO_BUILD = re.compile("inception_(v[234]|resnet)|resnet_|p?nasnet|mobilenet_(v[23]|edge)")


def _nets(*names: str) -> list[Any]:
    return [
        pytest.param(name, marks=[pytest.mark.slow] if SLOW_TO_BUILD.match(name) else [])
        for name in names or REGISTRY
    ]


# Nets whose layers leave nothing of smaller images; the others pad, and take one pixel.
@pytest.mark.parametrize(
    "name",
    _nets(
        *("lenet", "cifarnet", "alexnet_v2", "overfeat", "vgg_a", "vgg_16", "vgg_19"),
        *("inception_v3", "inception_v4", "inception_resnet_v2"),
    ),
)
def test_minimum_image_size_is_the_least_that_can_be_built(name: str) -> None:
    spec = REGISTRY[name]
    logits, _ = _build_for_training(name, spec.min_image_size)
    assert logits.shape.as_list() == [2, 5]
    with pytest.raises(ValueError, match="Negative dimension size"):
        _build_for_training(name, spec.min_image_size - 1)


@tf.autograph.experimental.do_not_convert
def _build_for_training(name: str, size: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds without the factory, which would not let small images through."""
    spec = REGISTRY[name]
    build = getattr(importlib.import_module(spec.module), spec.function)
    with tf.Graph().as_default():
        return build(_images(size, spec.num_channels), num_classes=5, is_training=True)


@pytest.mark.parametrize("name", REGISTRY)
def test_images_below_the_minimum_are_refused_with_the_minimum(name: str) -> None:
    spec = REGISTRY[name]
    check_image_size(spec, spec.min_image_size)
    with pytest.raises(ConfigError) as caught:
        check_image_size(spec, spec.min_image_size - 1)
    assert f"{name} needs at least {spec.min_image_size} pixels" in caught.value.cause


_CLASSIFIER = "num_classes is_training dropout_keep_prob"
_WIDTH = "min_depth depth_multiplier"
_ATROUS = "num_classes is_training global_pool output_stride"
_WIDE = "min_base_depth depth_multiplier reuse scope"
_STRIDED = "store_non_strided_activations"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lenet.lenet, f"images {_CLASSIFIER} prediction_fn scope"),
        (cifarnet.cifarnet, f"images {_CLASSIFIER} prediction_fn scope"),
        (alexnet.alexnet_v2, f"inputs {_CLASSIFIER} spatial_squeeze scope global_pool"),
        (overfeat.overfeat, f"inputs {_CLASSIFIER} spatial_squeeze scope global_pool"),
        (
            vgg.vgg_16,
            f"inputs {_CLASSIFIER} spatial_squeeze reuse scope fc_conv_padding global_pool",
        ),
        (inception.inception_v1_base, "inputs final_endpoint include_root_block scope"),
        (
            inception.inception_v1,
            f"inputs {_CLASSIFIER} prediction_fn spatial_squeeze reuse scope global_pool",
        ),
        (
            inception.inception_v2_base,
            f"inputs final_endpoint {_WIDTH} use_separable_conv data_format include_root_block "
            "scope",
        ),
        (
            inception.inception_v2,
            f"inputs {_CLASSIFIER} {_WIDTH} prediction_fn spatial_squeeze reuse scope global_pool",
        ),
        (inception.inception_v3_base, f"inputs final_endpoint {_WIDTH} scope"),
        (
            inception.inception_v3,
            f"inputs {_CLASSIFIER} {_WIDTH} prediction_fn spatial_squeeze reuse create_aux_logits "
            "scope global_pool",
        ),
        (inception.inception_v4_base, "inputs final_endpoint scope"),
        (inception.inception_v4, f"inputs {_CLASSIFIER} reuse scope create_aux_logits"),
        (
            inception.inception_resnet_v2_base,
            "inputs final_endpoint output_stride align_feature_maps scope activation_fn",
        ),
        (
            inception.inception_resnet_v2,
            f"inputs {_CLASSIFIER} reuse scope create_aux_logits activation_fn",
        ),
        (
            resnet_v1.resnet_v1,
            f"inputs blocks {_ATROUS} include_root_block spatial_squeeze {_STRIDED} reuse scope",
        ),
        (resnet_v1.resnet_v1_50, f"inputs {_ATROUS} spatial_squeeze {_STRIDED} {_WIDE}"),
        (resnet_v1.resnet_v1_152, f"inputs {_ATROUS} {_STRIDED} spatial_squeeze"),
        (
            resnet_v2.resnet_v2,
            f"inputs blocks {_ATROUS} include_root_block spatial_squeeze reuse scope",
        ),
        (resnet_v2.resnet_v2_50, f"inputs {_ATROUS} spatial_squeeze reuse scope"),
        (
            mobilenet_v1.mobilenet_v1,
            f"inputs num_classes dropout_keep_prob is_training {_WIDTH} conv_defs prediction_fn "
            "spatial_squeeze reuse scope global_pool",
        ),
    ],
)
def test_arguments_come_in_the_order_of_tf_slim(function: Any, arguments: str) -> None:
    expected = arguments.split()
    assert list(inspect.signature(function).parameters)[: len(expected)] == expected
