"""A client of TensorFlow Serving that needs grpcio and protobuf, not TensorFlow.

Start-up matters here (`slimworks predict`): nothing else is imported at module level.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc

from slimworks.components.contracts import SIGNATURE_SERVE
from slimworks.components.errors import DataError, ServingError
from slimworks.components.serving import answers, image_bytes
from slimworks.components.serving.answers import Prediction, VersionStatus
from slimworks.components.serving.protos import wire_pb2 as wire

DEFAULT_TIMEOUT_SECONDS = 30.0  # the first request after a load traces kernels: seconds for vgg
MAX_ANSWER_BYTES = 64 << 20  # gRPC's own limit of 4 MB is met by 1001 classes x 500 images
IMAGES_PER_REQUEST = 16

_Response = TypeVar("_Response")


class Client:
    """Asks one model on one TF Serving-compatible server.

    Args:
        address: `host:port` or `unix:/path`.
        model_name: Name that the server gives the model.
        version: Model version; None asks the newest loaded one.
        timeout_seconds: For each request, the connection included.
        max_answer_bytes: Largest answer accepted.
    """

    def __init__(
        self,
        address: str,
        model_name: str,
        *,
        version: int | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.address = address
        self.model_name = model_name
        self._version = version
        self._timeout_seconds = timeout_seconds
        self._channel = grpc.insecure_channel(
            address, options=_channel_options(address, max_answer_bytes)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def predict_bytes(self, images: Sequence[bytes]) -> list[Prediction]:
        """Classifies encoded images in one request.

        Args:
            images: Encoded files. JPEG, PNG, GIF and plain BMP go as they are; WebP, TIFF,
                JPEG 2000, PPM and other BMP are sent as PNG.

        Raises:
            DataError: An image is of no known format.
            ServingError: The server cannot be reached, or does not answer as expected.
        """
        if not images:
            return []
        names = [f"image {position}" for position in range(len(images))]
        return self._predict(
            [image_bytes.servable(image, name) for image, name in zip(images, names, strict=True)]
        )

    def predict_files(self, paths: Sequence[str | os.PathLike[str]]) -> list[Prediction]:
        """Classifies image files, several to a request.

        Raises:
            DataError: A file cannot be read, or the model refuses it; the file is named.
            ServingError: As for `predict_bytes`.
        """
        predictions: list[Prediction] = []
        for chunk in _chunks(paths, IMAGES_PER_REQUEST):
            images = [image_bytes.servable(_read(path), str(path)) for path in chunk]
            try:
                predictions.extend(self._predict(images))
            except RequestRefusedError:
                predictions.extend(self._predict_singly(chunk, images))
        return predictions

    def status(self) -> list[VersionStatus]:
        """States of the model's versions, newest first."""
        response = self._call(
            "ModelService/GetModelStatus",
            wire.GetModelStatusRequest(model_spec=self._model_spec()),
            wire.GetModelStatusResponse,
        )
        return [
            VersionStatus(
                version=status.version,
                state=wire.ModelVersionStatus.State.Name(status.state),
                error_code=status.status.error_code,
                error_message=status.status.error_message,
            )
            for status in response.model_version_status
        ]

    def metadata(self) -> dict[str, Any]:
        """The model's version and signatures.

        Returns:
            `{"version", "signatures": {name: {"inputs", "outputs", "method_name"}}}`; inputs
            and outputs map a tensor's alias to `{"dtype", "shape"}`, -1 for an open dimension
            and None for an unknown rank.
        """
        response = self._call(
            "PredictionService/GetModelMetadata",
            wire.GetModelMetadataRequest(
                model_spec=self._model_spec(), metadata_field=["signature_def"]
            ),
            wire.GetModelMetadataResponse,
        )
        packed = response.metadata["signature_def"].value
        signatures = wire.SignatureDefMap.FromString(packed).signature_def
        return {
            "version": response.model_spec.version.value,
            "signatures": {
                name: answers.described(signatures[name]) for name in sorted(signatures)
            },
        }

    def _predict_singly(
        self, paths: Sequence[str | os.PathLike[str]], images: Sequence[bytes]
    ) -> Iterator[Prediction]:
        """Finds the file for which the model refused a whole request."""
        for path, image in zip(paths, images, strict=True):
            try:
                yield from self._predict([image])
            except RequestRefusedError as error:
                raise DataError(
                    f"The model cannot read {path}: {error.message}",
                    "Leave the file out, or re-export it as JPEG or PNG.",
                ) from error

    def _predict(self, images: Sequence[bytes]) -> list[Prediction]:
        request = wire.PredictRequest(model_spec=self._model_spec(SIGNATURE_SERVE))
        tensor = request.inputs["images"]
        tensor.dtype = wire.DT_STRING
        tensor.tensor_shape.dim.add(size=len(images))
        tensor.string_val.extend(images)
        response = self._call("PredictionService/Predict", request, wire.PredictResponse)
        return answers.predictions(response, len(images), self.model_name)

    def _model_spec(self, signature_name: str = "") -> wire.ModelSpec:
        spec = wire.ModelSpec(name=self.model_name, signature_name=signature_name)
        if self._version is not None:
            spec.version.value = self._version
        return spec

    def _call(self, method: str, request: Any, response_class: type[_Response]) -> _Response:
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class.FromString,  # type: ignore[attr-defined]
        )
        try:
            return call(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            # TensorFlow adds the graph's nodes below the first line: nothing for a user.
            details = (error.details() or "").partition("\n")[0]
            raise self._explained(error.code(), details) from error

    def _explained(self, code: grpc.StatusCode, details: str) -> ServingError:
        """Turns a gRPC status into what the user can do about it."""
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServingError(
                f"No server answers at {self.address} ({details}).",
                "Start one with `slimworks serve --port=8500 --model_name=NAME "
                "--model_base_path=DIR`, or name another with --server HOST:PORT.",
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return self._not_found(details)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServingError(
                f"{self.address} did not answer within {self._timeout_seconds:g} seconds.",
                "Raise --timeout, or send fewer images at once.",
            )
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ServingError(
                f"The answer of {self.address} is too large or the server is full: {details}.",
                "Send fewer images at once.",
            )
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return ServingError(
                f"{self.address} answers gRPC, but is no TensorFlow Serving ({details}).",
                "Give the gRPC port of the model server (8500 by default) as --server HOST:PORT.",
            )
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
            return RequestRefusedError(
                f"Model {self.model_name!r} at {self.address} refused the request: {details}",
                "Check that the images open, and that the model was exported by SlimWorks.",
                message=details,
            )
        return ServingError(
            f"Model {self.model_name!r} at {self.address} failed: {code.name} {details}",
            "Look into the server's log.",
        )

    def _not_found(self, details: str) -> ServingError:
        if self._version is not None:
            return ServingError(
                f"{self.address} has no version {self._version} of a model named "
                f"{self.model_name!r} ({details}).",
                "Leave --version out to ask the newest one, or check --model-name.",
            )
        return ServingError(
            f"{self.address} serves no model named {self.model_name!r} ({details}).",
            "Give the name that the server was started with (its --model_name) as --model-name.",
        )


class RequestRefusedError(ServingError):
    """The model itself refused the request: an image may be to blame."""

    def __init__(self, cause: str, fix: str, message: str = "") -> None:
        super().__init__(cause, fix)
        self.message = message


def _channel_options(address: str, max_answer_bytes: int) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", max_answer_bytes),
        ("grpc.max_send_message_length", -1),
    ]
    if address.startswith(("127.", "localhost", "[::1]", "unix:")):
        # gRPC would send even loopback traffic to the proxy named in http_proxy.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _chunks(items: Sequence[Any], length: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), length):
        yield items[start : start + length]


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
