"""TensorFlow Transform's preprocessing_fn: encoded images to stored images."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.preprocessing import families, serialization
from slimworks.components.transform.config import TransformSettings

# What the graph reads of an Example.
RAW_FEATURE_SPEC = {
    contracts.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
    contracts.CLASS_INDEX: tf.io.FixedLenFeature([], tf.int64),
    contracts.IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
}
# Batches are decoded image by image, as TensorFlow has no batch decoder.
_PARALLEL_DECODES = 16


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], settings: TransformSettings
) -> dict[str, tf.Tensor]:
    """Decodes and resizes; the label and the id pass through.

    Nothing here needs a pass over the data, so serving, evaluation and training cannot differ by
    what was analysed.

    Args:
        inputs: Tensors [N] by feature key, as in RAW_FEATURE_SPEC.
        settings: Family, size and channels of the stored images.

    Returns:
        contracts.IMAGE_PIXELS string [N] (a serialized uint8 [S, S, C] each: compact, and one of
        the three types that TensorFlow Transform may return), CLASS_INDEX int64 [N], IMAGE_ID
        string [N].
    """
    preprocessing = families.get_preprocessing(settings.family)

    def stored(encoded: tf.Tensor) -> tf.Tensor:
        image = preprocessing.to_stored(encoded, settings.stored_size, settings.num_channels)
        return serialization.serialize_stored(image)

    pixels = tf.map_fn(
        stored,
        inputs[contracts.IMAGE_ENCODED],
        fn_output_signature=tf.TensorSpec([], tf.string),
        parallel_iterations=_PARALLEL_DECODES,
    )
    return {
        contracts.IMAGE_PIXELS: pixels,
        contracts.CLASS_INDEX: tf.identity(inputs[contracts.CLASS_INDEX]),
        contracts.IMAGE_ID: tf.identity(inputs[contracts.IMAGE_ID]),
    }
