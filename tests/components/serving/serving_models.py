"""Small real SavedModels: the mean colour of an image decides its class."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

CLASS_NAMES = ("red", "green", "blue")


def png(color: str, file_format: str = "PNG", **options: object) -> bytes:
    """An 8 x 8 image of one colour, as a file."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(stream, file_format, **options)
    return stream.getvalue()


def save_color_model(folder: Path, *, favourite: int | None = None) -> Path:
    """Writes a SavedModel with the signatures of an exported SlimWorks model.

    Args:
        folder: Where to.
        favourite: Class index that always wins; None lets the colour decide.
    """
    import tensorflow as tf

    class ColorModel(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_names = tf.constant(CLASS_NAMES)
            bias = [50.0 if index == favourite else 0.0 for index in range(3)]
            self.bias = tf.Variable(bias, name="bias")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images):
            def mean_color(encoded):
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32) / 255.0, [0, 1])

            colors = tf.map_fn(mean_color, images, fn_output_signature=tf.TensorSpec([3]))
            probabilities, indices = tf.math.top_k(tf.nn.softmax(4 * colors + self.bias), k=2)
            return {
                "classes": tf.gather(self.class_names, indices),
                "probabilities": probabilities,
                "class_index": tf.cast(indices, tf.int64),
                "is_known": probabilities[:, 0] >= 0.5,
            }

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([], tf.int64, name="y"),
            ]
        )
        def arithmetic(self, x, y):
            return {
                "double": x * 2,
                "count": tf.size(x) + 0,
                "y": y + 0,
                "truth": x > 0,
                "half": tf.cast(x, tf.float16),
            }

    model = ColorModel()
    tf.saved_model.save(
        model,
        str(folder),
        signatures={"serving_default": model.serve, "arithmetic": model.arithmetic},
    )
    return folder
