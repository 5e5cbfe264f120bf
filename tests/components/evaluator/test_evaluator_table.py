import unicodedata

import numpy as np
import pytest
from evaluator_samples import generated, write_predictions

from slimworks.components.evaluator import table
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.measuring import measure


def metrics_of(path, names, num_images=60, **changed):
    class_index, probabilities = generated(num_images, len(names))
    for key, value in changed.items():
        probabilities[: int(key.removeprefix("first_"))] = value
    write_predictions(path, class_index, probabilities)
    config = EvaluateConfig(bootstrap_samples=100)
    return {"split": "test", "confidence": 0.95, **measure(path, names, len(names), config)}


def columns_of(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.fixture
def small(tmp_path):
    return metrics_of(tmp_path / "p", ["daisy", "蓝" * 20, "tulip"])


def test_every_metric_class_and_slice_has_a_line_with_its_interval(small):
    lines = table.format_metrics(small).splitlines()
    assert lines[0] == "60 images of the split test, 3 classes; intervals hold 95%"
    low, high = small["accuracy_interval"]
    assert f"accuracy{'':20}{small['accuracy']:.3f}  {low:.3f}-{high:.3f}" in lines
    for name in ("daisy", "tulip", "size=small", "brightness=medium", "calibration error"):
        assert any(line.startswith(name) for line in lines)
    assert not any(line.startswith("top-5") for line in lines), "there are three classes"


def test_lines_fit_a_terminal(small):
    for line in table.format_metrics(small).splitlines():
        assert columns_of(line) <= table.WIDTH


def test_of_many_classes_the_worst_are_shown(tmp_path):
    metrics = metrics_of(tmp_path / "p", [f"class {index:02d}" for index in range(30)], 600)
    lines = table.format_metrics(metrics).splitlines()
    assert "the 20 worst of 30; metrics.json has all" in lines
    rows = [line.split() for line in lines if line.startswith("class ")]
    recalls = [float(row[3]) for row in rows if row[1].isdigit()]
    assert recalls == sorted(recalls)
    assert len(recalls) == 20


def test_answers_that_are_no_numbers_are_counted_and_what_needs_them_is_left_out(tmp_path):
    metrics = metrics_of(tmp_path / "p", ["a", "b"], first_6=np.nan)
    text = table.format_metrics(metrics)
    assert "6 of them got no finite answer: they count as wrong" in text
    assert "log loss" not in text


def test_no_images_give_a_line(tmp_path):
    metrics = metrics_of(tmp_path / "p", ["a", "b"], 0)
    assert table.format_metrics(metrics).startswith("0 images of the split test")


def test_text_is_padded_or_cut_to_terminal_columns():
    assert table.fitted("ab", 4) == "ab  "
    assert table.fitted("abcd", 4) == "abcd"
    assert table.fitted("abcde", 4) == "abc…"
    assert table.fitted("蓝蓝蓝", 4) == "蓝… "
    assert table.fitted("蓝蓝", 4) == "蓝蓝"
