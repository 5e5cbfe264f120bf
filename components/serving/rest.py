"""REST v1: from method, path and body to status and JSON. No sockets here."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Protocol

from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from slimworks.components.serving import json_documents, json_examples, json_tensors
from slimworks.components.serving.api import SIGNATURE_FIELD, Api
from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE
from slimworks.components.serving.models import used_spec
from slimworks.components.serving.request_errors import Code, RequestError, truncated

# From version 5 on protobuf has another name for it.
_NAMES = ("always_print_fields_with_no_presence", "including_default_value_fields")
_KNOWN_NAMES = inspect.signature(json_format.MessageToDict).parameters
_WITH_DEFAULTS: dict[str, Any] = {next(name for name in _NAMES if name in _KNOWN_NAMES): True}

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"

CHOICE = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){CHOICE}:(?P<verb>classify|regress|predict)", re.IGNORECASE
)
_MODEL = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE
)
_MAX_VERSION = 2**63 - 1
_MAX_VERSION_DIGITS = 19  # int() has a limit of its own, and takes long before it

_HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, body, its content type and further headers."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Page(Protocol):
    """What answers outside of `/v1/`."""

    def answer(self, method: str, path: str, body: bytes) -> Answer | None:
        """None where the path is not the page's."""


class Rest:
    """Answers HTTP requests.

    Args:
        api: What answers the calls.
        metrics_path: Path of Prometheus' metrics; empty for none.
        page: The page to try the models; TensorFlow Serving has none.
    """

    def __init__(self, api: Api, *, metrics_path: str = "", page: Page | None = None) -> None:
        self._api = api
        self._metrics_path = metrics_path
        self._page = page

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answers one request. Never raises: a fault of ours is logged and INTERNAL."""
        try:
            return self._answer(method, path, body)
        except RequestError as error:
            _logger.info("Refused a request: %s", error.message)
            return refusal(error.code, error.message)
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            return refusal(
                Code.INVALID_ARGUMENT, "JSON Parse error: The surrogate pair in string is invalid."
            )
        except Exception as error:  # the client must get an answer, and the server must go on
            _logger.exception("Failed to answer %s %s", method, path)
            return refusal(Code.INTERNAL, f"{type(error).__name__}: {error}")

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        if self._metrics_path and path == self._metrics_path:
            return Answer(200, self._api.metrics.text().encode("utf-8"), TEXT_TYPE)
        if not path.lower().startswith("/v1/"):
            shown = self._page.answer(method, path, body) if self._page else None
            return shown or _error(404, "Not Found")
        inference, model = _INFERENCE.fullmatch(path), _MODEL.fullmatch(path)
        if method == "POST" and inference:
            answer = getattr(self, f"_{inference['verb'].lower()}")
            return Answer(200, answer(spec_of(inference), body))
        if method == "GET" and model:
            return Answer(200, self._metadata(model) if model["metadata"] else self._status(model))
        raise RequestError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        api = self._api
        with api.counted(spec.name, "Predict", "REST"):
            document = json_documents.parse_object(body)
            _set_signature(spec, document)
            is_row = _is_row(document)
            with api.acquired(spec) as (version, model):
                name = spec.signature_name or DEFAULT_SIGNATURE
                if name not in model.signatures:
                    raise RequestError(
                        Code.INVALID_ARGUMENT,
                        f'Serving signature name: "{name}" not found in signature def',
                    )
                signature = model.signatures[name]
                if not signature.inputs:
                    raise RequestError(
                        Code.INVALID_ARGUMENT, f"Failed to get input map for signature: {name}"
                    )
                values = document["instances" if is_row else "inputs"]
                infos = json_tensors.given_inputs(values, signature, is_row=is_row)
                read = json_tensors.row_inputs if is_row else json_tensors.column_inputs
                arrays = read(values, infos) | json_tensors.default_inputs(signature, infos)
                outputs = api.timed_run(spec.name, "Predict", lambda: model.run(signature, arrays))
            api.log_run(spec, used_spec(spec, version, name), arrays, outputs, len(body))
            return (json_tensors.rows_json if is_row else json_tensors.columns_json)(outputs)

    def _classify(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        document = json_documents.parse_object(body)
        _set_signature(spec, document)
        request = classification_pb2.ClassificationRequest(
            model_spec=spec, input=json_examples.examples_input(document)
        )
        return json_examples.classification_json(self._api.classify(request, "REST").result)

    def _regress(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        document = json_documents.parse_object(body)
        _set_signature(spec, document)
        request = regression_pb2.RegressionRequest(
            model_spec=spec, input=json_examples.examples_input(document)
        )
        return json_examples.regression_json(self._api.regress(request, "REST").result)

    def _status(self, match: re.Match[str]) -> bytes:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec_of(match))
        return json_tensors.dumped(_plain(self._api.status(request)))

    def _metadata(self, match: re.Match[str]) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec_of(match), metadata_field=[SIGNATURE_FIELD]
        )
        response = self._api.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_FIELD].Unpack(signatures)
        return json_tensors.dumped(
            {
                "model_spec": {
                    "name": response.model_spec.name,
                    "signature_name": "",
                    "version": str(response.model_spec.version.value),
                },
                "metadata": {SIGNATURE_FIELD: _plain(signatures)},
            }
        )


def refusal(code: int, message: str) -> Answer:
    """The answer to a request that failed with a TensorFlow status."""
    status = _HTTP_STATUS[Code(code)] if code in set(Code) else 500
    return _error(status, truncated(message))


def _error(status: int, message: str) -> Answer:
    return Answer(status, json_tensors.dumped({"error": message}))


def spec_of(match: re.Match[str]) -> model_pb2.ModelSpec:
    """The ModelSpec of a path that was matched for `name` and CHOICE.

    Raises:
        RequestError: INVALID_ARGUMENT, no name or an impossible version.
    """
    if not match["name"]:
        raise RequestError(Code.INVALID_ARGUMENT, "Missing model name in request.")
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["label"]:
        spec.version_label = urllib.parse.unquote(match["label"])
    if match["version"]:
        digits = match["version"].lstrip("0") or "0"
        if len(digits) > _MAX_VERSION_DIGITS or int(digits) > _MAX_VERSION:
            raise RequestError(
                Code.INVALID_ARGUMENT, f"Failed to convert version: {match['version']} to numeric."
            )
        spec.version.value = int(digits)
    return spec


def _set_signature(spec: model_pb2.ModelSpec, document: dict[str, Any]) -> None:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(
            Code.INVALID_ARGUMENT,
            f"JSON Value: {json_tensors.shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value.",
        )
    spec.signature_name = name


def _is_row(document: dict[str, Any]) -> bool:
    if "instances" in document and "inputs" in document:
        raise RequestError(
            Code.INVALID_ARGUMENT,
            f"JSON Value: {json_tensors.shown(document)} Not formatted correctly expecting only "
            "one of 'inputs' or 'instances' keys to exist ",
        )
    if "instances" not in document and "inputs" not in document:
        raise RequestError(Code.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")
    return "instances" in document


def _plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **_WITH_DEFAULTS)
