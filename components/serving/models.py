"""The models of one server: finds the version that a request asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import model_pb2

from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.versions import Versions

if TYPE_CHECKING:
    from slimworks.components.serving.loaded_model import LoadedModel

Labels = Mapping[str, Mapping[str, int]]


class Models:
    """Models by name, and the labels of their versions.

    Args:
        versions: Versions by model name.
        labels: Version by label, by model name.
    """

    def __init__(
        self, versions: Mapping[str, Versions] | None = None, labels: Labels | None = None
    ) -> None:
        # One tuple, replaced whole: a request sees one state, never half of two.
        self._state: tuple[Mapping[str, Versions], Labels] = (dict(versions or {}), labels or {})

    def replace(self, versions: Mapping[str, Versions], labels: Labels) -> None:
        """Serves these from now on; what is held by a running request stays."""
        self._state = (dict(versions), labels)

    def all(self) -> Mapping[str, Versions]:
        """Versions by model name."""
        return self._state[0]

    def labels(self, name: str) -> Mapping[str, int]:
        """Version by label of one model."""
        return self._state[1].get(name, {})

    @contextlib.contextmanager
    def acquired(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[int, LoadedModel]]:
        """Holds the version that a ModelSpec names, for the length of one request.

        Raises:
            RequestError: The spec is incomplete, or names nothing that is loaded.
        """
        number = self._number(spec)
        versions = self.all().get(spec.name)
        if versions is None:
            asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        with versions.acquired(number) as held:
            yield held  # type: ignore[misc]  # `Versions` was given a loader of LoadedModel

    def versions(self, request: Any) -> Versions:
        """The versions of the model that `request.model_spec` names."""
        name = checked_spec(request).name
        if name not in self.all():
            raise RequestError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return self.all()[name]

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if not spec.name:
            raise RequestError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if spec.WhichOneof("version_choice") != "version_label":
            return spec.version.value if spec.HasField("version") else None
        if spec.version_label not in self.labels(spec.name):
            raise RequestError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        return self.labels(spec.name)[spec.version_label]


def checked_spec(request: Any) -> model_pb2.ModelSpec:
    """The request's ModelSpec.

    Raises:
        RequestError: INVALID_ARGUMENT, there is none, or it has no name.
    """
    if not request.HasField("model_spec"):
        raise RequestError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    if not request.model_spec.name:
        raise RequestError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    return request.model_spec


def used_spec(
    spec: model_pb2.ModelSpec, version: int, signature_name: str = ""
) -> model_pb2.ModelSpec:
    """The spec of an answer: what was used, never a label."""
    used = model_pb2.ModelSpec(name=spec.name, signature_name=signature_name)
    used.version.value = version
    return used
