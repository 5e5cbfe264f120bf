"""metrics.json of a predictions file: slices, calibration, memory."""

import numpy as np
import pytest
from evaluator_samples import generated, write_predictions

from slimworks.components.errors import ConfigError
from slimworks.components.evaluator import measuring, predictions_file
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.measuring import measure

QUICK = EvaluateConfig(bootstrap_samples=100)
NAMES = ["daisy", "rose", "tulip"]


def measured(path, class_index, probabilities, config=QUICK, **given):
    write_predictions(path, class_index, probabilities, **given)
    return measure(path, NAMES, 3, config)


def test_slice_has_the_metrics_of_its_images_alone(tmp_path):
    class_index, probabilities = generated(80, 3)
    result = measured(tmp_path / "all", class_index, probabilities)
    small = measured(tmp_path / "small", class_index[:40], probabilities[:40])
    (found,) = (entry for entry in result["slices"] if entry["slice"] == {"size": "small"})
    assert found["num_images"] == 40
    same = {key: value for key, value in found.items() if key != "slice"}
    assert same == {key: small[key] for key in same}
    assert {"macro_f1_interval", "ece_interval", "worst_class", "classes"} <= same.keys()


def test_declared_slices_replace_the_usual_ones(tmp_path):
    config = QUICK.model_copy(update={"slices": (("size", "class"),)})
    result = measured(tmp_path / "p", *generated(80, 3), config)
    assert len(result["slices"]) == 6
    assert all(list(entry["slice"]) == ["size", "class"] for entry in result["slices"])


def test_columns_of_too_many_values_are_named(tmp_path):
    slices = [{"serial": str(number), "camera": "one"} for number in range(80)]
    result = measured(tmp_path / "p", *generated(80, 3), slices=slices)
    assert result["unsliced_columns"] == ["serial"]
    assert {"camera": "one"} in [entry["slice"] for entry in result["slices"]]


def test_slices_have_no_table_of_very_many_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "MAX_CLASSES_BY_SLICE", 2)
    result = measured(tmp_path / "p", *generated(80, 3))
    assert len(result["classes"]) == 3
    assert all("classes" not in entry for entry in result["slices"])
    assert all(entry["worst_class"]["support"] for entry in result["slices"])


def test_reliability_before_is_that_of_the_logits_where_the_model_is_calibrated(tmp_path):
    class_index, probabilities = generated(200, 3)
    plain = measured(tmp_path / "plain", class_index, probabilities)
    assert plain["reliability_before"] is None
    softened = probabilities**0.5
    softened /= softened.sum(axis=1, keepdims=True)
    logits = np.log(probabilities)
    result = measured(tmp_path / "soft", class_index, softened, logits=logits)
    before = result["reliability_before"]
    for found, expected in zip(before["bins"], plain["reliability"]["bins"], strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    assert before["ece"] == pytest.approx(plain["ece"], abs=1e-6)
    assert before["log_loss"] == pytest.approx(plain["log_loss"], rel=1e-5)
    assert result["reliability"]["ece"] == result["ece"] != plain["ece"]
    assert sum(entry["count"] for entry in before["bins"]) == 200


def test_metrics_do_not_depend_on_how_the_file_is_read(tmp_path, monkeypatch):
    class_index, probabilities = generated(90, 3)
    whole = measured(tmp_path / "whole", class_index, probabilities)
    monkeypatch.setattr(predictions_file, "ROWS_PER_GROUP", 20)
    monkeypatch.setattr(measuring, "_RANKED_BYTES", 4 * 90)  # a class at a time
    assert measured(tmp_path / "parts", class_index, probabilities) == whole


def test_rows_of_nan_are_in_their_slice_and_in_no_bin(tmp_path):
    class_index, probabilities = generated(80, 3)
    probabilities[:10] = np.nan
    result = measured(tmp_path / "p", class_index, probabilities)
    (small,) = (entry for entry in result["slices"] if entry["slice"] == {"size": "small"})
    assert (small["num_images"], small["num_nan"], small["ece"]) == (40, 10, None)
    assert sum(entry["count"] for entry in result["reliability"]["bins"]) == 70
    assert result["reliability_before"] is None


def test_unknown_dimension_is_refused(tmp_path):
    config = QUICK.model_copy(update={"slices": (("camera",),)})
    with pytest.raises(ConfigError, match=r"There is no dimension 'camera' to slice the images by"):
        measured(tmp_path / "p", *generated(8, 3), config)


@pytest.mark.parametrize("slices", [[[]], [["size", "size"]]])
def test_combination_without_a_dimension_or_with_one_twice_is_refused(slices):
    with pytest.raises(ConfigError) as caught:
        EvaluateConfig(slices=slices)
    assert caught.value.cause == (
        f"evaluate.slices holds {slices[0]}, expected one or more dimensions, each once."
    )
    assert caught.value.fix == "Write a list of lists, such as [[camera], [size, class]]."
