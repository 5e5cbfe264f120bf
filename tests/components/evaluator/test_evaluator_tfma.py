"""TFMA's files: equal to what TFMA itself computes, image by image, from the predictions file."""

import math

import numpy as np
import pytest
from evaluator_samples import generated, write_predictions

from slimworks.components.evaluator import predictions_file, tfma_output
from slimworks.components.evaluator import slices as slicing

# TFMA 0.47 converts arrays of one element to scalars and reads with deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow_model_analysis")

NAMES = ["daisy", "rose", "蓝", "tulip"]
DECLARED = [["camera"], ["size"], ["camera", "class"]]


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """A rare class never predicted, rows of NaN, cameras unknown."""
    class_index, probabilities = generated(120, 4)
    probabilities[class_index == 3, 3] *= 0.1
    probabilities[:, 3] *= 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities[::40] = np.nan
    cameras = [
        {"camera": "old"} if i % 3 else {"camera": "neu"} if i % 2 else {} for i in range(120)
    ]
    path = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    return write_predictions(path, class_index, probabilities, cameras)


def evaluated_by_tfma(path, output):
    """TFMA's own evaluation of one row an image."""
    import apache_beam as beam
    import pyarrow as pa
    import tensorflow_model_analysis as tfma
    from apache_beam.runners.portability import fn_api_runner

    columns = next(predictions_file.read_row_groups(path))
    finite = np.isfinite(columns["probabilities"]).all(axis=1)
    kept = {name: values[finite] for name, values in columns.items()}
    texts = {
        "camera": kept["slice/camera"],
        "size": np.array(["small" if w < 256 else "medium" for w in kept["width"]], object),
        "class": np.array([NAMES[index] for index in kept["class_index"]], object),
    }
    batch = pa.RecordBatch.from_pydict(
        {
            "class_index": pa.array([[value] for value in kept["class_index"]]),
            "probabilities": pa.array(list(kept["probabilities"])),
            **{
                name: pa.array([[] if text is None else [text.encode()] for text in values],
                               pa.list_(pa.binary()))
                for name, values in texts.items()
            },
        }
    )  # fmt: skip
    with beam.Pipeline(runner=fn_api_runner.FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.Create([batch])
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=tfma_output.eval_config(4, DECLARED), output_path=str(output)
            )
        )


def loaded(folder):
    """Every number of a TFMA result, and the cells of every confusion matrix."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(str(folder))
    numbers = {}
    for key, by_output in result.slicing_metrics:
        for sub_key, metrics in by_output[""].items():
            for name, value in metrics[""].items() if "" in metrics else metrics.items():
                numbers[key, sub_key, name] = float(value["doubleValue"])
    cells = {}
    for key, plots in result.plots:
        (matrix,) = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
        for entry in matrix["entries"]:
            cell = key, entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
            cells[cell] = entry.get("numWeightedExamples", 0.0)
    return numbers, {cell: count for cell, count in cells.items() if count}


@pytest.mark.slow
def test_output_equals_tfma_over_every_image_and_slice(tmp_path, predictions):
    tfma_output.write(predictions, NAMES, DECLARED, tmp_path / "ours")
    evaluated_by_tfma(predictions, tmp_path / "tfma")
    numbers, cells = loaded(tmp_path / "ours")
    expected, expected_cells = loaded(tmp_path / "tfma")
    assert numbers.keys() == expected.keys()
    assert len({key for key, _, _ in numbers}) == 1 + 2 + 2 + 8
    answered = {(key, answer) for key, _, answer in cells}
    for key, value in expected.items():
        slice_key, sub_key, name = key
        if (
            sub_key
            and (slice_key, int(sub_key.split()[0].removeprefix("classId:"))) not in answered
        ):
            # TFMA counts every image as an answer for a class that no answer names.
            assert math.isnan(numbers[key]) or (name, numbers[key]) == ("recall", 0.0)
        else:
            assert numbers[key] == pytest.approx(value, rel=1e-5, nan_ok=True), key
    assert cells == expected_cells


def test_many_classes_have_the_matrix_alone(tmp_path):
    class_index, probabilities = generated(60, 60)
    path = write_predictions(tmp_path / "p.parquet", class_index, probabilities)
    names = [str(index) for index in range(60)]
    tfma_output.write(path, names, [], tmp_path / "tfma")
    numbers, cells = loaded(tmp_path / "tfma")
    assert {name for _, _, name in numbers} == {
        "example_count", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    }  # fmt: skip
    assert sum(cells.values()) == 60


def test_slices_are_those_of_the_metrics(tmp_path, predictions):
    tfma_output.write(predictions, NAMES, None, tmp_path)
    numbers, _ = loaded(tmp_path)
    found = slicing.find(predictions_file.read_columns(predictions), NAMES)
    assert {key for key, _, _ in numbers} == {(), *(tuple(part.values.items()) for part in found)}
