"""Whether the exported model answers as the network did when its training ended.

The trainer keeps its answers to a few eval images, computed from the stored images by the code that
trains. The exported graph decodes and prepares the original bytes itself: another order of
channels, another scale, size, weight or class order shows in these answers and, often, nowhere
else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts, files
from slimworks.components.evaluator import prediction
from slimworks.components.examples import reading


def compare(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    model: prediction.Model | None = None,
) -> dict[str, Any] | None:
    """Compares the SavedModel with the answers that the trainer kept.

    Args:
        model_dir: Model artifact.
        examples_dir: Examples artifact with the original bytes of the eval split.
        model: The SavedModel as `prediction.load_model` gives it, where it is loaded already.

    Returns:
        {"num_images", "num_other_answers", "max_probability_difference"} (null: not a number), or
        None where the model has no such answers, or the examples none of the images.
    """
    path = Path(model_dir) / contracts.TRAINED_ANSWERS_FILE
    if not path.is_file():
        return None
    kept = files.read_json(path)
    expected = dict(zip(kept["image_ids"], kept["probabilities"], strict=True))
    encoded = _encoded_images(examples_dir, set(expected))
    if not encoded:
        return None
    model = model or prediction.load_model(Path(model_dir) / contracts.SAVED_MODEL_FOLDER)
    logits = model(list(encoded.values()))["logits"]
    return differences(logits, np.array([expected[image_id] for image_id in encoded]))


def differences(logits: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """How far answers are apart. logits: [N, C] of the export, expected: [N, C] probabilities."""
    if logits.shape != expected.shape:
        return {
            "num_images": len(expected),
            "num_other_answers": len(expected),
            "max_probability_difference": None,
        }
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    largest = float(np.abs(probabilities - expected).max())
    return {
        "num_images": len(expected),
        "num_other_answers": int((probabilities.argmax(axis=1) != expected.argmax(axis=1)).sum()),
        "max_probability_difference": largest if np.isfinite(largest) else None,
    }


def _encoded_images(examples_dir: str | os.PathLike[str], wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if not any(contracts.split_folder(examples_dir, "eval").glob("[!.]*")):
        return found  # examples of another set, with a test split alone
    for example in reading.iterate_examples(examples_dir, "eval"):
        image_id, encoded = example[contracts.IMAGE_ID], example[contracts.IMAGE_ENCODED]
        assert isinstance(image_id, bytes)  # by the contract of Examples
        assert isinstance(encoded, bytes)
        if image_id.decode() in wanted:
            found[image_id.decode()] = encoded
            if len(found) == len(wanted):
                break
    return found
