import json
import subprocess
import sys

import numpy as np
import pytest
from evaluator_samples import CLASS_NAMES, NUM_IMAGES, save_model

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.evaluator import predictions_file
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.evaluate import evaluate
from slimworks.components.evaluator.measuring import measure

# TFMA 0.47 converts arrays of one element to scalars and reads with deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow_model_analysis")

LABEL_MAP = contracts.LabelMap(CLASS_NAMES)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory, model_dir, baseline_dir, examples_dir):
    folder = tmp_path_factory.mktemp("evaluation")
    config = EvaluateConfig(embeddings=True)
    metrics = evaluate(model_dir, examples_dir, LABEL_MAP, folder, config, baseline_dir)
    return folder, metrics


def test_metrics_file_holds_what_is_returned(evaluation):
    folder, metrics = evaluation
    assert json.loads((folder / "metrics.json").read_text("utf-8")) == metrics
    assert metrics["num_images"] == NUM_IMAGES
    assert (metrics["format"], metrics["split"]) == (2, "test")
    assert metrics["bootstrap"] == {"samples": 2_000, "seed": 0}
    assert 0.6 < metrics["accuracy"] < 1.0
    assert metrics["accuracy_interval"][0] < metrics["accuracy"] < metrics["accuracy_interval"][1]


def test_baseline_is_measured_on_the_same_images(evaluation):
    folder, metrics = evaluation
    ours, theirs = (
        next(predictions_file.read_row_groups(folder / name))
        for name in (contracts.PREDICTIONS_FILE, contracts.BASELINE_PREDICTIONS_FILE)
    )
    assert ours["image_id"].tolist() == theirs["image_id"].tolist()
    assert metrics["baseline"]["num_images"] == NUM_IMAGES
    assert metrics["baseline"]["accuracy"] < metrics["accuracy"]
    assert metrics["baseline"]["class_names"] == list(CLASS_NAMES)
    assert metrics["baseline"]["slices"][0]["num_images"] == NUM_IMAGES
    assert ours["embedding"].shape == (NUM_IMAGES, 3)
    assert "embedding" not in theirs, "a baseline may be from before models gave them"


def test_tfma_output_equals_our_metrics(evaluation):
    import tensorflow_model_analysis as tfma

    folder, metrics = evaluation
    result = tfma.load_eval_result(str(folder / contracts.TFMA_FOLDER))
    overall = result.get_metrics_for_slice()
    assert overall["example_count"]["doubleValue"] == NUM_IMAGES
    assert overall["sparse_categorical_accuracy"]["doubleValue"] == pytest.approx(
        metrics["accuracy"]
    )
    assert overall["sparse_categorical_crossentropy"]["doubleValue"] == pytest.approx(
        metrics["log_loss"], rel=1e-4
    )
    for entry in metrics["classes"]:
        per_class = result.get_metrics_for_slice(class_id=entry["class_index"], top_k=1)
        assert per_class["precision"]["doubleValue"] == pytest.approx(entry["precision"])
        assert per_class["recall"]["doubleValue"] == pytest.approx(entry["recall"])
    assert tfma_confusion_matrix(result) == metrics["confusion_matrix"]


def tfma_confusion_matrix(result):
    plots = result.plots[0][1][""][""]
    matrix = np.zeros((3, 3), int)
    for entry in plots["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]:
        cell = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        matrix[cell] = entry["numWeightedExamples"]
    return matrix.tolist()


def test_tfma_output_can_be_switched_off(tmp_path, model_dir, examples_dir):
    evaluate(model_dir, examples_dir, LABEL_MAP, tmp_path, EvaluateConfig(tfma=False))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.json",
        "predictions.parquet",
    ]


def test_baseline_that_lacks_a_class_is_measured_on_the_classes_it_knows(
    tmp_path, model_dir, baseline_dir, examples_dir
):
    evaluate(model_dir, examples_dir, LABEL_MAP, tmp_path, EvaluateConfig(tfma=False))
    path = tmp_path / contracts.PREDICTIONS_FILE
    (columns,) = predictions_file.read_row_groups(path)
    num_unknown = int((columns["class_index"] == 2).sum())
    (tmp_path / "short").mkdir()
    short = tmp_path / "short" / contracts.PREDICTIONS_FILE
    keep_two_classes(path, short)
    measured = measure(short, CLASS_NAMES[:2], 3, EvaluateConfig())
    assert measured["num_unknown_class"] == num_unknown
    assert measured["num_images"] == NUM_IMAGES - num_unknown


