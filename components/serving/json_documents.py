"""A request's body: JSON as RapidJSON, and so TensorFlow Serving, reads it."""

from __future__ import annotations

import json
from typing import Any

import orjson

from slimworks.components.serving.json_tensors import shown
from slimworks.components.serving.request_errors import Code, RequestError

_MAX_DEPTH = 500


def parse_object(body: bytes) -> dict[str, Any]:
    """Reads a request's body: one JSON object; what follows it does not count.

    Raises:
        RequestError: INVALID_ARGUMENT, it is no JSON object.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:  # NaN, Infinity, trailing bytes, or truly wrong
        value = _parsed_leniently(body)
        _check_depth(value)
    if not isinstance(value, dict):
        raise _invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def _parsed_leniently(body: bytes) -> Any:
    try:
        return _DECODER.raw_decode(body.decode("utf-8").lstrip(" \t\r\n"))[0]
    except json.JSONDecodeError as error:
        raise _invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise _invalid(f"JSON Parse error: Invalid encoding at offset: {error.start}") from error
    except RecursionError:
        raise _invalid("JSON Parse error: The document is nested too deeply") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise _invalid(f"JSON Parse error: {error}") from error


def _check_depth(value: Any) -> None:
    """Python 3.12 and later parse deeper documents than what reads them could follow."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise _invalid("JSON Parse error: The document is nested too deeply")


def _finite(text: str) -> float:
    """A number's value; Infinity has a token of its own."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _invalid("JSON Parse error: Number too big to be stored in double.")
    return value


_DECODER = json.JSONDecoder(parse_float=_finite)


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)
