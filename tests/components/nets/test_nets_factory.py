"""The factory: every network by name, for images of any size that it allows."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from slimworks.components.errors import ConfigError
from slimworks.components.nets import lenet, nets_factory
from slimworks.components.nets.nets_factory import arg_scopes_map, get_network_fn, networks_map
from slimworks.components.nets.registry import REGISTRY, get_net

QUICK = {"lenet", "cifarnet", "mobilenet_v1_025"}


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def _images(height: int | None, width: int | None, channels: int = 3) -> tf.Tensor:
    return tf.compat.v1.placeholder(tf.float32, [2, height, width, channels])


def test_maps_name_every_network_and_import_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets_factory.importlib, "import_module", pytest.fail)
    assert list(networks_map) == list(arg_scopes_map) == list(REGISTRY)
    assert len(networks_map) == 38
    assert "vgg_16" in arg_scopes_map


def test_maps_hold_the_functions_of_the_modules() -> None:
    assert networks_map["lenet"] is lenet.lenet
    assert arg_scopes_map["lenet"] is lenet.lenet_arg_scope


@pytest.mark.parametrize("name", REGISTRY)
def test_network_fn_knows_the_published_image_size(name: str) -> None:
    size = get_net(name).default_image_size
    assert get_network_fn(name, 5).default_image_size == size
    assert networks_map[name].default_image_size == size


def test_unknown_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'nasnet_big', which is no .* mean 'nasnet_\w+'"):
        get_network_fn("nasnet_big", 5)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("is_high", [False, True])
def test_images_below_the_minimum_are_refused(name: str, is_high: bool) -> None:
    minimum = get_net(name).min_image_size
    shape = (minimum + 9, minimum - 1) if is_high else (minimum - 1, minimum + 9)
    with pytest.raises(ConfigError, match=f"but {name} needs at least {minimum}x{minimum}"):
        get_network_fn(name, 5, is_training=True)(_images(*shape))


def test_refusal_of_small_images_word_for_word() -> None:
    with pytest.raises(ConfigError) as caught:
        get_network_fn("nasnet_mobile", 5, is_training=True)(_images(None, 66))
    assert caught.value.cause == (
        "The images are ?x66 pixels, but nasnet_mobile needs at least 67x67."
    )
    assert caught.value.fix == ("Scale them up before the network, to 224x224 as it was published.")


@pytest.mark.parametrize(
    ("name", "num_classes", "options"),
    [
        ("inception_v3", None, {}),
        ("inception_v3", 5, {"create_aux_logits": False}),
        ("vgg_a", 5, {"fc_conv_padding": "SAME", "spatial_squeeze": False}),
        pytest.param("nasnet_cifar", 5, {}, marks=pytest.mark.slow),
    ],
)
def test_networks_without_the_heads_that_need_it_take_smaller_images(
    name: str, num_classes: int | None, options: dict
) -> None:
    size = 96 if name != "nasnet_cifar" else 8
    net, _ = get_network_fn(name, num_classes)(_images(size, size), **options)
    assert net.shape[0] == 2


def test_minimum_of_what_is_left_is_named_too() -> None:
    with pytest.raises(ConfigError, match="but inception_v3 needs at least 75x75"):
        get_network_fn("inception_v3", None)(_images(74, 90))
    with pytest.raises(ConfigError, match="but vgg_a needs at least 224x224"):
        get_network_fn("vgg_a", None)(_images(100, 100))


@pytest.mark.parametrize(("size", "end_point"), [(256, "AvgPool_1a"), (288, "global_pool")])
def test_larger_images_are_pooled_globally_only_where_the_window_leaves_more_than_one_pixel(
    size: int, end_point: str
) -> None:
    logits, end_points = get_network_fn("mobilenet_v1_025", 5)(_images(size, size))
    assert logits.shape.as_list() == [2, 5]
    assert {"AvgPool_1a", "global_pool"} & set(end_points) == {end_point}


def test_larger_images_give_maps_where_nothing_is_squeezed() -> None:
    logits, _ = get_network_fn("vgg_a", 5)(_images(256, 256), spatial_squeeze=False)
    assert logits.shape.as_list() == [2, 2, 2, 5]
    features, _ = get_network_fn("inception_v1", None)(_images(256, 256))
    assert features.shape.as_list() == [2, 2, 2, 1024]


def test_wrong_names_and_sizes_are_value_errors_as_in_tf_slim() -> None:
    with pytest.raises(ValueError, match="no known network"):
        get_network_fn("lennet", 5)
    with pytest.raises(ValueError, match="needs at least 4x4"):
        get_network_fn("lenet", 5)(_images(3, 3, channels=1))


def test_eager_calls_are_refused() -> None:
    with context.eager_mode(), pytest.raises(RuntimeError, match="lenet is called eagerly"):
        get_network_fn("lenet", 5)(tf.zeros([1, 28, 28, 1]))


def test_images_of_unknown_size_are_taken_as_they_are() -> None:
    logits, _ = get_network_fn("mobilenet_v1_025", 5)(_images(None, None), global_pool=True)
    assert logits.shape.as_list() == [2, 5]


def test_single_image_without_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(28, 28, 1\), expected \[N, H, W, C\]"):
        get_network_fn("lenet", 5)(tf.zeros([28, 28, 1]))


def test_network_fn_hands_on_the_networks_own_options() -> None:
    _, end_points = get_network_fn("lenet", 5)(
        _images(28, 28, 1), prediction_fn=lambda logits, scope: tf.sigmoid(logits), scope="Mine"
    )
    assert end_points["Predictions"].op.type == "Sigmoid"
    assert all(v.op.name.startswith("Mine/") for v in tf.compat.v1.model_variables())


def _nets(quick: set[str]) -> list:
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in REGISTRY
    ]


@pytest.mark.parametrize("name", _nets(QUICK))
def test_training_builds_at_the_minimum_for_oblong_grey_images(name: str) -> None:
    minimum = get_net(name).min_image_size
    network_fn = get_network_fn(name, 5, is_training=True)
    logits, _ = network_fn(_images(minimum, minimum + 13, channels=1))
    assert logits.shape.as_list() == [2, 5]


@pytest.mark.parametrize("name", _nets(QUICK))
def test_larger_images_than_published_give_one_row_of_logits(name: str) -> None:
    size = get_net(name).default_image_size
    logits, _ = get_network_fn(name, 5)(_images(size + 33, size + 70))
    assert logits.shape.as_list() == [2, 5]
