"""The tf.train.Example message without TensorFlow.

`tensorflow.core.example.example_pb2` is a 4 KB module behind a 4 s, 400 MB import of TensorFlow,
which every Beam worker would pay. The message below has the same fields, numbers and wire format
(tensorflow/core/example/example.proto and feature.proto); a test holds both against each other.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, message_factory

_PACKAGE = "slimworks.examples"
_TYPE = descriptor_pb2.FieldDescriptorProto


def _add_field(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: int,
    *,
    type_name: str = "",
    repeated: bool = False,
) -> descriptor_pb2.FieldDescriptorProto:
    label = _TYPE.LABEL_REPEATED if repeated else _TYPE.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, type=kind, label=label)
    if type_name:
        field.type_name = f".{_PACKAGE}.{type_name}"
    return field


def _add_feature(file: descriptor_pb2.FileDescriptorProto) -> None:
    kinds = {
        "BytesList": _TYPE.TYPE_BYTES,
        "FloatList": _TYPE.TYPE_FLOAT,
        "Int64List": _TYPE.TYPE_INT64,
    }
    feature = descriptor_pb2.DescriptorProto(name="Feature")
    feature.oneof_decl.add(name="kind")
    fields = ("bytes_list", "float_list", "int64_list")
    for number, (field_name, (list_name, kind)) in enumerate(
        zip(fields, kinds.items(), strict=True), start=1
    ):
        _add_field(file.message_type.add(name=list_name), "value", 1, kind, repeated=True)
        field = _add_field(feature, field_name, number, _TYPE.TYPE_MESSAGE, type_name=list_name)
        field.oneof_index = 0
    file.message_type.append(feature)


def _example_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="slimworks/examples/example.proto", package=_PACKAGE, syntax="proto3"
    )
    _add_feature(file)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _TYPE.TYPE_STRING)
    _add_field(entry, "value", 2, _TYPE.TYPE_MESSAGE, type_name="Feature")
    entry_type = "Features.FeatureEntry"
    _add_field(features, "feature", 1, _TYPE.TYPE_MESSAGE, type_name=entry_type, repeated=True)
    example = file.message_type.add(name="Example")
    _add_field(example, "features", 1, _TYPE.TYPE_MESSAGE, type_name="Features")
    return file


# GetMessages is the one call that protobuf 3.20 (Python 3.10) and 4.25 (3.11) both have.
Example: Any = message_factory.GetMessages([_example_file()])[f"{_PACKAGE}.Example"]
