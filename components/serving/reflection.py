"""grpc.reflection, so that grpcurl and its like know the services without proto files."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from slimworks.components.serving.gap_messages import (
    HealthCheckRequest,
    ReflectionRequest,
    ReflectionResponse,
)

HEALTH_SERVICE = "grpc.health.v1.Health"
# The wheel's own modules of the services do not load with protobuf 4. Service -> file, and
# method -> module of its messages, name of the request, name of the answer.
_SERVICES: dict[str, tuple[str, dict[str, tuple[Any, str, str]]]] = {
    "tensorflow.serving.PredictionService": (
        "tensorflow_serving/apis/prediction_service.proto",
        {
            "Classify": (classification_pb2, "ClassificationRequest", "ClassificationResponse"),
            "Regress": (regression_pb2, "RegressionRequest", "RegressionResponse"),
            "Predict": (predict_pb2, "PredictRequest", "PredictResponse"),
            "MultiInference": (inference_pb2, "MultiInferenceRequest", "MultiInferenceResponse"),
            "GetModelMetadata": (
                get_model_metadata_pb2, "GetModelMetadataRequest", "GetModelMetadataResponse",
            ),
        },
    ),
    "tensorflow.serving.ModelService": (
        "tensorflow_serving/apis/model_service.proto",
        {
            "GetModelStatus": (
                get_model_status_pb2, "GetModelStatusRequest", "GetModelStatusResponse",
            ),
            "HandleReloadConfigRequest": (
                model_management_pb2, "ReloadConfigRequest", "ReloadConfigResponse",
            ),
        },
    ),
}  # fmt: skip
SERVICES = tuple(_SERVICES)
_REFLECTION_SERVICES = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
_NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


def add_reflection(server: grpc.Server, *, has_health: bool) -> None:
    """Registers both versions of the service; they differ in their name only."""
    names = [*SERVICES, *([HEALTH_SERVICE] if has_health else []), *_REFLECTION_SERVICES]

    def info(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield answer(request, names)

    method = grpc.stream_stream_rpc_method_handler(
        info,
        request_deserializer=ReflectionRequest.FromString,
        response_serializer=ReflectionResponse.SerializeToString,
    )
    for name in _REFLECTION_SERVICES:
        handlers = {"ServerReflectionInfo": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def answer(request: Any, service_names: list[str]) -> Any:
    """ServerReflectionRequest -> ServerReflectionResponse."""
    response = ReflectionResponse(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("choice")
    if kind == "list_services":
        for name in service_names:
            response.list_services_response.service.add(name=name)
    elif kind in ("file_by_filename", "file_containing_symbol"):
        try:
            file = _file(kind, getattr(request, kind))
        except KeyError:
            response.error_response.error_code = _NOT_FOUND
            response.error_response.error_message = f"{getattr(request, kind)} not found"
            return response
        response.file_descriptor_response.file_descriptor_proto.extend(_with_dependencies(file))
    else:
        response.error_response.error_code = _UNIMPLEMENTED
        response.error_response.error_message = f"{kind} is not answered"
    return response


def _file(kind: str, name: str) -> Any:
    """A file descriptor by its own name or by that of something in it."""
    if kind == "file_by_filename":
        return _pool().FindFileByName(name)
    return _pool().FindFileContainingSymbol(name)


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    """Everything that the server speaks, in a pool of its own."""
    modules = [module for _, methods in _SERVICES.values() for module, _, _ in methods.values()]
    roots = [
        HealthCheckRequest.DESCRIPTOR.file,
        ReflectionRequest.DESCRIPTOR.file,
        *(module.DESCRIPTOR for module in modules),
    ]
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for root in roots:
        _add_file(pool, root, added)
    for name, (path, methods) in _SERVICES.items():
        pool.AddSerializedFile(_service_file(name, path, methods).SerializeToString())
    return pool


def _add_file(pool: descriptor_pool.DescriptorPool, file: Any, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add_file(pool, dependency, added)
    pool.AddSerializedFile(file.serialized_pb)


def _service_file(
    name: str, path: str, methods: dict[str, tuple[Any, str, str]]
) -> descriptor_pb2.FileDescriptorProto:
    package, _, short_name = name.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
    file.dependency.extend(sorted({module.DESCRIPTOR.name for module, _, _ in methods.values()}))
    service = file.service.add(name=short_name)
    for method, (_, request, response) in methods.items():
        service.method.add(
            name=method, input_type=f".{package}.{request}", output_type=f".{package}.{response}"
        )
    return file


def _with_dependencies(file: Any) -> list[bytes]:
    """The file and all that it needs, itself first, each once."""
    found: dict[str, bytes] = {}
    waiting = [file]
    while waiting:
        current = waiting.pop(0)
        if current.name not in found:
            found[current.name] = current.serialized_pb
            waiting += current.dependencies
    return list(found.values())
