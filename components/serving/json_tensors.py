"""JSON to arrays and back, by the rules of TensorFlow Serving's json_tensor.cc."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import dtypes

from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.tensors import dtype_name, to_array

Infos = Mapping[str, Any]  # TensorInfo by alias

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"  # an output of this name holds bytes, not text
_MAX_SHOWN_CHARACTERS = 1_024

_FLOAT_DIGITS = {
    types_pb2.DT_HALF: 11,
    types_pb2.DT_FLOAT: 24,
    types_pb2.DT_DOUBLE: 53,
}
_INTEGERS: dict[int, Any] = {
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT16: np.uint16,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
}
_TYPE_NAMES = {
    type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number",
    float: "Number",
}  # fmt: skip


def given_inputs(values: Any, signature: Any, *, is_row: bool) -> Infos:
    """The inputs that a request must give: all but those with a default that it leaves out.

    Args:
        values: `instances` or `inputs` of the request.
        signature: SignatureDef of the model.
        is_row: Whether they are `instances`.
    """
    first = values[0] if is_row and isinstance(values, list) and values else values
    named = first if _is_named(first) else {}
    given = {
        alias: info
        for alias, info in signature.inputs.items()
        if alias not in signature.defaults or alias in named
    }
    return given or dict(signature.inputs)


def default_inputs(signature: Any, given: Infos) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of the inputs that the request left out."""
    return {
        alias: to_array(tensor, alias)
        for alias, tensor in signature.defaults.items()
        if alias in signature.inputs and alias not in given
    }


def row_inputs(instances: Any, infos: Infos) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of `instances`: one item an example; a batch dimension is added in front.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    if not isinstance(instances, list):
        raise _invalid(f"JSON Value: {shown(instances)} Excepting 'instances' to be an list/array")
    if not instances:
        raise _invalid("JSON Value: [] No values in 'instances' array")
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if _is_named(instances[0]):
        return _named_rows(instances, infos)
    for position, item in enumerate(instances):
        if _is_named(item):
            raise _invalid(f"Expecting value/list but got object at item {position} of input list")
    ((alias, info),) = infos.items()
    return {alias: _to_array(instances, info.dtype)}


def column_inputs(inputs: Any, infos: Infos) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of `inputs`, with the shapes as they come.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    if not _is_named(inputs):
        if len(infos) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        ((alias, info),) = infos.items()
        return {alias: _to_array(inputs, info.dtype)}
    for alias in infos:
        if alias not in inputs:
            raise _invalid(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: _to_array(inputs[alias], info.dtype) for alias, info in infos.items()}


def rows_json(outputs: Mapping[str, Any]) -> bytes:
    """The answer to `instances`: `predictions`, one item an example.

    Raises:
        RequestError: INVALID_ARGUMENT, the outputs have no batch dimension in common.
    """
    batch_size = -1
    for name, value in outputs.items():
        shape = np.shape(value)
        if not shape:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (-1, shape[0]):
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {shape[0]} "
                f"expecting: {batch_size}"
            )
        batch_size = shape[0]
    plain, is_finite = _json_ready(outputs)
    if len(plain) == 1:
        return dumped({"predictions": next(iter(plain.values()))}, is_finite=is_finite)
    rows = [{name: plain[name][row] for name in plain} for row in range(max(batch_size, 0))]
    return dumped({"predictions": rows}, is_finite=is_finite)


def columns_json(outputs: Mapping[str, Any]) -> bytes:
    """The answer to `inputs`: `outputs`, each as a whole."""
    plain, is_finite = _json_ready(outputs)
    whole = next(iter(plain.values())) if len(plain) == 1 else plain
    return dumped({"outputs": whole}, is_finite=is_finite)


def dumped(value: Any, *, is_finite: bool = True) -> bytes:
    """JSON of plain values and arrays; float32 in the shortest form that reads back the same.

    Args:
        value: Lists, objects, text, numbers and arrays; no arrays unless it is finite.
        is_finite: False writes the tokens NaN, Infinity and -Infinity, which JSON proper has not.
    """
    if is_finite:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def shown(value: Any) -> str:
    """A value for a message, of limited length."""
    if isinstance(value, str):
        value = value[:_MAX_SHOWN_CHARACTERS]
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, indent=4).iterencode(value):
        text += piece[:_MAX_SHOWN_CHARACTERS]
        if len(text) > _MAX_SHOWN_CHARACTERS:
            break
    return text


