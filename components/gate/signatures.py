"""What clients see of a model: its signatures, compared with those of the baseline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.gate import bounds
from slimworks.components.gate.bounds import Bound

SAVED_MODEL_FILE = "saved_model.pb"
_INTERNAL = "__"  # TensorFlow's own: __saved_model_init_op


@dataclasses.dataclass(frozen=True)
class TensorFacts:
    """Type and shape of an input or an output; None is a size that is left open."""

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return self.dtype
        return f"{self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


# (signature, "input" or "output", name) -> facts
Signatures = dict[tuple[str, str, str], TensorFacts]


def read_signatures(model_dir: str | os.PathLike[str]) -> Signatures | None:
    """Signatures of a Model artifact, from saved_model.pb alone; None where it cannot be read."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = Path(model_dir) / contracts.SAVED_MODEL_FOLDER / SAVED_MODEL_FILE
    if not path.is_file():
        return None
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError:
        return None
    found: Signatures = {}
    for graph in saved_model.meta_graphs:
        for name, signature in graph.signature_def.items():
            if not name.startswith(_INTERNAL):
                found |= _tensors(name, "input", signature.inputs)
                found |= _tensors(name, "output", signature.outputs)
    return found


def _tensors(signature: str, side: str, tensors: Mapping[str, Any]) -> Signatures:
    from tensorflow.core.framework import types_pb2

    found = {}
    for name, info in tensors.items():
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(_size(dim.size) for dim in shape.dim)
        dtype = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
        found[signature, side, name] = TensorFacts(dtype, sizes)
    return found


def _size(size: int) -> int | None:
    return None if size < 0 else size


def compare_signatures(candidate: Signatures | None, baseline: Signatures | None) -> Bound:
    """Fails where a client of the baseline would not get along with the candidate.

    That is where a signature, an input or an output is gone or has another type or rank, or where
    an input is new. Sizes that follow the network (an image's side, an embedding's width, the
    number of classes) may change; the reason names them.
    """
    if candidate is None or not candidate:
        reason = f"{SAVED_MODEL_FILE} of the candidate is missing, damaged, or has no signature."
        return bounds.check("signatures", False, reason)
    if baseline is None:
        reason = "The baseline's signatures cannot be read: nothing to compare with."
        return bounds.check("signatures", True, reason)
    broken, resized = [], []
    for key, old in baseline.items():
        new = candidate.get(key)
        if new is None:
            broken.append(f"{_shown(key)} is gone")
        elif new.dtype != old.dtype or _rank(new) != _rank(old):
            broken.append(f"{_shown(key)} was {old} and is {new}")
        elif new != old:
            resized.append(f"{_shown(key)} was {old} and is {new}")
    known = {signature for signature, _, _ in baseline}
    broken += [
        f"{_shown(key)} is new"
        for key in candidate
        if key not in baseline and key[0] in known and key[1] == "input"
    ]
    if broken:
        changes = bounds.describe_names(sorted(broken), limit=3)
        reason = f"Clients of the baseline would fail: {changes}."
        return bounds.check("signatures", False, reason)
    if resized:
        changes = bounds.describe_names(sorted(resized), limit=3)
        return bounds.check("signatures", True, f"The same signatures; sizes changed: {changes}.")
    return bounds.check("signatures", True, "The signatures are those of the baseline.")


def _rank(facts: TensorFacts) -> int | None:
    return None if facts.shape is None else len(facts.shape)


def _shown(key: tuple[str, str, str]) -> str:
    signature, side, name = key
    return f"{side} {name} of {signature}"
