"""Messages that the wheel tensorflow-serving-api lacks, in a descriptor pool of their own.

Names, numbers and types follow tensorflow_serving/servables/tensorflow/session_bundle_config.proto,
tensorflow_serving/config/{monitoring_config,ssl_config}.proto, grpc/health/v1/health.proto and
grpc/reflection/v1/reflection.proto. The pool of their own lets other packages that bring the same
messages load beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, message_factory, wrappers_pb2

_TYPE = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _TYPE.TYPE_BOOL,
    "bytes": _TYPE.TYPE_BYTES,
    "int32": _TYPE.TYPE_INT32,
    "int64": _TYPE.TYPE_INT64,
    "string": _TYPE.TYPE_STRING,
}
# message -> field -> (number, type); `*` repeated, `?` one of the oneof `choice`, `=` an enum.
_Fields = Mapping[str, tuple[int, str]]

_SERVING: dict[str, _Fields] = {
    "BatchingParameters": {
        "max_batch_size": (1, ".google.protobuf.Int64Value"),
        "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
        "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
        "num_batch_threads": (4, ".google.protobuf.Int64Value"),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, "int64*"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, ".google.protobuf.BoolValue"),
        "max_execution_batch_size": (9, ".google.protobuf.Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}
_HEALTH: dict[str, _Fields] = {
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "=ServingStatus")},
}
_REFLECTION: dict[str, _Fields] = {
    "ServerReflectionRequest": {
        "host": (1, "string"),
        "file_by_filename": (3, "string?"),
        "file_containing_symbol": (4, "string?"),
        "file_containing_extension": (5, ".grpc.reflection.v1.ExtensionRequest?"),
        "all_extension_numbers_of_type": (6, "string?"),
        "list_services": (7, "string?"),
    },
    "ExtensionRequest": {"containing_type": (1, "string"), "extension_number": (2, "int32")},
    "ServerReflectionResponse": {
        "valid_host": (1, "string"),
        "original_request": (2, ".grpc.reflection.v1.ServerReflectionRequest"),
        "file_descriptor_response": (4, ".grpc.reflection.v1.FileDescriptorResponse?"),
        "list_services_response": (6, ".grpc.reflection.v1.ListServiceResponse?"),
        "error_response": (7, ".grpc.reflection.v1.ErrorResponse?"),
    },
    "FileDescriptorResponse": {"file_descriptor_proto": (1, "bytes*")},
    "ListServiceResponse": {"service": (1, ".grpc.reflection.v1.ServiceResponse*")},
    "ServiceResponse": {"name": (1, "string")},
    "ErrorResponse": {"error_code": (1, "int32"), "error_message": (2, "string")},
}


def _file(
    name: str, package: str, messages: Mapping[str, _Fields]
) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            _add_field(message, field_name, number, kind)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=_TYPE.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = _TYPE.LABEL_REPEATED
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    kind = kind.rstrip("*?")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind.startswith("="):
        field.type, field.type_name = _TYPE.TYPE_ENUM, kind[1:]
    else:
        field.type, field.type_name = _TYPE.TYPE_MESSAGE, kind


def _health_file() -> descriptor_pb2.FileDescriptorProto:
    file = _file("grpc/health/v1/health.proto", "grpc.health.v1", _HEALTH)
    statuses = file.message_type[1].enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=name, number=number)
    file.service.add(name="Health").method.add(
        name="Check",
        input_type=".grpc.health.v1.HealthCheckRequest",
        output_type=".grpc.health.v1.HealthCheckResponse",
    )
    return file


def _reflection_file() -> descriptor_pb2.FileDescriptorProto:
    name = "grpc/reflection/v1/reflection.proto"
    file = _file(name, "grpc.reflection.v1", _REFLECTION)
    file.service.add(name="ServerReflection").method.add(
        name="ServerReflectionInfo",
        input_type=".grpc.reflection.v1.ServerReflectionRequest",
        output_type=".grpc.reflection.v1.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return file


def _classes() -> Mapping[str, Any]:
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    serving = _file("slimworks/serving_gap.proto", "tensorflow.serving", _SERVING)
    serving.dependency.append(wrappers.name)
    # GetMessages is the one call that protobuf 3.20 (Python 3.10) and 4.25 (3.11) both have.
    return message_factory.GetMessages([wrappers, serving, _health_file(), _reflection_file()])


_MESSAGES = _classes()

BatchingParameters: Any = _MESSAGES["tensorflow.serving.BatchingParameters"]
MonitoringConfig: Any = _MESSAGES["tensorflow.serving.MonitoringConfig"]
SSLConfig: Any = _MESSAGES["tensorflow.serving.SSLConfig"]
HealthCheckRequest: Any = _MESSAGES["grpc.health.v1.HealthCheckRequest"]
HealthCheckResponse: Any = _MESSAGES["grpc.health.v1.HealthCheckResponse"]
ReflectionRequest: Any = _MESSAGES["grpc.reflection.v1.ServerReflectionRequest"]
ReflectionResponse: Any = _MESSAGES["grpc.reflection.v1.ServerReflectionResponse"]
