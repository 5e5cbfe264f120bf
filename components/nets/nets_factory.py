"""Network functions by name, for TF1 graphs and for traced TF2 functions alike."""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import tensorflow as tf

from slimworks.components.errors import ConfigError, ConfigValueError
from slimworks.components.nets import own_network
from slimworks.components.nets.own_nets import is_own
from slimworks.components.nets.registry import REGISTRY, check_images_shape, get_net
from slimworks.components.nets.slim import slim
from slimworks.components.nets.spec import NetSpec

_MIN_SIZE_OF_FIVE_POOLS = 32  # VGG's, of 2x2, before fc6

_DEPRECATED_CALLS = "`(layer.apply|layer.updates|tf.layers.*)` (is deprecated|will be removed)"

NetworkFn = Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]


class _FunctionsByNet(Mapping[str, Callable[..., Any]]):
    """One function of every network; a network's module is imported when it is asked for."""

    def __init__(self, kind: Literal["function", "arg_scope"]) -> None:
        self._kind = kind

    def __getitem__(self, name: str) -> Callable[..., Any]:
        spec = REGISTRY[name]
        return getattr(importlib.import_module(spec.module), getattr(spec, self._kind))

    def __contains__(self, name: object) -> bool:
        return name in REGISTRY  # the inherited one would import the module

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTRY)

    def __len__(self) -> int:
        return len(REGISTRY)


# TF-Slim's names: build functions and arg scopes by network.
networks_map: Mapping[str, Callable[..., Any]] = _FunctionsByNet("function")
arg_scopes_map: Mapping[str, Callable[..., Any]] = _FunctionsByNet("arg_scope")


def get_network_fn(
    name: str,
    num_classes: int | None,
    weight_decay: float = 0.0,
    is_training: bool = False,
    batch_norm_decay: float | None = None,
) -> NetworkFn:
    """Returns the build function of a network with its arg scope and options bound.

    Args:
        name: A name of the registry, or MODULE:FUNCTION of a user's own network.
        num_classes: K. None or 0 for the features before the head, where the network allows it.
        weight_decay: L2 factor; the loss term of a weight w is weight_decay * sum(w^2) / 2.
        is_training: Batch norm uses and tracks the batch's statistics, and dropout is active.
        batch_norm_decay: Decay of the moving averages in [0, 1]; None for the network's own.

    Returns:
        A function of images [N, H, W, C] float32 (and of the network's further options, by
        keyword) that returns logits [N, K] and activations by name. It raises ConfigValueError
        where the images are smaller than the network can take, and RuntimeError eagerly: it is
        for TF1 graphs and traced functions. Its attribute `default_image_size` is the published
        height and width in pixels. Height and width may differ, and C may be 1. They may be
        unknown, but for NASNet and, with auxiliary heads, Inception v4 and Inception-ResNet v2.

    Raises:
        ConfigValueError: No network has this name.
        ConfigError: A user's own network cannot be found or imported.
    """
    if is_own(name):
        return _own_network_fn(name, num_classes, weight_decay, is_training, batch_norm_decay)
    spec = _find_net(name)
    build = networks_map[name]
    arg_scope = arg_scopes_map[name](weight_decay=float(weight_decay))
    if batch_norm_decay is not None:
        arg_scope = with_batch_norm_decay(arg_scope, batch_norm_decay)

    # Converting every layer of a net by AutoGraph takes seconds and changes nothing.
    @tf.autograph.experimental.do_not_convert
    @functools.wraps(build)
    def network_fn(images: tf.Tensor, **options: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        _require_graph(name)
        minimum = _minimum_size(spec, num_classes, is_training, options)
        check_images_shape(spec, *_height_and_width(images), minimum)
        with _calling_layers(arg_scope):
            return build(images, num_classes=num_classes, is_training=is_training, **options)

    network_fn.default_image_size = spec.default_image_size
    return network_fn


def _own_network_fn(
    name: str,
    num_classes: int | None,
    weight_decay: float,
    is_training: bool,
    batch_norm_decay: float | None,
) -> NetworkFn:
    network = own_network.load(name)
    arg_scope = network.arg_scope(float(weight_decay), is_training, batch_norm_decay)
    if batch_norm_decay is not None:
        arg_scope = with_batch_norm_decay(arg_scope, batch_norm_decay)

    @tf.autograph.experimental.do_not_convert
    def network_fn(images: tf.Tensor, **options: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        _require_graph(name)
        with _calling_layers(arg_scope):
            return network.build(images, num_classes or network.num_classes, is_training, **options)

    network_fn.default_image_size = network.image_size
    return network_fn


@contextlib.contextmanager
def _calling_layers(arg_scope: dict[str, Any]) -> Iterator[None]:
    with warnings.catch_warnings(), slim.arg_scope(arg_scope):
        # tf_slim's own way of calling its layers; nothing a user could change.
        warnings.filterwarnings("ignore", message=_DEPRECATED_CALLS)
        yield


def _find_net(name: str) -> NetSpec:
    try:
        return get_net(name)
    except ConfigError as error:
        raise ConfigValueError(error.cause, error.fix) from None


def _require_graph(name: str) -> None:
    """Eagerly, each call would make new variables of random values."""
    if tf.executing_eagerly():
        raise RuntimeError(
            f"{name} is called eagerly. Call it while a tf.Graph is built or a tf.function is "
            "traced; SlimModule shares variables between traced functions."
        )


def _minimum_size(
    spec: NetSpec, num_classes: int | None, is_training: bool, options: Mapping[str, Any]
) -> int:
    """Smallest side of the images that what is asked for can be built from."""
    if options.get("fc_conv_padding") == "SAME":
        return _MIN_SIZE_OF_FIVE_POOLS
    has_auxiliary_head = num_classes and options.get("create_aux_logits", True)
    if spec.has_drop_path:  # NASNet and PNASNet build it for training only
        has_auxiliary_head = is_training
    without = spec.min_image_size_without_auxiliary
    return spec.min_image_size if has_auxiliary_head or without is None else without


def _height_and_width(images: tf.Tensor) -> tuple[int | None, int | None]:
    shape = tf.TensorShape(images.shape)
    if shape.rank != 4:
        raise ValueError(f"images has shape {shape}, expected [N, H, W, C].")
    _, height, width, _ = shape.as_list()
    return height, width


def with_batch_norm_decay(arg_scope: dict[str, Any], decay: float) -> dict[str, Any]:
    """Replaces the decay wherever an arg scope states it: not every arg scope takes it."""
    return {key: _replace_decay(defaults, decay) for key, defaults in arg_scope.items()}


def _replace_decay(defaults: Any, decay: float) -> Any:
    if not isinstance(defaults, dict):
        return defaults
    replaced = {
        key: _replace_decay(value, decay) if key == "normalizer_params" else value
        for key, value in defaults.items()
    }
    return {**replaced, "decay": decay} if "decay" in replaced else replaced
