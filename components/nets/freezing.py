"""Batch norm of chosen layers by the stored statistics, or by those of the batch alone.

TF-Slim has one `is_training` for a whole network, so that its moving statistics drift in layers
that are not trained, and a head learns on other features than it is evaluated on.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from slimworks.components.nets.slim import slim  # noqa: F401

_MOVING_MEAN = "/moving_mean"
_NORMALIZER_SCOPE = "/BatchNorm"  # of a batch norm that belongs to a convolution

_frozen: ContextVar[frozenset[str]] = ContextVar("scopes of frozen batch norm", default=frozenset())
_by_batch: ContextVar[bool] = ContextVar("batch norm by the batch's statistics", default=False)
# After slim.py, without which tf_slim cannot be imported.
_layers: Any = importlib.import_module("tf_slim.layers.layers")
_original_layer = _layers.normalization_layers.BatchNormalization


def frozen_scopes(variables: Collection[str], trained: Collection[str]) -> frozenset[str]:
    """Returns the scopes of the batch norms that normalise layers of which nothing is trained.

    Args:
        variables: Names of all variables of a network.
        trained: Names of those that gradients change.
    """
    scopes = (n.removesuffix(_MOVING_MEAN) for n in variables if n.endswith(_MOVING_MEAN))
    return frozenset(
        scope
        for scope in scopes
        if not any(n.startswith(f"{scope.removesuffix(_NORMALIZER_SCOPE)}/") for n in trained)
    )


@contextlib.contextmanager
def frozen_batch_norm(scopes: frozenset[str]) -> Iterator[None]:
    """Networks built within are in inference mode in the batch norms of `scopes`."""
    token = _frozen.set(scopes)
    try:
        yield
    finally:
        _frozen.reset(token)


def are_frozen(scopes: Collection[str]) -> bool:
    """Whether networks built here are in inference mode in all of these batch norms."""
    return _frozen.get().issuperset(scopes)


@contextlib.contextmanager
def batch_statistics() -> Iterator[None]:
    """Networks built within normalise by each batch's own statistics, in inference mode too.

    When the network runs, the moving statistics become those of the batch. Layers that
    `frozen_batch_norm` names are left alone.
    """
    token = _by_batch.set(True)
    try:
        yield
    finally:
        _by_batch.reset(token)


def _batch_normalization(*, name: str, **options: Any) -> Any:
    """Stands in for the layer class inside tf_slim; `name` is the full scope."""
    is_frozen, is_by_batch = name in _frozen.get(), _by_batch.get()
    if is_by_batch and not is_frozen:
        options["momentum"] = 0.0
    layer = _original_layer(name=name, **options)
    if is_frozen or is_by_batch:

        def apply(inputs: tf.Tensor, **_: Any) -> tf.Tensor:
            return type(layer).apply(layer, inputs, training=not is_frozen)

        layer.apply = apply
    return layer


_layers.normalization_layers = SimpleNamespace(BatchNormalization=_batch_normalization)
