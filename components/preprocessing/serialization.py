"""Stored images as strings, the form in which transformed examples carry them."""

from __future__ import annotations

import tensorflow as tf


def serialize_stored(stored: tf.Tensor) -> tf.Tensor:
    """uint8 [S, S, C] -> string [], a serialized tensor (contracts.IMAGE_PIXELS)."""
    return tf.io.serialize_tensor(stored)


def parse_stored(serialized: tf.Tensor, stored_size: int, num_channels: int) -> tf.Tensor:
    """Inverts `serialize_stored`: string [] -> uint8 [stored_size, stored_size, num_channels].

    Raises:
        tf.errors.InvalidArgumentError: (from the graph) A tensor of another shape or dtype.
    """
    stored = tf.io.parse_tensor(serialized, tf.uint8)
    return tf.ensure_shape(stored, [stored_size, stored_size, num_channels])
