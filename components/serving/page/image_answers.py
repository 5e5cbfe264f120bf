"""Which signature takes an image, and its answer as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE
from slimworks.components.serving.tensors import dtype_name

IMAGES, CLASSES, PROBABILITIES, IS_KNOWN = "images", "classes", "probabilities", "is_known"
_MAX_SHOWN_VALUES = 50  # of an output that is no ranking of classes

Array = np.ndarray[Any, Any]


def image_signature(signatures: Mapping[str, Any]) -> str | None:
    """The signature whose one input is `images`, encoded bytes; the default one if it is such."""
    found = [name for name in sorted(signatures) if _takes_images(signatures[name])]
    if DEFAULT_SIGNATURE in found:
        return DEFAULT_SIGNATURE
    return found[0] if found else None


def described(signatures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Inputs and outputs of each signature by name: dtype, and shape with None for any length."""
    return [
        {
            "name": name,
            "inputs": _tensors(signatures[name].inputs),
            "outputs": _tensors(signatures[name].outputs),
        }
        for name in sorted(signatures)
        if not name.startswith("__")  # TensorFlow's own: __saved_model_init_op
    ]


def answer_view(outputs: Mapping[str, Array]) -> dict[str, Any]:
    """The answer to one image.

    Args:
        outputs: Arrays by alias; of an exported SlimWorks model `classes` bytes [1, K],
            `probabilities` float [1, K] and `is_known` bool [1].

    Returns:
        `classes`: name and probability, most probable first; empty where the model does not rank.
        `is_known`: None where the model does not say. `others`: outputs as text where it does not
        rank.
    """
    classes, probabilities = outputs.get(CLASSES), outputs.get(PROBABILITIES)
    ranking = _ranking(classes, probabilities)
    known = outputs.get(IS_KNOWN)
    return {
        "classes": ranking,
        "is_known": bool(known.flat[0]) if known is not None and known.size == 1 else None,
        "others": [] if ranking else [_shown(name, value) for name, value in outputs.items()],
    }


def _takes_images(signature: Any) -> bool:
    if set(signature.inputs) != {IMAGES}:
        return False
    info = signature.inputs[IMAGES]
    rank = None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)
    return info.dtype == types_pb2.DT_STRING and rank in (None, 1)


def _tensors(infos: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "dtype": dtype_name(infos[name].dtype), "shape": _shape(infos[name])}
        for name in sorted(infos)
    ]


def _shape(info: Any) -> list[int | None] | None:
    if info.tensor_shape.unknown_rank:
        return None
    return [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]


def _ranking(classes: Array | None, probabilities: Array | None) -> list[dict[str, Any]]:
    if classes is None or probabilities is None:
        return []
    if classes.shape != probabilities.shape or classes.ndim != 2 or len(classes) != 1:
        return []
    if classes.dtype.kind != "O" or probabilities.dtype.kind != "f":
        return []
    order = np.argsort(-probabilities[0], kind="stable")
    return [
        {"name": _text(classes[0][place]), "probability": float(probabilities[0][place])}
        for place in order
    ]


def _shown(name: str, value: Array) -> dict[str, Any]:
    values = [_text(item) for item in value.ravel()[:_MAX_SHOWN_VALUES].tolist()]
    cut = ", …" if value.size > _MAX_SHOWN_VALUES else ""
    return {"name": name, "shape": list(value.shape), "values": ", ".join(values) + cut}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
