"""The page at `/` where people try the models, and what it asks for below `/try/`.

TensorFlow Serving has neither: the server has them only with --enable_try_page.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from slimworks.components.serving import tensors
from slimworks.components.serving.api import Api
from slimworks.components.serving.json_tensors import dumped
from slimworks.components.serving.page.image_answers import (
    IMAGES,
    answer_view,
    described,
    image_signature,
)
from slimworks.components.serving.page.model_card import card_html
from slimworks.components.serving.page.model_facts import read_facts
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.rest import CHOICE, JSON_TYPE, Answer, spec_of

# The page loads, runs and sends nothing but its server's own; class names are the user's texts.
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
        "img-src 'self' blob:", "media-src 'self' blob:", "base-uri 'none'", "form-action 'none'",
        "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
_MODELS = "/try/models.json"
_MODEL = re.compile(rf"/try/models/(?P<name>[^/:]+){CHOICE}(?P<predict>:predict)?")


class TryPage:
    """Answers the page's paths.

    Args:
        api: What answers the calls.
        max_image_bytes: Largest image that the server takes.
    """

    def __init__(self, api: Api, *, max_image_bytes: int) -> None:
        self._api = api
        self._max_image_bytes = max_image_bytes
        self._files = {
            "/" if path.name == _INDEX else f"/try/{path.name}": (
                path.read_bytes(), _TYPES[path.suffix],
            )
            for path in _STATIC.iterdir()
        }  # fmt: skip

    def answer(self, method: str, path: str, body: bytes) -> Answer | None:
        """Answers one request; None where the path is not the page's.

        Raises:
            RequestError: As of the API, with TensorFlow Serving's words.
        """
        if method == "GET" and path in self._files:
            content, content_type = self._files[path]
            return Answer(200, content, content_type, HEADERS)
        if method == "GET" and path == _MODELS:
            return _json(self._models())
        match = _MODEL.fullmatch(path)
        if method == "GET" and match and not match["predict"]:
            return _json(self._version(spec_of(match)))
        if method == "POST" and match and match["predict"]:
            return _json(self._prediction(spec_of(match), body))
        return None

    def _models(self) -> dict[str, Any]:
        """What is served. Versions are text: JavaScript has no 64-bit integers."""
        models = self._api.models
        return {
            "max_image_bytes": self._max_image_bytes,
            "models": [
                {
                    "name": name,
                    "labels": {label: str(v) for label, v in models.labels(name).items()},
                    "versions": [
                        {
                            "version": str(report.version),
                            "state": report.state.name,
                            "error": report.error_message,
                        }
                        for report in versions.reports()
                    ],
                }
                for name, versions in sorted(models.all().items())
            ],
        }

    def _version(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        """What is known of one version, and whether it takes images."""
        with self._api.acquired(spec) as (number, model):
            known = read_facts(model.path, number)
            return {
                "version": str(number),
                "signature": image_signature(model.signatures),
                "signatures": described(model.signatures),
                "facts": known.facts,
                "card": card_html(known.card),
                "faults": known.faults,
            }

    def _prediction(self, spec: model_pb2.ModelSpec, image: bytes) -> dict[str, Any]:
        """The answer of one version to one image, and the milliseconds that it took in here."""
        if not image:
            raise RequestError(Code.INVALID_ARGUMENT, "The image is empty: 0 bytes.")
        started = time.perf_counter()
        with self._api.acquired(spec) as (number, model):
            signature = image_signature(model.signatures)
            if signature is None:
                raise RequestError(
                    Code.INVALID_ARGUMENT,
                    f"Version {number} of model {spec.name} has no signature that takes "
                    f"`{IMAGES}`.",
                )
            request = predict_pb2.PredictRequest()
            request.model_spec.name = spec.name
            request.model_spec.version.value = number
            request.model_spec.signature_name = signature
            request.inputs[IMAGES].dtype = types_pb2.DT_STRING
            request.inputs[IMAGES].tensor_shape.dim.add(size=1)
            request.inputs[IMAGES].string_val.append(image)
            response = self._api.predict(request, "REST")
        outputs = {
            name: tensors.to_array(tensor, name) for name, tensor in response.outputs.items()
        }
        return {
            "version": str(number),
            "milliseconds": 1_000 * (time.perf_counter() - started),
            **answer_view(outputs),
        }


def _json(value: Any) -> Answer:
    return Answer(200, dumped(value), JSON_TYPE, HEADERS)
