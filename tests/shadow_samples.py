"""Two small models that disagree on dark images, and logs of one of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slimworks.components.examples import tfrecord
from slimworks.components.serving.request_log import prediction_log

CLASS_NAMES = ("dark", "<b>bright</b>")
THRESHOLDS = {"primary": 0.5, "candidate": 0.3}


def image_of(level: int, size: int = 24) -> bytes:
    """A PNG of about this grey, 0 to 255, with some texture."""
    noise = np.random.default_rng(level).integers(-8, 9, (size, size, 3))
    pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def save_model(folder: Path, threshold: float) -> Path:
    """Writes a SavedModel that calls an image bright above a mean level in [0, 1]."""
    import tensorflow as tf

    class Brightness(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            def level(encoded: tf.Tensor) -> tf.Tensor:
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32) / 255.0)

            levels = tf.map_fn(level, images, fn_output_signature=tf.TensorSpec([]))
            bright = tf.sigmoid(20 * (levels - threshold))
            probabilities, indices = tf.math.top_k(tf.stack([1 - bright, bright], axis=1), k=2)
            return {
                "classes": tf.gather(tf.constant(CLASS_NAMES), indices),
                "probabilities": probabilities,
                "class_index": tf.cast(indices, tf.int64),
                "is_known": probabilities[:, 0] >= 0.6,
            }

    model = Brightness()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})
    return folder


def predict_request(images: Sequence[bytes], model: str = "photos") -> Any:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["images"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def predict_response(answers: Sequence[tuple[str, float]], version: int = 3) -> Any:
    """What `primary` says of images: the best class and its probability."""
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    response.model_spec.name = "photos"
    response.model_spec.version.value = version
    outputs = response.outputs
    other = {CLASS_NAMES[0]: CLASS_NAMES[1], CLASS_NAMES[1]: CLASS_NAMES[0]}
    for alias, dtype in (("classes", 7), ("probabilities", 1), ("is_known", 10)):
        outputs[alias].dtype = dtype
        outputs[alias].tensor_shape.dim.add(size=len(answers))
        if alias != "is_known":
            outputs[alias].tensor_shape.dim.add(size=2)
    for name, probability in answers:
        outputs["classes"].string_val.extend([name.encode(), other[name].encode()])
        outputs["probabilities"].float_val.extend([probability, 1 - probability])
        outputs["is_known"].bool_val.append(probability >= 0.6)
    return response


def answer(level: int, threshold: float = THRESHOLDS["primary"]) -> tuple[str, float]:
    """As `save_model`'s model answers an image of this level."""
    bright = 1 / (1 + np.exp(-20 * (level / 255 - threshold)))
    return (CLASS_NAMES[1], float(bright)) if bright > 0.5 else (CLASS_NAMES[0], float(1 - bright))


def write_log(path: Path, levels: Sequence[Sequence[int]]) -> Path:
    """A closed log of requests with images of these levels, answered by `primary`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        for request in levels:
            asked = predict_request([image_of(level) for level in request])
            got = predict_response([answer(level) for level in request])
            record = prediction_log("predict_log", asked, got, got.model_spec, 1.0, 1_790_000_000)
            tfrecord.write_record(stream, record)
    return path
