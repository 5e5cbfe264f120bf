"""The gRPC services, word for word as TensorFlow Serving answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from slimworks.components.serving.api import Api
from slimworks.components.serving.manager import Manager
from slimworks.components.serving.model_config import model_configs
from slimworks.components.serving.request_errors import RequestError

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

_NO_DEADLINE_SECONDS = 365 * 86_400.0  # gRPC says 292 years where the client gave none

_logger = logging.getLogger(__name__)

_Response = TypeVar("_Response")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs one signature of one version."""
        return _answered(context, lambda: self._within(context).predict(request))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Classes and scores of tf.Examples."""
        return _answered(context, lambda: self._within(context).classify(request))

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """One value for each tf.Example."""
        return _answered(context, lambda: self._within(context).regress(request))

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Several signatures on the same tf.Examples."""
        return _answered(context, lambda: self._within(context).multi_inference(request))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answers the signatures as they were saved."""
        return _answered(context, lambda: self._api.metadata(request))

    def _within(self, context: grpc.ServicerContext) -> Api:
        """The calls, bounded by the time that the client gave."""
        seconds = context.time_remaining()
        has_deadline = seconds is not None and seconds < _NO_DEADLINE_SECONDS
        return self._api.within(seconds if has_deadline else None)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, api: Api, manager: Manager) -> None:
        self._api = api
        self._manager = manager

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answers the states of one or all versions; a label is ignored."""
        return _answered(context, lambda: self._api.status(request))

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        """Replaces the models that are served."""
        return _answered(context, lambda: self._reload(request, context))

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        metrics = self._api.metrics
        before = {name: metrics.total(name) for name in request.metric_names}
        self._api.request_logs.check_folders(model_configs(request.config))
        self._manager.reload(request.config, is_wanted=context.is_active)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        for name, count in before.items():
            response.metric.add(name=name, int64_value_increase=metrics.total(name) - count)
        return response


def add_services(server: grpc.Server, api: Api, manager: Manager) -> None:
    """Registers the services under TensorFlow Serving's names."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(api), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(api, manager), server)


def _answered(context: grpc.ServicerContext, answer: Callable[[], _Response]) -> _Response:
    """Runs a handler; a refusal becomes the call's status."""
    if not context.is_active():  # its deadline passed in the queue: nobody reads the answer
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded before the request ran")
    try:
        return answer()
    except RequestError as error:
        _logger.info("Refused a request: %s", error.message)
        code = _STATUS_CODES.get(error.code, grpc.StatusCode.UNKNOWN)
        context.abort(code, error.message)
        raise  # `abort` raised already; this tells the type checker
