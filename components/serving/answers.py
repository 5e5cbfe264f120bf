"""What a model server's answers say, read from their protos without numpy."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, TypedDict

from slimworks.components.contracts import SIGNATURE_EMBED
from slimworks.components.errors import DataError, ServingError
from slimworks.components.serving.protos import wire_pb2 as wire

OUTPUTS = ("classes", "probabilities", "class_index", "is_known")
_EMBEDDING = "embedding"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Answer for one image; the three lists are sorted by falling probability.

    Attributes:
        class_names: The best k classes.
        probabilities: Their probabilities, in [0, 1].
        class_indices: Their indices in the label map.
        is_known: Whether the answer is to be relied on (docs/calibration.md).
        version: Model version that answered.
    """

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    class_indices: tuple[int, ...]
    is_known: bool
    version: int

    def top(self, top_k: int | None) -> Prediction:
        """The same with the best `top_k` classes at most; None: with all that the model gave."""
        return dataclasses.replace(
            self,
            class_names=self.class_names[:top_k],
            probabilities=self.probabilities[:top_k],
            class_indices=self.class_indices[:top_k],
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of one image: exactly one of `prediction` and `error` is there.

    Attributes:
        name: Path or address of the image, as it was given.
        prediction: What the model answered.
        error: Why it answered nothing.
    """

    name: str
    prediction: Prediction | None = None
    error: DataError | None = None

    def top(self, top_k: int | None) -> Answer:
        """The same with the best `top_k` classes at most."""
        if self.prediction is None:
            return self
        return dataclasses.replace(self, prediction=self.prediction.top(top_k))


def found(answer: Answer) -> Prediction:
    """The prediction of an answer that has one.

    Raises:
        DataError: The answer's error.
    """
    if answer.prediction is None:
        assert answer.error is not None
        raise answer.error
    return answer.prediction


class TensorSpec(TypedDict):
    """A tensor of a signature: -1 is an open dimension, None an unknown rank."""

    dtype: str
    shape: list[int] | None


class Signature(TypedDict):
    """Tensors by alias, and the method that the signature is for."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    method_name: str


class ModelMetadata(TypedDict):
    """The version that was asked, and its signatures by name."""

    version: int
    signatures: dict[str, Signature]


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """State of one model version: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error_code: int
    error_message: str


def predictions(
    response: wire.PredictResponse, num_images: int, model_name: str
) -> list[Prediction]:
    """Reads a Predict answer.

    Raises:
        ServingError: An output is missing or has another size than `num_images` asks for.
    """
    _require_outputs(response, OUTPUTS, model_name)
    values = {name: tensor_values(response.outputs[name]) for name in OUTPUTS}
    top_k = len(values["classes"]) // num_images
    lengths = [len(values[name]) for name in OUTPUTS]
    if top_k < 1 or lengths != [num_images * top_k] * 3 + [num_images]:
        raise ServingError(
            f"Model {model_name!r} answered {lengths} values of {', '.join(OUTPUTS)} "
            f"for {num_images} images.",
            "Train the model again with this SlimWorks.",
        )
    version = response.model_spec.version.value
    return [
        Prediction(
            class_names=tuple(
                name.decode("utf-8", "replace")
                for name in values["classes"][row * top_k : (row + 1) * top_k]
            ),
            probabilities=tuple(values["probabilities"][row * top_k : (row + 1) * top_k]),
            class_indices=tuple(values["class_index"][row * top_k : (row + 1) * top_k]),
            is_known=bool(values["is_known"][row]),
            version=version,
        )
        for row in range(num_images)
    ]


def embeddings(
    response: wire.PredictResponse, num_images: int, model_name: str
) -> list[tuple[float, ...]]:
    """Reads the answer of the signature `embed`: one vector an image, all of one length.

    Raises:
        ServingError: As for `predictions`.
    """
    _require_outputs(response, (_EMBEDDING,), model_name)
    tensor = response.outputs[_EMBEDDING]
    values = tensor_values(tensor)
    length, rest = divmod(len(values), num_images)
    if rest or not length:
        raise ServingError(
            f"Model {model_name!r} answered {len(values)} values of {_EMBEDDING} "
            f"for {num_images} images.",
            f"Look at its signature {SIGNATURE_EMBED!r}: Client.metadata().",
        )
    return [tuple(values[row * length : (row + 1) * length]) for row in range(num_images)]


def _require_outputs(
    response: wire.PredictResponse, names: tuple[str, ...], model_name: str
) -> None:
    missing = [name for name in names if name not in response.outputs]
    if missing:
        raise ServingError(
            f"Model {model_name!r} does not answer {', '.join(missing)}; it answers "
            f"{', '.join(sorted(response.outputs)) or 'nothing'}.",
            "Ask a model that was exported by SlimWorks, or another one with --model-name.",
        )


_FIELDS = {
    wire.DT_FLOAT: ("float_val", "f"),
    wire.DT_DOUBLE: ("double_val", "d"),
    wire.DT_INT32: ("int_val", "i"),
    wire.DT_INT64: ("int64_val", "q"),
    wire.DT_BOOL: ("bool_val", "?"),
}


def tensor_values(tensor: wire.Tensor) -> list[Any]:
    """All elements of a tensor in row-major order.

    Servers answer in typed fields or, on request, in `tensor_content`; a typed field may be
    shorter than the tensor, and its last value then repeats.
    """
    if tensor.dtype == wire.DT_STRING:
        return list(tensor.string_val)
    field, letter = _FIELDS[tensor.dtype]
    if tensor.tensor_content:
        return [value for (value,) in struct.iter_unpack(f"<{letter}", tensor.tensor_content)]
    values = list(getattr(tensor, field))
    num_elements = 1
    for dim in tensor.tensor_shape.dim:
        num_elements *= dim.size
    return values + values[-1:] * (num_elements - len(values))


def version_states(response: wire.GetModelStatusResponse) -> list[VersionStatus]:
    """Reads a GetModelStatus answer."""
    return [
        VersionStatus(
            version=status.version,
            state=wire.ModelVersionStatus.State.Name(status.state),
            error_code=status.status.error_code,
            error_message=status.status.error_message,
        )
        for status in response.model_version_status
    ]


def model_metadata(response: wire.GetModelMetadataResponse) -> ModelMetadata:
    """Reads a GetModelMetadata answer."""
    packed = response.metadata["signature_def"].value
    signatures = wire.SignatureDefMap.FromString(packed).signature_def
    return {
        "version": response.model_spec.version.value,
        "signatures": {name: _described(signatures[name]) for name in sorted(signatures)},
    }


def _described(signature: wire.SignatureDef) -> Signature:
    return {
        "inputs": {alias: _described_tensor(info) for alias, info in signature.inputs.items()},
        "outputs": {alias: _described_tensor(info) for alias, info in signature.outputs.items()},
        "method_name": signature.method_name,
    }


def _described_tensor(info: wire.TensorInfo) -> TensorSpec:
    shape = info.tensor_shape
    known = wire.DataType.values()
    return {
        "dtype": wire.DataType.Name(info.dtype) if info.dtype in known else f"DT_{info.dtype}",
        "shape": None if shape.unknown_rank else [dim.size for dim in shape.dim],
    }