def keep_two_classes(source, target):
    import pyarrow as pa
    from pyarrow import parquet

    rows = parquet.read_table(source).to_pylist()
    for row in rows:
        row["probabilities"] = row["probabilities"][:2]
        row["logits"] = row["logits"][:2]
    parquet.write_table(pa.Table.from_pylist(rows, schema=predictions_file.SCHEMA), target)


def test_nan_model_is_reported_and_still_gets_tfma_output(tmp_path, examples_dir):
    model = save_model(tmp_path / "model", nan_class=0)
    metrics = evaluate(model, examples_dir, LABEL_MAP, tmp_path / "out", EvaluateConfig())
    assert metrics["num_nan"] > 0
    assert metrics["log_loss"] is None
    assert (tmp_path / "out" / contracts.TFMA_FOLDER / "eval_config.json").is_file()


def test_model_of_other_classes_is_refused(tmp_path, model_dir, examples_dir):
    label_map = contracts.LabelMap(("red", "green", "blue"))
    expected = r"was trained for the classes red, grün, 蓝, the label map says red, green, blue\."
    with pytest.raises(DataError, match=expected):
        evaluate(model_dir, examples_dir, label_map, tmp_path, EvaluateConfig())


def test_model_without_facts_is_refused(tmp_path, examples_dir):
    with pytest.raises(DataError, match=r"model\.json is missing or names no classes\."):
        evaluate(tmp_path, examples_dir, LABEL_MAP, tmp_path / "out", EvaluateConfig())


def test_model_with_more_outputs_than_names_is_refused(tmp_path, examples_dir):
    model = save_model(tmp_path / "model", class_names=("red", "grün"))
    label_map = contracts.LabelMap(("red", "grün"))
    with pytest.raises(
        DataError, match=r"puts out 3 probabilities, its model\.json names 2 classes\."
    ):
        evaluate(model, examples_dir, label_map, tmp_path / "out", EvaluateConfig())


def test_class_index_outside_the_label_map_is_refused(tmp_path, model_dir, examples_dir):
    evaluate(model_dir, examples_dir, LABEL_MAP, tmp_path, EvaluateConfig(tfma=False))
    with pytest.raises(DataError, match=r"hold the class index 2, the label map has 2 classes\."):
        measure(tmp_path / contracts.PREDICTIONS_FILE, CLASS_NAMES, 2, EvaluateConfig())


def test_component_declares_its_channels_and_runs(tmp_path, model_dir, examples_dir):
    from tfx.types import channel_utils, standard_artifacts

    from slimworks.components import artifacts
    from slimworks.components.evaluator.component import Evaluator
    from slimworks.components.evaluator.executor import Executor

    examples, model = standard_artifacts.Examples(), standard_artifacts.Model()
    label_map, evaluation = artifacts.LabelMap(), standard_artifacts.ModelEvaluation()
    examples.uri, model.uri = str(examples_dir), str(model_dir)
    label_map.uri, evaluation.uri = str(tmp_path / "labels"), str(tmp_path / "evaluation")
    LABEL_MAP.write(label_map.uri)
    node = Evaluator(
        examples=channel_utils.as_channel([examples]),
        model=channel_utils.as_channel([model]),
        label_map=channel_utils.as_channel([label_map]),
        config=EvaluateConfig(tfma=False),
    )
    Executor().Do(
        {"examples": [examples], "model": [model], "label_map": [label_map], "baseline_model": []},
        {"evaluation": [evaluation]},
        node.exec_properties,
    )
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


def test_pure_modules_do_not_load_tensorflow():
    code = (
        "import sys, slimworks.components.evaluator.evaluate\n"
        "sys.exit(any(m in sys.modules for m in "
        "('tensorflow', 'apache_beam', 'tensorflow_model_analysis', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
