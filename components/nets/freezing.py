"""Batch norm of frozen layers: normalises by the stored statistics and leaves them alone.

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


def _batch_normalization(*, name: str, **options: Any) -> Any:
    """Stands in for the layer class inside tf_slim; `name` is the full scope."""
    layer = _original_layer(name=name, **options)
    if name in _frozen.get():

        def apply(inputs: tf.Tensor, **_: Any) -> tf.Tensor:
            return type(layer).apply(layer, inputs, training=False)

        layer.apply = apply
    return layer


_layers.normalization_layers = SimpleNamespace(BatchNormalization=_batch_normalization)
