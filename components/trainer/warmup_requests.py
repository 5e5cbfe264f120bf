"""Requests of real images that a server sends through a version before anybody else does.

TensorFlow Serving reads `assets.extra/tf_serving_warmup_requests`, PredictionLogs. Kernels
are chosen, and memory is claimed, at the first request of a shape: one image, and a few at once.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components import contracts, files
from slimworks.components.examples import tfrecord
from slimworks.components.trainer.dataset import StoredExamples

MAX_IMAGES = 8  # what a client sends at once, or batching collects
MAX_BYTES = 1 << 20  # of all images; at 299 px eight take 0.2 MB
_JPEG_QUALITY = 90


def write_warmup_requests(examples: StoredExamples, saved_model: Path) -> int:
    """Writes requests of one image and of several, made from the eval split.

    Args:
        examples: Their stored images go as JPEG.
        saved_model: Folder of an exported model.

    Returns:
        Size of the file in bytes.
    """
    images = _images(examples)
    path = saved_model / contracts.EXTRA_ASSETS_FOLDER / contracts.WARMUP_FILE
    with files.replaced(path) as stream:
        for num_images in sorted({1, len(images)}):
            tfrecord.write_record(stream, _log(images[:num_images]).SerializeToString())
    return path.stat().st_size


def _images(examples: StoredExamples) -> list[bytes]:
    """JPEGs of the first images, one at least, `MAX_BYTES` in all at most."""
    found: list[bytes] = []
    for record in examples.records("eval").take(MAX_IMAGES):
        pixels, _, _ = examples.parse(record)
        image = tf.io.encode_jpeg(pixels, quality=_JPEG_QUALITY).numpy()
        if found and sum(map(len, found)) + len(image) > MAX_BYTES:
            break
        found.append(image)
    return found


def _log(images: list[bytes]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = contracts.SIGNATURE_SERVE
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images, tf.string, [len(images)]))
    return log
