"""Runs the warm-up requests that a model brings along, before it answers anybody else."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components.contracts import EXTRA_ASSETS_FOLDER
from slimworks.components.examples import tfrecord
from slimworks.components.serving import example_inference
from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from slimworks.components.serving.request_errors import Code, RequestError

WARMUP_FILE = "tf_serving_warmup_requests"
_MAX_RECORDS = 1_000  # TensorFlow Serving's

_logger = logging.getLogger(__name__)


def warm_up(model: LoadedModel, *, num_iterations: int = 1) -> int:
    """Sends each PredictionLog of the model's warm-up file through it.

    Args:
        model: A model that nobody else asks yet.
        num_iterations: How often each request runs.

    Returns:
        Number of requests in the file.

    Raises:
        RequestError: The model refuses one of them: it must not go into service.
        DataError: The file is damaged.
    """
    path = model.path / EXTRA_ASSETS_FOLDER / WARMUP_FILE
    if not path.is_file():
        return 0
    started, num_requests = time.monotonic(), 0
    for record in itertools.islice(tfrecord.iterate_records(path), _MAX_RECORDS):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        for _ in range(num_iterations):
            _run(model, log)
        num_requests += 1
    _logger.info(
        "Warm-up of %s: %d requests in %.2f s",
        model.path, num_requests, time.monotonic() - started,
    )  # fmt: skip
    return num_requests


def _run(model: LoadedModel, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind not in _RUNNERS:
        raise RequestError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    _RUNNERS[kind](model, getattr(log, kind).request)


def _predict(model: LoadedModel, request: Any) -> None:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    model.predict(name, request.inputs, request.output_filter)


def _classify(model: LoadedModel, request: Any) -> None:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    example_inference.classify(model, name, request.input, check_method_name=False)


def _regress(model: LoadedModel, request: Any) -> None:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    example_inference.regress(model, name, request.input, check_method_name=False)


def _multi_inference(model: LoadedModel, request: Any) -> None:
    example_inference.multi_inference(model, request.tasks, request.input, check_method_name=False)


_RUNNERS = {
    "predict_log": _predict,
    "classify_log": _classify,
    "regress_log": _regress,
    "multi_inference_log": _multi_inference,
}
