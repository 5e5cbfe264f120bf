"""TensorFlow Lite: one file for phones and boards, run by tf.lite.Interpreter."""

from __future__ import annotations

import warnings

import numpy as np
import tensorflow as tf

from slimworks.components.export.batches import in_batches
from slimworks.components.export.frozen_graph import FrozenGraph, FrozenNetwork
from slimworks.components.export.inference_graph import INPUT


def to_tflite(frozen: FrozenGraph) -> bytes:
    """Converts in float32. Signature `serving_default`: input -> logits, probabilities.

    Raises:
        ValueError: The frozen graph has no fixed batch size, which TensorFlow Lite's own
            optimisations need.
    """
    if frozen.input_shape[0] is None:
        raise ValueError("The batch size is None, expected a number.")
    module = FrozenNetwork(frozen)
    function = module.network.get_concrete_function()
    content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    return content


def tflite_probabilities(content: bytes, pixels: np.ndarray, batch_size: int) -> np.ndarray:
    """Runs a TensorFlow Lite model. pixels: float32 [N, S, S, C] -> float32 [N, K]."""
    with warnings.catch_warnings():
        # That TensorFlow 2.20 would be without it: 2.21 has it still.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    return in_batches(
        pixels, lambda batch: runner(**{INPUT: batch})["probabilities"].copy(), batch_size
    )
