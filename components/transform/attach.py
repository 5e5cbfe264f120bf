"""The saved transform graph as a part of another model: the exporter's way to decode images."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.preprocessing import serialization
from slimworks.components.transform.config import TRANSFORM_FN_FOLDER, read_settings

_PARALLEL_PARSES = 16


class StoredImageDecoder(tf.Module):
    """The transform graph, fed with encoded images alone.

    Assign it to an attribute of the exported module: the loaded graph is tracked, so
    tf.saved_model.save takes it along.

    Attributes:
        settings: Family, size and channels of the stored images.
    """

    def __init__(self, graph_dir: str | Path) -> None:
        super().__init__(name="transform_graph")
        self.settings = read_settings(graph_dir)
        self._graph = tf.saved_model.load(str(Path(graph_dir) / TRANSFORM_FN_FOLDER))

    def transform(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Applies the whole graph to raw features [N] by key; returns transformed features [N]."""
        return self._graph.transform_fn(features)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Decodes encoded images to stored images.

        Args:
            images: string [N], JPEG, PNG, GIF or BMP files.

        Returns:
            uint8 [N, S, S, C].

        Raises:
            tf.errors.InvalidArgumentError: (from the graph) An image cannot be decoded.
        """
        # A request has neither label nor id; the image does not depend on them.
        placeholders = {
            contracts.CLASS_INDEX: tf.zeros(tf.shape(images), tf.int64),
            contracts.IMAGE_ID: tf.fill(tf.shape(images), ""),
        }
        features = self.transform({contracts.IMAGE_ENCODED: images, **placeholders})
        size, num_channels = self.settings.stored_size, self.settings.num_channels
        return tf.map_fn(
            lambda pixels: serialization.parse_stored(pixels, size, num_channels),
            features[contracts.IMAGE_PIXELS],
            fn_output_signature=tf.TensorSpec([size, size, num_channels], tf.uint8),
            parallel_iterations=_PARALLEL_PARSES,
        )


def decode_with_transform_graph(graph_dir: str | Path) -> StoredImageDecoder:
    """Loads a transform graph: a callable from images string [N] to uint8 [N, S, S, C]."""
    return StoredImageDecoder(graph_dir)
