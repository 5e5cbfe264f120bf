"""A small real SavedModel over PNG bytes, examples for it, and its offline predictions."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from slimworks.components import contracts
from slimworks.components.examples import encoding, tfrecord

CLASS_NAMES = ("red", "grün", "蓝", "grey")
NUM_IMAGES = 20
TOP_K = 3


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def images() -> list[bytes]:
    """Noise, each with one channel raised."""
    rng = np.random.default_rng(3)
    found = []
    for index in range(NUM_IMAGES):
        pixels = rng.integers(0, 200, (8, 8, 3))
        pixels[..., index % 3] += 40
        found.append(png(pixels.astype(np.uint8)))
    return found


def image_id(index: int) -> str:
    return f"{index:064x}"


def filename(index: int) -> str:
    return f"photos/{index:03d} ä.png"


def write_examples(folder: Path, encoded: list[bytes], split: str = "test") -> Path:
    shard = contracts.split_folder(folder, split)
    shard.mkdir(parents=True)
    name = contracts.EXAMPLES_FILE_PATTERN.format(shard=0, num_shards=1)
    with open(shard / name, "wb") as stream:
        for index, image in enumerate(encoded):
            record = encoding.ImageRecord(
                encoded=image, format="png", original_format="png", class_index=index % 3,
                class_name=CLASS_NAMES[index % 3], filename=filename(index), height=8, width=8,
                colorspace="RGB", channels=3, image_id=image_id(index), group=image_id(index),
                brightness=0.5,
                sharpness=0.1,
                span=1,
            )  # fmt: skip
            tfrecord.write_record(stream, encoding.encode_example(record))
    return folder


def save_model(folder: Path, encoded: list[bytes], noise: float = 0.0) -> np.ndarray:
    """Writes the SavedModel; returns its probabilities for the images, [N, C] float32.

    With noise, its answers change from call to call.
    """
    import tensorflow as tf

    class Colours(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(20.0 * np.eye(3, 4, dtype=np.float32), trainable=False)
            self.names = tf.constant(CLASS_NAMES)

        def probabilities(self, encoded: tf.Tensor) -> tf.Tensor:
            def mean_colour(image: tf.Tensor) -> tf.Tensor:
                pixels = tf.io.decode_png(image, channels=3)
                return tf.reduce_mean(tf.cast(pixels, tf.float32) / 255.0, axis=[0, 1])

            signature = tf.TensorSpec([3], tf.float32)
            logits = tf.map_fn(mean_colour, encoded, fn_output_signature=signature) @ self.kernel
            return tf.nn.softmax(logits + noise * tf.random.uniform(tf.shape(logits)))

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False
        )
        def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            top = tf.math.top_k(self.probabilities(images), k=TOP_K)
            return {
                "classes": tf.gather(self.names, top.indices),
                "probabilities": top.values,
                "class_index": tf.cast(top.indices, tf.int64),
                "is_known": top.values[:, 0] >= 0.0,
            }

    model = Colours()
    tf.saved_model.save(model, str(folder), signatures={contracts.SIGNATURE_SERVE: model.serve})
    return model.probabilities(tf.constant(encoded)).numpy()


def write_predictions(
    path: Path, probabilities: np.ndarray, predicted: np.ndarray | None = None
) -> Path:
    """The evaluator's file, in two row groups and another order than the examples."""
    best = probabilities.argmax(axis=1) if predicted is None else predicted
    order = list(reversed(range(len(probabilities))))
    table = pa.table(
        {
            "image_id": [image_id(index) for index in order],
            "filename": [filename(index) for index in order],
            "group": [image_id(index) for index in order],
            "class_index": pa.array([index % 3 for index in order], pa.int64()),
            "predicted_index": pa.array([int(best[index]) for index in order], pa.int64()),
            "probabilities": pa.array(
                [probabilities[index].tolist() for index in order], pa.list_(pa.float32())
            ),
            "logits": pa.array([[0.0]] * len(order), pa.list_(pa.float32())),
        }
    )
    assert tuple(table.column_names) == contracts.PREDICTION_COLUMNS
    parquet.write_table(table, str(path), row_group_size=11)
    return path
