"""What the evaluation tells a user, word for word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from evaluator_samples import record, write_examples
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import prediction, predictions_file
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.evaluate import evaluate
from slimworks.components.evaluator.measuring import measure


def refusal(function: Callable[..., object], *arguments: Any) -> tuple[str, str]:
    """Cause and fix of the DataError that a call raises."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return caught.value.cause, caught.value.fix


def test_label_map_of_other_classes(tmp_path: Path) -> None:
    model = tmp_path / "model"
    files.write_json(model / contracts.MODEL_FACTS_FILE, {"class_names": ["cats", "dogs"]})
    label_map = contracts.LabelMap(("ants", "bees"))
    arguments = (model, tmp_path / "examples", label_map, tmp_path / "out", EvaluateConfig())
    assert refusal(evaluate, *arguments) == (
        f"{model} was trained for the classes cats, dogs, the label map says ants, bees.",
        "Evaluate the model with the label map that it was trained with.",
    )


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Predictions of one image of the third class, by a model with three outputs."""
    row = {
        "image_id": "0", "filename": "a.png", "group": "0", "class_index": 2,
        "predicted_index": 0, "probabilities": [0.8, 0.1, 0.1], "logits": [2.0, 0.0, 0.0],
    }  # fmt: skip
    path = tmp_path / contracts.PREDICTIONS_FILE
    parquet.write_table(pa.Table.from_pylist([row], schema=predictions_file.SCHEMA), path)
    return path


def test_model_with_more_outputs_than_names(predictions: Path) -> None:
    cause, fix = refusal(measure, predictions, ("cats", "dogs"), 3, EvaluateConfig())
    assert cause == "The model puts out 3 probabilities, its model.json names 2 classes."
    assert "the model again" in fix


def test_class_index_outside_the_label_map(predictions: Path) -> None:
    assert refusal(measure, predictions, ("ants", "bees", "cats"), 2, EvaluateConfig()) == (
        "The examples hold the class index 2, the label map has 2 classes.",
        "Give the examples and the label map of one `slimworks ingest`.",
    )


def test_folder_without_a_saved_model(tmp_path: Path) -> None:
    cause, fix = refusal(prediction.load_model, tmp_path)
    assert cause == f"{tmp_path} holds no SavedModel."
    assert fix.startswith("Give a model folder written by `slimworks train`")


def save(folder: Path, signature: str) -> Path:
    """A SavedModel of which the named signature gives one number for each image."""
    import tensorflow as tf

    class Flat(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def answer(self, images: Any) -> dict[str, Any]:
            ones = tf.ones(tf.shape(images))
            return {"logits": ones, "probabilities": ones}

    module = Flat()
    tf.saved_model.save(module, str(folder), signatures={signature: module.answer})
    return folder


def test_model_without_the_signature_evaluate(tmp_path: Path) -> None:
    model = save(tmp_path / "model", "other")
    cause, fix = refusal(prediction.load_model, model)
    assert cause == f"{model} has no signature 'evaluate' (it has: other)."
    assert "the model again" in fix


def test_model_that_gives_no_embedding(tmp_path: Path) -> None:
    model = save(tmp_path / "model", "evaluate")
    cause, fix = refusal(prediction.load_model, model, True)
    assert cause == f"The signature 'evaluate' of {model} does not give embedding."
    assert fix == (
        "Train the model again: slimworks train, or slimworks run --no-cache=trainer. Or leave "
        "evaluate.embeddings out."
    )


def test_model_whose_outputs_have_another_shape(tmp_path: Path) -> None:
    model = save(tmp_path / "model", "evaluate")
    examples = write_examples(tmp_path / "examples", [record(0, 0, b""), record(1, 1, b"")])
    output = tmp_path / "predictions.parquet"
    cause, fix = refusal(prediction.predict_split, model, examples, "test", output, 8)
    assert cause == f"Output logits of {model} has shape [2] for 2 images, expected [N, C]."
    assert "the model again" in fix


def test_image_that_the_model_cannot_read(tmp_path: Path, model_dir: Path) -> None:
    model = model_dir / contracts.SAVED_MODEL_FOLDER
    examples = write_examples(tmp_path / "examples", [record(1, 1, b"no image")])
    output = tmp_path / "predictions.parquet"
    cause, fix = refusal(prediction.predict_split, model, examples, "test", output, 8)
    assert cause.startswith(f"grün/0001.png cannot be read by the model {model}: ")
    assert fix == "Run `slimworks ingest` again, or train with this version of SlimWorks."