def type_name(value: Any) -> str:
    """JSON's name of a value's type, as TensorFlow Serving says it."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def is_b64(value: Any) -> bool:
    """Whether a value stands for bytes: `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def to_bytes(value: Any) -> bytes:
    """Bytes of a JSON string, or of `{"b64": ...}`.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    if not is_b64(value):
        raise _invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value[_B64]
    try:  # padding may be missing, and the web-safe alphabet counts too
        return base64.b64decode(
            text.translate(_STANDARD_ALPHABET) + "=" * (-len(text) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_b64(value)


def _named_rows(instances: list[Any], infos: Infos) -> dict[str, np.ndarray[Any, Any]]:
    for position, item in enumerate(instances):
        if not _is_named(item):
            raise _invalid(f"Expecting object but got list at item {position} of input list")
        for alias in item:
            if alias not in infos:
                raise _invalid(
                    f"Failed to process element: {position} key: {alias} of 'instances' list. "
                    f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {alias}"
                )
        if item.keys() != set(infos):
            raise _invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: "
                f"{shown(item)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return {
        alias: _to_array([item[alias] for item in instances], info.dtype)
        for alias, info in infos.items()
    }


def _to_array(value: Any, dtype: int) -> np.ndarray[Any, Any]:
    """A value of nested lists, all leaves at one depth, as an array of the dtype."""
    shape, leaves = _flattened(value)
    if dtype == types_pb2.DT_STRING:
        array = np.empty(len(leaves), dtype=object)
        array[:] = [_text(leaf) for leaf in leaves]
        return array.reshape(shape)
    return _numbers(leaves, dtype).reshape(shape)


def _text(leaf: Any) -> bytes:
    if isinstance(leaf, str | dict):
        return to_bytes(leaf)
    raise _wrong_type(leaf, types_pb2.DT_STRING)


def _flattened(value: Any) -> tuple[list[int], list[Any]]:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    level = [value]
    for depth, size in enumerate(shape):
        for item in level:
            if not isinstance(item, list):
                raise _invalid(
                    f"JSON Value: {shown(item)} found at incorrect level: {depth + 1} in the "
                    f"JSON DOM. Expected at level: {len(shape)}"
                )
            if len(item) != size:
                raise _invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {depth} "
                    f"expected size: {size}"
                )
        level = list(itertools.chain.from_iterable(level))
    if list in set(map(type, level)):
        raise _invalid(
            f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}"
        )
    return shape, level


def _numbers(leaves: list[Any], dtype: int) -> np.ndarray[Any, Any]:
    numpy_dtype = _numpy_dtype(dtype, leaves)
    kinds = set(map(type, leaves))
    if dtype in _INTEGERS:
        return _checked_integers(leaves, kinds, dtype)
    allowed = {bool} if dtype == types_pb2.DT_BOOL else {int, float}
    if kinds - allowed:
        raise _wrong_type(next(leaf for leaf in leaves if type(leaf) not in allowed), dtype)
    if dtype not in _FLOAT_DIGITS:
        return np.array(leaves, dtype=numpy_dtype)
    exact = np.array(leaves, dtype=np.float64)
    _check_lossless(leaves, exact, dtype)
    return exact.astype(numpy_dtype)


def _numpy_dtype(dtype: int, leaves: list[Any]) -> Any:
    if dtype in _FLOAT_DIGITS or dtype in _INTEGERS or dtype == types_pb2.DT_BOOL:
        return dtypes.as_dtype(dtype).as_numpy_dtype
    raise RequestError(
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: {shown(leaves[:1])} to type: {dtype_name(dtype)}",
    )


def _checked_integers(leaves: list[Any], kinds: set[type], dtype: int) -> np.ndarray[Any, Any]:
    limits = np.iinfo(_INTEGERS[dtype])
    if kinds - {int} or (leaves and not limits.min <= min(leaves) <= max(leaves) <= limits.max):
        wrong = (
            leaf for leaf in leaves if type(leaf) is not int or not limits.min <= leaf <= limits.max
        )
        raise _wrong_type(next(wrong), dtype)
    return np.array(leaves, dtype=_INTEGERS[dtype])


def _check_lossless(leaves: list[Any], array: np.ndarray[Any, Any], dtype: int) -> None:
    """A whole number must be exact in the dtype, a finite one must stay finite."""
    largest_whole = 2 ** _FLOAT_DIGITS[dtype] - 1
    if not (np.isfinite(array) & (np.abs(array) > largest_whole)).any():
        return
    largest = float(np.finfo(dtypes.as_dtype(dtype).as_numpy_dtype).max)
    for leaf in leaves:
        limit = largest_whole if type(leaf) is int else largest
        if limit < abs(leaf) < float("inf"):
            raise _invalid(
                f"Cannot convert JSON value: {shown(leaf)} to {dtype_name(dtype)} without loss of "
                "precision."
            )


def _json_ready(outputs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Outputs as `dumped` takes them, and whether all numbers are finite."""
    arrays = {name: _checked_output(value) for name, value in outputs.items()}
    is_finite = all(
        array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays.values()
    )
    return {name: _plain(name, array, is_finite) for name, array in arrays.items()}, is_finite


def _checked_output(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype.kind not in "OSUbiuf":
        raise _invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _plain(name: str, array: np.ndarray[Any, Any], is_finite: bool) -> Any:
    if array.dtype.kind in "OSU":
        write = _b64_object if name.endswith(_BYTES_SUFFIX) else _as_text
        return _mapped(array.tolist(), write)
    if not is_finite:  # through text: float32's shortest digits, not those of its double
        return (
            _mapped(array.astype(str).tolist(), float)
            if array.dtype.kind == "f"
            else (array.tolist())
        )
    return np.ascontiguousarray(array) if array.size and array.ndim else array.tolist()


def _mapped(value: Any, write: Any) -> Any:
    return [_mapped(item, write) for item in value] if isinstance(value, list) else write(value)


def _b64_object(value: bytes) -> dict[str, str]:
    return {_B64: base64.b64encode(value).decode("ascii")}


def _as_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _wrong_type(value: Any, dtype: int) -> RequestError:
    return _invalid(
        f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: "
        f"{dtype_name(dtype)}"
    )


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)
