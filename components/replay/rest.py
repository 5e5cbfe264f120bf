"""Images over REST, as any client in any language sends them: JSON and base64."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slimworks.components.errors import ServingError
from slimworks.components.serving import image_bytes
from slimworks.components.serving.answers import OUTPUTS, Prediction

_MAX_SHOWN_CHARACTERS = 300


class RestClient:
    """Asks one model on one server by TensorFlow Serving's REST interface, version 1.

    Args:
        address: `host:port`.
        model_name: Name that the server gives the model.
        timeout_seconds: For each request.
    """

    def __init__(self, address: str, model_name: str, *, timeout_seconds: float) -> None:
        self.address = address
        self._path = f"/v1/models/{model_name}:predict"
        self._connection = http.client.HTTPConnection(address, timeout=timeout_seconds)

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def predict_bytes(self, images: Sequence[bytes]) -> list[Prediction]:
        """Classifies encoded images in one request.

        Raises:
            DataError: An image is of no known format.
            ServingError: The server does not answer, or not as expected.
        """
        encoded = [
            image_bytes.servable(image, f"image {place}") for place, image in enumerate(images)
        ]
        instances = [{"b64": base64.b64encode(image).decode("ascii")} for image in encoded]
        answer = self._post(json.dumps({"instances": instances}).encode("ascii"))
        rows = answer.get("predictions")
        if not isinstance(rows, list) or len(rows) != len(images):
            raise self._unexpected(answer)
        with self._as_expected(answer):
            return [_prediction(row) for row in rows]

    def _post(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request connects again
            raise ServingError(
                f"No REST server answers at {self.address} ({error or type(error).__name__}).",
                "Check the address, and that the server was started with --rest_api_port.",
            ) from error
        if status != http.HTTPStatus.OK:
            raise ServingError(
                f"{self.address}{self._path} answered {status}: {_shown(content)}",
                "Look into the server's log.",
            )
        with self._as_expected(content):
            return dict(json.loads(content))

    @contextlib.contextmanager
    def _as_expected(self, answer: object) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError) as error:
            raise self._unexpected(answer) from error

    def _unexpected(self, answer: object) -> ServingError:
        return ServingError(
            f"{self.address}{self._path} answered something else than {', '.join(OUTPUTS)} for "
            f"each image: {_shown(answer)}",
            "Ask a model that was exported by SlimWorks.",
        )


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(
        class_names=tuple(row["classes"]),
        probabilities=tuple(float(value) for value in row["probabilities"]),
        class_indices=tuple(int(value) for value in row["class_index"]),
        is_known=bool(row["is_known"]),
        version=0,  # REST does not say which version answered
    )


def _shown(content: object) -> str:
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else repr(content)
    return " ".join(text.split())[:_MAX_SHOWN_CHARACTERS]
