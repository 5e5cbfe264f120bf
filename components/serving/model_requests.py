"""What the clients send and how they read the answers: all of it but the sending itself.

A conversation of several calls is a generator: it yields calls and is sent their results, so that
the blocking client and the asynchronous one hold the same conversation.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

from slimworks.components.contracts import SIGNATURE_EMBED, SIGNATURE_SERVE
from slimworks.components.errors import DataError
from slimworks.components.serving import answers, image_bytes
from slimworks.components.serving.answers import (
    Answer,
    ModelMetadata,
    Prediction,
    VersionStatus,
)
from slimworks.components.serving.channels import Attempts, Target, Tls
from slimworks.components.serving.client_errors import RequestRefusedError
from slimworks.components.serving.image_sources import LoadedImage
from slimworks.components.serving.protos import wire_pb2 as wire

DEFAULT_TIMEOUT_SECONDS = 30.0  # the first request after a load traces kernels: seconds for vgg
MAX_ANSWER_BYTES = 64 << 20  # gRPC's own limit of 4 MB is met by 1001 classes x 500 images
IMAGES_PER_REQUEST = 16

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Call(Generic[Result]):
    """One remote call.

    Attributes:
        method: Of tensorflow.serving, such as `PredictionService/Predict`.
        request: The message to send.
        response_class: The message that comes back.
        read: Makes the result of it.
    """

    method: str
    request: Any
    response_class: Any
    read: Callable[[Any], Result]

    @staticmethod
    def serialize(request: Any) -> bytes:
        """Makes bytes of a request."""
        encoded: bytes = request.SerializeToString()
        return encoded


# Yields calls, is sent what they predicted or thrown what they raised.
Conversation = Generator[Call[list[Prediction]], list[Prediction], Result]


class BaseClient:
    """What both clients are made of.

    Args:
        address: `host:port` or `unix:/path`.
        model_name: Name that the server gives the model.
        version: Model version; None asks the newest loaded one.
        label: Version label, such as `stable`, in place of a version.
        timeout_seconds: For each call: connection, retries and pauses included.
        num_retries: How often a call is made again that found the server UNAVAILABLE, with
            growing pauses. None by default: who measures a server wants to see its failures.
        max_answer_bytes: Largest answer accepted.
        tls: Encrypts; None does not.

    Raises:
        ConfigError: Both a version and a label are given.
    """

    def __init__(
        self,
        address: str,
        model_name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        num_retries: int = 0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        tls: Tls | None = None,
    ) -> None:
        self._target = Target(
            address, model_name, version, label, timeout_seconds, num_retries, max_answer_bytes, tls
        )
        self._jitter = random.Random()
        self._start()

    def _start(self) -> None:
        """Sets up what one kind of client needs."""

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._target.address

    @property
    def model_name(self) -> str:
        """The model that is asked."""
        return self._target.model_name

    def _attempts(self) -> Attempts:
        return Attempts(self._target, self._jitter)


def predict_call(target: Target, images: Sequence[bytes]) -> Call[list[Prediction]]:
    """Predict on the default signature; images as `image_bytes.servable` gives them."""
    return Call(
        "PredictionService/Predict",
        _request(target, SIGNATURE_SERVE, images),
        wire.PredictResponse,
        lambda response: answers.predictions(response, len(images), target.model_name),
    )


def embed_call(target: Target, images: Sequence[bytes]) -> Call[list[tuple[float, ...]]]:
    """Predict on the signature `embed`."""
    return Call(
        "PredictionService/Predict",
        _request(target, SIGNATURE_EMBED, images),
        wire.PredictResponse,
        lambda response: answers.embeddings(response, len(images), target.model_name),
    )


def status_call(target: Target) -> Call[list[VersionStatus]]:
    """GetModelStatus."""
    return Call(
        "ModelService/GetModelStatus",
        wire.GetModelStatusRequest(model_spec=_model_spec(target)),
        wire.GetModelStatusResponse,
        answers.version_states,
    )


def metadata_call(target: Target) -> Call[ModelMetadata]:
    """GetModelMetadata."""
    request = wire.GetModelMetadataRequest(
        model_spec=_model_spec(target), metadata_field=["signature_def"]
    )
    return Call(
        "PredictionService/GetModelMetadata",
        request,
        wire.GetModelMetadataResponse,
        answers.model_metadata,
    )


def servable(images: Sequence[bytes]) -> list[bytes]:
    """Encoded images as they are sent; messages call them by their place.

    Raises:
        DataError: One is of no known format.
    """
    return [image_bytes.servable(image, f"image {place}") for place, image in enumerate(images)]


def answering(target: Target, images: Sequence[LoadedImage]) -> Conversation[list[Answer]]:
    """An answer for each image: one request, and one an image where the model refuses that."""
    readable = [image for image in images if image.error is None]
    outcomes = iter((yield from _predicted(target, readable)))
    return [
        Answer(image.name, error=image.error) if image.error is not None else next(outcomes)
        for image in images
    ]


def _predicted(target: Target, images: Sequence[LoadedImage]) -> Conversation[list[Answer]]:
    if not images:
        return []
    try:
        predictions = yield predict_call(target, [image.content for image in images])
        return [
            Answer(image.name, prediction)
            for image, prediction in zip(images, predictions, strict=True)
        ]
    except RequestRefusedError as error:
        if len(images) == 1:
            return [Answer(images[0].name, error=_unreadable(images[0].name, error))]
    alone: list[Answer] = []
    for image in images:
        alone += yield from _predicted(target, [image])
    return alone


def _unreadable(name: str, error: RequestRefusedError) -> DataError:
    refused = DataError(
        f"The model cannot read {name}: {error.message}",
        "Leave the file out, or re-export it as JPEG or PNG.",
    )
    refused.__cause__ = error
    return refused


def _request(target: Target, signature_name: str, images: Sequence[bytes]) -> wire.PredictRequest:
    request = wire.PredictRequest(model_spec=_model_spec(target, signature_name))
    tensor = request.inputs["images"]
    tensor.dtype = wire.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def _model_spec(target: Target, signature_name: str = "") -> wire.ModelSpec:
    spec = wire.ModelSpec(name=target.model_name, signature_name=signature_name)
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label
    return spec
