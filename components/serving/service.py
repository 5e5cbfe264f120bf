"""The gRPC services, word for word as TensorFlow Serving answers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.versions import Versions

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SIGNATURE_FIELD = "signature_def"

_logger = logging.getLogger(__name__)

_Response = TypeVar("_Response")


class Models:
    """Finds the model that a request asks for.

    Args:
        versions: Versions by model name.
    """

    def __init__(self, versions: dict[str, Versions]) -> None:
        self._versions = versions

    @contextlib.contextmanager
    def acquired(self, request: Any) -> Iterator[tuple[int, LoadedModel]]:
        """Holds the version that `request.model_spec` names, for the length of one request.

        Raises:
            RequestError: The spec is incomplete, or names nothing that is loaded.
        """
        spec = _checked_spec(request)
        if spec.WhichOneof("version_choice") == "version_label":
            raise RequestError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        number = spec.version.value if spec.HasField("version") else None
        if spec.name not in self._versions:
            asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        with self._versions[spec.name].acquired(number) as held:
            yield held  # type: ignore[misc]  # `Versions` was given a loader of LoadedModel

    def versions(self, request: Any) -> Versions:
        """The versions of the model that `request.model_spec` names."""
        name = _checked_spec(request).name
        if name not in self._versions:
            raise RequestError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return self._versions[name]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs one signature of one version."""
        return _answered(context, lambda: self._predict(request))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answers the signatures as they were saved."""
        return _answered(context, lambda: self._metadata(request))

    def _predict(self, request: Any) -> Any:
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        with self._models.acquired(request) as (version, model):
            outputs = model.predict(name, request.inputs, request.output_filter)
        response = predict_pb2.PredictResponse(
            model_spec=_used_spec(request, version, signature_name=name)
        )
        for alias, tensor in outputs.items():
            response.outputs[alias].CopyFrom(tensor)
        return response

    def _metadata(self, request: Any) -> Any:
        _checked_spec(request)
        if not request.metadata_field:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_FIELD:
                raise RequestError(
                    Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported"
                )
        with self._models.acquired(request) as (version, model):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_used_spec(request, version)
        )
        response.metadata[_SIGNATURE_FIELD].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answers the states of one or all versions; a label is ignored."""
        return _answered(context, lambda: self._status(request))

    def _status(self, request: Any) -> Any:
        reports = self._models.versions(request).reports()
        spec = request.model_spec
        if spec.HasField("version"):
            reports = [report for report in reports if report.version == spec.version.value]
            if not reports:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Could not find version {spec.version.value} of model {spec.name}",
                )
        if not reports:
            raise RequestError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for report in reports:
            status = response.model_version_status.add(version=report.version, state=report.state)
            status.status.error_code = report.error_code
            status.status.error_message = report.error_message
        return response


def add_services(server: grpc.Server, models: Models) -> None:
    """Registers the services under TensorFlow Serving's names."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)


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


def _checked_spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise RequestError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    if not request.model_spec.name:
        raise RequestError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    return request.model_spec


def _used_spec(request: Any, version: int, signature_name: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=request.model_spec.name, signature_name=signature_name)
    spec.version.value = version
    return spec
