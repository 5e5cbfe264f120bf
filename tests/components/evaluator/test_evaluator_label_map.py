"""A baseline from before a merge, and a model that does not fit the label map's version."""

import json

import numpy as np
import pytest
from evaluator_samples import CLASS_NAMES, save_model

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError
from slimworks.components.evaluator import scores
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.evaluate import evaluate

FIRST = LabelMap().updated([], CLASS_NAMES)
MERGED = FIRST.updated([], merges={CLASS_NAMES[1]: CLASS_NAMES[0]})


def model_of_version(folder, version):
    model = save_model(folder)
    path = model / contracts.MODEL_FACTS_FILE
    files.write_json(path, files.read_json(path) | {contracts.LABEL_MAP_VERSION: version})
    return model


def test_answers_of_a_merged_class_count_as_its_target():
    probabilities = np.array([[0.1, 0.7, 0.2], [0.1, 0.2, 0.7]], np.float32)
    scored = scores.score(np.array([0, 2]), probabilities, scores.counted_as(3, {1: 0}))
    assert scored.answer.tolist() == [0, 2]
    assert scored.confidence == pytest.approx([0.8, 0.7])
    assert scored.log_loss == pytest.approx(-np.log([0.8, 0.7]), rel=1e-5)
    assert scored.brier == pytest.approx([0.2**2 + 0.2**2, 0.3**2 + 0.3**2], rel=1e-5)


def test_answer_is_the_most_probable_class_before_the_merge():
    probabilities = np.array([[0.3, 0.3, 0.4]], np.float32)
    scored = scores.score(np.array([0]), probabilities, scores.counted_as(3, {1: 0}))
    assert scored.answer.tolist() == [2]


def test_class_merged_into_an_unknown_one_stays_itself():
    assert scores.counted_as(3, {1: 4}).tolist() == [0, 1, 2]


def test_baseline_from_before_the_merge_gets_the_better_metrics(
    tmp_path, model_dir, baseline_dir, examples_dir
):
    config = EvaluateConfig(tfma=False)
    args = (model_dir, examples_dir)
    before = evaluate(*args, FIRST, tmp_path / "a", config, baseline_dir)["baseline"]
    after = evaluate(*args, MERGED, tmp_path / "b", config, baseline_dir)["baseline"]
    old, new = (np.array(measured["confusion_matrix"]) for measured in (before, after))
    assert old[:, 1].sum() > 0
    assert new[:, 0].tolist() == (old[:, 0] + old[:, 1]).tolist()
    assert not new[:, 1].any()


def test_model_from_before_a_merge_is_refused(tmp_path, examples_dir):
    model = model_of_version(tmp_path / "model", 1)
    with pytest.raises(DataError) as caught:
        evaluate(model, examples_dir, MERGED, tmp_path / "out", EvaluateConfig())
    assert caught.value.cause == (
        f"{model} was trained with version 1 of the label map, the examples have their classes by "
        "version 2."
    )
    assert caught.value.fix == (
        "Evaluate the model with the examples that it was trained with, or train it again."
    )


def test_model_of_the_label_map_is_evaluated(tmp_path, examples_dir):
    model = model_of_version(tmp_path / "model", 2)
    evaluate(model, examples_dir, MERGED, tmp_path / "out", EvaluateConfig(tfma=False))
    written = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert written["num_classes"] == 3
