"""What a model server's answers say, read from their protos without numpy."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

from slimworks.components.errors import ServingError
from slimworks.components.serving.protos import wire_pb2 as wire

OUTPUTS = ("classes", "probabilities", "class_index", "is_known")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Answer for one image; the three lists are sorted by falling probability.

    Attributes:
        class_names: The best k classes.
        probabilities: Their probabilities, in [0, 1].
        class_indices: Their indices in the label map.
        is_known: Whether the best probability reaches the model's threshold.
        version: Model version that answered.
    """

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    class_indices: tuple[int, ...]
    is_known: bool
    version: int


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
    missing = [name for name in OUTPUTS if name not in response.outputs]
    if missing:
        raise ServingError(
            f"Model {model_name!r} does not answer {', '.join(missing)}; it answers "
            f"{', '.join(sorted(response.outputs)) or 'nothing'}.",
            "Ask a model that was exported by SlimWorks, or another one with --model-name.",
        )
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


def described(signature: wire.SignatureDef) -> dict[str, Any]:
    """Signature as plain values: inputs and outputs by alias, and the method name."""
    return {
        "inputs": {alias: _described_tensor(info) for alias, info in signature.inputs.items()},
        "outputs": {alias: _described_tensor(info) for alias, info in signature.outputs.items()},
        "method_name": signature.method_name,
    }


def _described_tensor(info: wire.TensorInfo) -> dict[str, Any]:
    shape = info.tensor_shape
    known = wire.DataType.values()
    return {
        "dtype": wire.DataType.Name(info.dtype) if info.dtype in known else f"DT_{info.dtype}",
        "shape": None if shape.unknown_rank else [dim.size for dim in shape.dim],
    }
