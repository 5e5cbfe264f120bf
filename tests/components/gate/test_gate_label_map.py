"""What the gate makes of declared changes of the label map, and of silent ones."""

import dataclasses

import numpy as np
import pytest
from gate_samples import answers, metrics_of, truth

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.gate.answers import read_answers
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import decide

FLOWERS = LabelMap().updated(["daisy", "rose", "tulip"])


def of_version(model, version):
    return dataclasses.replace(model, label_map_version=version)


def judged(candidate, baseline, label_map, **config):
    return decide(metrics_of(candidate), candidate, baseline, label_map, GateConfig(**config))


def bound_of(decision, name):
    (bound,) = [bound for bound in decision.bounds if bound.name == name]
    return bound


def test_declared_rename_is_compared_by_index():
    renamed = FLOWERS.updated([], renames={"rose": "rosa"})
    true = truth(90)
    decision = judged(answers(true, true, renamed.class_names), answers(true, true), renamed)
    assert decision.verdict == "pass"
    assert decision.baseline["num_correct"] == 90
    sentence = "Classes were renamed (rose is rosa now): compared by class index."
    assert bound_of(decision, "label_map").reason == sentence
    assert decision.reasons[-1].endswith(sentence)


def test_rename_that_the_history_does_not_know_is_refused():
    other_history = LabelMap().updated(["daisy", "rosa", "tulip"])
    true = truth(90)
    candidate = answers(true, true, other_history.class_names)
    decision = judged(candidate, answers(true, true), other_history)
    assert decision.verdict == "fail"
    assert decision.reasons == [
        "Class indices changed their meaning (renamed or removed): index 1 meant 'rose' and now "
        "means 'rosa'. Clients would misread them."
    ]


def test_names_exchanged_by_hand_are_refused_though_one_is_a_rename():
    label_map = FLOWERS.updated([], renames={"rose": "rosa"})
    swapped = LabelMap(("tulip", "rosa", "daisy"), label_map.history)
    true = truth(90)
    decision = judged(answers(true, true, swapped.class_names), answers(true, true), swapped)
    assert decision.verdict == "fail"
    assert "index 0 meant 'daisy' and now means 'tulip'" in decision.reasons[0]


@pytest.mark.parametrize("version", [0, 1])
def test_baseline_answer_of_a_merged_class_counts_as_its_target(version):
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2  # daisy or tulip: the roses are daisies now
    old_answers = np.where((true == 0) & (np.arange(200) < 100), 1, true)
    baseline = of_version(answers(old_answers, true), version)
    decision = judged(of_version(answers(true, true), 2), baseline, merged)
    assert decision.baseline["num_correct"] == 200
    assert decision.baseline["relation"] == "not worse"
    assert decision.reasons[-1].endswith(
        "Classes were merged: the baseline's answers count (rose as daisy)."
    )


def test_baseline_from_after_the_merge_is_wrong_with_the_merged_class():
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    baseline = of_version(answers(np.where(true == 0, 1, true), true), 2)
    decision = judged(of_version(answers(true, true), 2), baseline, merged)
    assert decision.baseline["num_correct"] == 100


def test_candidate_is_wrong_with_a_merged_class():
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    candidate = of_version(answers(np.where(true == 0, 1, true), true), 2)
    assert judged(candidate, of_version(answers(true, true), 1), merged).verdict == "fail"


def test_nan_of_the_baseline_stays_one_where_classes_were_merged():
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    baseline = answers(true, true)
    baseline.predicted_index[5] = -1
    decision = judged(of_version(answers(true, true), 2), baseline, merged)
    assert bound_of(decision, "baseline_images").verdict == "fail"


def test_merged_class_needs_no_test_images_for_its_recall():
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    decision = judged(of_version(answers(true, true), 2), None, merged, min_class_recall=0.9)
    assert decision.verdict == "pass"
    names = [bound.name for bound in decision.bounds if bound.name.startswith("class_recall/")]
    assert names == ["class_recall/daisy", "class_recall/tulip"]


def test_added_renamed_and_merged_at_once_are_all_said():
    label_map = FLOWERS.updated(["aster"], renames={"tulip": "tulipa"}, merges={"rose": "daisy"})
    true = np.tile([0, 2, 3], 40)
    candidate = of_version(answers(true, true, label_map.class_names), 2)
    decision = judged(candidate, of_version(answers(true % 3, true), 1), label_map)
    assert bound_of(decision, "label_map").reason == (
        "Classes were appended (aster): compared on the 3 known ones. Classes were renamed (tulip "
        "is tulipa now): compared by class index. Classes were merged: the baseline's answers "
        "count (rose as daisy)."
    )


def test_class_that_came_and_went_since_the_baseline_is_not_said_to_count():
    grown = FLOWERS.updated(["aster"]).updated([], merges={"aster": "daisy"})
    true = truth(90)
    candidate = of_version(answers(true, true, grown.class_names), 3)
    decision = judged(candidate, of_version(answers(true, true), 1), grown)
    reason = "Classes were appended (aster): compared on the 3 known ones."
    assert bound_of(decision, "label_map").reason == reason


def test_candidate_from_before_a_merge_is_refused():
    merged = FLOWERS.updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    decision = judged(of_version(answers(true, true), 1), None, merged)
    assert decision.verdict == "fail"
    assert decision.reasons == [
        "The model was trained with version 1 of the label map, the test images have their "
        "classes by version 2."
    ]


@pytest.mark.parametrize(("facts", "version"), [({}, 0), ({"label_map_version": 4}, 4)])
def test_version_is_read_from_the_model(tmp_path, facts, version):
    names = {"class_names": ["daisy", "rose"]}
    files.write_json(tmp_path / contracts.MODEL_FACTS_FILE, names | facts)
    assert read_answers(tmp_path / "missing.parquet", tmp_path).label_map_version == version
