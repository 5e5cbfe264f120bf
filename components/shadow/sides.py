"""The two models of a shadow: behind an address, or a folder that gets a server of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.serving.logged import CLASSIFY, PREDICT
from slimworks.components.serving.process import ServerProcess

OWN_MODEL_NAME = "shadowed"
_SAVED_MODEL = "saved_model.pb"
_SERVICE = "/tensorflow.serving.PredictionService/"
METHODS = {PREDICT: "Predict", CLASSIFY: "Classify"}
KINDS = {f"{_SERVICE}{method}": kind for kind, method in METHODS.items()}


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """Which model of a server is asked; None leaves what the request says.

    Attributes:
        name: Name that the server gives the model.
        version: Its version.
        label: Label of the version; not with `version`.
    """

    name: str | None = None
    version: int | None = None
    label: str | None = None

    def apply(self, spec: Any) -> None:
        """Rewrites a ModelSpec; the signature stays."""
        if self.name is not None:
            spec.name = self.name
            spec.ClearField("version")  # numbers and labels are those of another server
            spec.ClearField("version_label")
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label


class Side:
    """One model, asked by gRPC.

    Args:
        address: `host:port`.
        choice: What is asked there.
        timeout_seconds: For each request.
        digest: `files.sha256_of_tree` of the SavedModel, where it is known.
    """

    def __init__(
        self,
        address: str,
        choice: ModelChoice,
        timeout_seconds: float,
        digest: str | None = None,
    ) -> None:
        self.address = address
        self.choice = choice
        self.digest = digest
        self._timeout_seconds = timeout_seconds
        self._channel = grpc.insecure_channel(address, options=channel_options())
        self._calls = {kind: self._call(method) for kind, method in METHODS.items()}

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def ask(self, kind: str, request: Any) -> tuple[Any, float]:
        """Sends a request, which is changed, as far as the choice says.

        Returns:
            The answer's message, and the seconds it took.

        Raises:
            grpc.RpcError: The server refuses or does not answer.
        """
        self.choice.apply(request.model_spec)
        started = time.perf_counter()
        response = self._calls[kind](request, timeout=self._timeout_seconds)
        return response, time.perf_counter() - started

    def to_json(self) -> dict[str, Any]:
        """What shadow.json says of it."""
        asked = {key: v for key, v in dataclasses.asdict(self.choice).items() if v is not None}
        return {"address": None if self.digest else self.address, "digest": self.digest, **asked}

    def _call(self, method: str) -> grpc.UnaryUnaryMultiCallable:
        return self._channel.unary_unary(
            f"{_SERVICE}{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class(method).FromString,
        )


def channel_options() -> list[tuple[str, int]]:
    """No limit on answers, and no proxy: servers are named by their own address."""
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
    ]


def request_class(method: str) -> Any:
    """Message of a request: Predict or Classify."""
    from tensorflow_serving.apis import classification_pb2, predict_pb2

    return {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
    }[method]


def response_class(method: str) -> Any:
    """Message of an answer: Predict or Classify."""
    from tensorflow_serving.apis import classification_pb2, predict_pb2

    return {
        "Predict": predict_pb2.PredictResponse,
        "Classify": classification_pb2.ClassificationResponse,
    }[method]


def error_code(error: grpc.RpcError) -> str:
    """Name of a failed call's status."""
    return str(error.code().name)


@contextlib.contextmanager
def opened_side(
    place: str, choice: ModelChoice, timeout_seconds: float, start_timeout_seconds: float = 120.0
) -> Iterator[Side]:
    """A side at an address, or of a SavedModel or base path, which is served here.

    Args:
        place: `host:port`, or a folder.
        choice: With a folder, `version` picks one of its versions; by default the highest.
        timeout_seconds: For each request.
        start_timeout_seconds: For a server of our own to be ready.

    Raises:
        ConfigError: A folder without that version, or a label with a folder.
        ServingError: Our own server does not start.
    """
    if not Path(place).is_dir():
        check_address(place)
        with Side(place, choice, timeout_seconds) as side:
            yield side
        return
    folder = _saved_model(Path(place), choice)
    digest = files.sha256_of_tree(folder)
    with tempfile.TemporaryDirectory(prefix="slimworks-shadow-") as base_path:
        # TensorFlow follows links; a copy of a large model would take minutes on some disks.
        os.symlink(folder.resolve(), Path(base_path) / "1")
        own = ModelChoice(name=OWN_MODEL_NAME)
        with (
            ServerProcess(
                base_path, OWN_MODEL_NAME, start_timeout_seconds=start_timeout_seconds
            ) as server,
            Side(server.address, own, timeout_seconds, digest) as side,
        ):
            yield side


def check_address(place: str) -> None:
    """Raises ConfigError where this is neither a folder nor an address."""
    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal()) and not place.startswith("unix:"):
        raise ConfigError(
            f"{place} is no folder and no address.",
            "Give HOST:PORT of a server's gRPC port, a SavedModel, or a folder of versions.",
        )


def _saved_model(folder: Path, choice: ModelChoice) -> Path:
    if choice.label is not None:
        raise ConfigError(
            f"{folder} is a folder: labels are known to servers only.",
            "Give the version instead, or the address of the server.",
        )
    if (folder / _SAVED_MODEL).is_file():
        return folder
    versions = contracts.version_folders(folder)
    number = choice.version if choice.version is not None else max(versions, default=None)
    if number is None or number not in versions:
        known = ", ".join(str(version) for version in sorted(versions)) or "no version"
        wanted = "" if choice.version is None else f"no version {choice.version} in "
        raise ConfigError(
            f"There is {wanted or 'no SavedModel in '}{folder}: it has {known}.",
            "Give a folder with saved_model.pb, or one with a folder for each version.",
        )
    return versions[number]
