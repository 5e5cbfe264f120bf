"""JSON to tf.Examples, and the results of Classify and Regress to JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from slimworks.components.serving.json_tensors import dumped, is_b64, shown, to_bytes, type_name
from slimworks.components.serving.request_errors import Code, RequestError

_INT64_MAX = 2**63 - 1
_FLOAT_MAX = 3.4028234663852886e38
_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def examples_input(document: dict[str, Any]) -> input_pb2.Input:
    """The `examples`, and the `context` where there is one, of a classify or regress request.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    found = input_pb2.Input()
    examples = found.example_list.examples
    if "context" in document:
        found.example_list_with_context.context.CopyFrom(_example(document["context"]))
        examples = found.example_list_with_context.examples
    if "examples" not in document:
        raise _invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    items = document["examples"]
    if not isinstance(items, list):
        raise _invalid(
            f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array"
        )
    if not items:
        raise _invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    examples.extend(_example(item) for item in items)
    return found


def classification_json(result: classification_pb2.ClassificationResult) -> bytes:
    """`{"results": [[[label, score], ...], ...]}`."""
    rows = [
        [[item.label, np.float32(item.score)] for item in classifications.classes]
        for classifications in result.classifications
    ]
    scores = [score for row in rows for _, score in row]
    return _results_json(rows, scores)


def regression_json(result: regression_pb2.RegressionResult) -> bytes:
    """`{"results": [value, ...]}`."""
    values = [np.float32(regression.value) for regression in result.regressions]
    return _results_json(values, values)


def _results_json(results: list[Any], values: list[Any]) -> bytes:
    if np.isfinite(values).all():
        return dumped({"results": results})
    plain = [
        [[label, float(str(score))] for label, score in row] if isinstance(row, list) else
        float(str(row))
        for row in results
    ]  # fmt: skip
    return dumped({"results": plain}, is_finite=False)


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, dict):
        raise _invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_value(feature, name, item)
    return example


def _add_value(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    kind, plain = _typed(name, value)
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise _invalid(
            f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[present]}"
        )
    getattr(feature, kind).value.append(plain)


def _typed(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, int):  # bool is one
        if not -_INT64_MAX <= value <= _INT64_MAX:
            raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64_list", int(value)
    if isinstance(value, float):
        if _FLOAT_MAX < abs(value) < float("inf"):
            raise _invalid(
                f"Cannot convert JSON value: {shown(value)} to float without loss of precision."
            )
        return "float_list", value
    if isinstance(value, str) or is_b64(value):
        return "bytes_list", to_bytes(value)
    raise _invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)
