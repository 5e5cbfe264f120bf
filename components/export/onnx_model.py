"""ONNX: the exchange format of onnxruntime and others. Needs the extra `onnx`."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np

from slimworks.components.errors import ConfigError
from slimworks.components.export.batches import in_batches
from slimworks.components.export.frozen_graph import FrozenGraph, FrozenNetwork
from slimworks.components.export.inference_graph import INPUT

# The newest that every onnxruntime since 1.12 (2022) reads; nothing newer is needed here.
OPSET = 17
_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_installed() -> None:
    """Checks that the packages of the extra are there, before any work is done.

    Raises:
        ConfigError: One is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--format onnx needs {', '.join(missing)}: not installed.",
            'Type `pip install "slimworks[onnx]"`.',
        )


def to_onnx(frozen: FrozenGraph) -> bytes:
    """Converts in float32: input [N, S, S, C] -> logits, probabilities [N, K]."""
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # it reports every pass
    network = FrozenNetwork(frozen).network
    model, _ = tf2onnx.convert.from_function(
        network, input_signature=network.input_signature, opset=OPSET
    )
    content: bytes = model.SerializeToString()
    return content


def onnx_probabilities(
    content: bytes, pixels: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """Runs an ONNX model by onnxruntime. pixels: float32 [N, S, S, C] -> float32 [N, K]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return in_batches(
        pixels, lambda batch: session.run(["probabilities"], {INPUT: batch})[0], batch_size
    )
