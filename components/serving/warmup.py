"""Runs the warm-up requests that a model brings along, before it answers anybody else."""

from __future__ import annotations

import itertools
import logging
import time

from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components.contracts import EXTRA_ASSETS_FOLDER
from slimworks.components.examples import tfrecord
from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel

WARMUP_FILE = "tf_serving_warmup_requests"
_MAX_RECORDS = 1_000  # TensorFlow Serving's

_logger = logging.getLogger(__name__)


def warm_up(model: LoadedModel) -> int:
    """Sends each PredictionLog of the model's warm-up file through it.

    Returns:
        Number of requests run.

    Raises:
        RequestError: The model refuses one of them: it must not go into service.
        DataError: The file is damaged.
    """
    path = model.path / EXTRA_ASSETS_FOLDER / WARMUP_FILE
    if not path.is_file():
        return 0
    started, num_requests, num_skipped = time.monotonic(), 0, 0
    for record in itertools.islice(tfrecord.iterate_records(path), _MAX_RECORDS):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.WhichOneof("log_type") != "predict_log":
            num_skipped += 1
            continue
        request = log.predict_log.request
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        model.predict(name, request.inputs, request.output_filter)
        num_requests += 1
    _logger.info(
        "Warm-up of %s: %d requests in %.2f s, %d of other kinds left out",
        model.path, num_requests, time.monotonic() - started, num_skipped,
    )  # fmt: skip
    return num_requests
