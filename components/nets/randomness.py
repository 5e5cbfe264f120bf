"""Dropout and drop path as functions of (seed, step, place in the network, place in the batch).

TF-Slim's random ops count their draws in a state that no checkpoint holds: a training that goes on
from one would draw other masks. Here they have no state. The mask of an image depends on where in
the whole batch the image is, so that replicas and micro-batches draw what one pass would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import math
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from slimworks.components.nets.slim import slim  # noqa: F401

_PHILOX = 1  # tf.random.Algorithm.PHILOX
_NUMBERS_A_COUNT = 4  # of Philox


@dataclasses.dataclass
class _Draws:
    """What the masks of one forward pass depend on."""

    key: tf.Tensor
    first_image: tf.Tensor
    num_by_scope: Counter[str] = dataclasses.field(default_factory=Counter)


_draws: ContextVar[_Draws | None] = ContextVar("draws of a training step", default=None)
_first_image: ContextVar[Any] = ContextVar("position of the first image", default=0)


@contextlib.contextmanager
def stateless(seed: int, step: tf.Tensor | tf.Variable | int) -> Iterator[None]:
    """Networks built within draw their masks from the seed and the step.

    Args:
        seed: Of the training.
        step: Scalar integer, optimiser updates so far.
    """
    pair = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
    key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(seed=pair)
    first_image = tf.cast(_first_image.get(), tf.int64)
    token = _draws.set(_Draws(key, first_image))
    try:
        yield
    finally:
        _draws.reset(token)


@contextlib.contextmanager
def images_from(first_image: tf.Tensor | int) -> Iterator[None]:
    """Networks built within see the part of a batch that starts with its image `first_image`."""
    token = _first_image.set(first_image)
    try:
        yield
    finally:
        _first_image.reset(token)


def first_image() -> Any:
    """Returns what `images_from` says, an integer or a scalar integer tensor; 0 without it."""
    return _first_image.get()


def uniform(shape: list[Any], scope: str) -> tf.Tensor:
    """Random float32 of `shape` in [0, 1), without a state where `stateless` is around.

    Args:
        shape: N, which may be a tensor, then integers.
        scope: Place in the network; a further draw of the same place is another one.
    """
    draws = _draws.get()
    if draws is None:
        return tf.random.uniform(shape)
    number = draws.num_by_scope[scope]
    draws.num_by_scope[scope] += 1
    digest = hashlib.sha256(f"{scope}/{number}".encode()).digest()
    place = tf.constant(int.from_bytes(digest[:8], "little"), tf.uint64)
    size = math.prod(shape[1:])
    counts = -(-size // _NUMBERS_A_COUNT)  # whole ones, so that each image starts with its own
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([shape[0], counts * _NUMBERS_A_COUNT]),
        key=draws.key,
        counter=tf.stack([tf.cast(draws.first_image * counts, tf.uint64), place]),
        alg=_PHILOX,
    )
    return tf.reshape(numbers[:, :size], shape)


def _dropout(*, rate: float, name: str, **options: Any) -> Any:
    """Stands in for the layer class inside tf_slim; `name` is the full scope."""
    if _draws.get() is None:
        return _original_layers.Dropout(rate=rate, name=name, **options)
    if options.get("noise_shape") is not None or options.get("seed") is not None:
        raise ValueError(f"{name}: dropout with a noise_shape or a seed of its own.")

    def apply(inputs: tf.Tensor, training: bool) -> tf.Tensor:
        if not training or rate == 0:
            return inputs
        kept = uniform([tf.shape(inputs)[0], *inputs.shape[1:]], name) >= rate
        return tf.where(kept, inputs * (1.0 / (1.0 - rate)), 0.0)

    return SimpleNamespace(apply=apply)


# After slim.py, without which tf_slim cannot be imported.
_layers: Any = importlib.import_module("tf_slim.layers.layers")
_original_layers: Any = _layers.core_layers
_layers.core_layers = SimpleNamespace(
    Dropout=_dropout, Dense=_original_layers.Dense, flatten=_original_layers.flatten
)
