"""The report's line on batch norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_samples import finished_run

from slimworks.components import contracts, files
from slimworks.components.report.report import render_report
from slimworks.components.report.training import batch_norm_line

FOUND: dict[str, Any] = {
    "train_mode_accuracy": 0.98,
    "eval_mode_accuracy": 0.3,
    "num_images": 512,
    "agrees": False,
    "reestimated": True,
    "eval_accuracy_before": 0.25,
    "eval_accuracy": 0.9,
}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "The moving statistics were estimated anew: eval accuracy 25.0% to 90.0%."),
        ({"reestimated": False}, "estimated anew were no better, so the first ones stay."),
        ({"agrees": True, "reestimated": False}, "The modes agree."),
    ],
)
def test_line_says_what_was_found_and_done(changes: dict[str, Any], end: str) -> None:
    line = batch_norm_line({"batch_norm": {**FOUND, **changes}})
    assert line is not None
    assert "of 512 training images" in line
    assert "98.0% in training mode and 30.0% in evaluation mode" in line
    assert line.endswith(end)


@pytest.mark.parametrize("model", [None, {}, {"batch_norm": {}}])
def test_no_line_where_batch_norm_was_not_trained(model: dict[str, Any] | None) -> None:
    assert batch_norm_line(model) is None


def test_line_is_on_the_page(tmp_path: Path) -> None:
    inputs = finished_run(tmp_path)
    path = tmp_path / "model" / contracts.MODEL_FACTS_FILE
    assert "Batch norm:" not in render_report(inputs)
    files.write_json(path, {**files.read_json(path), "batch_norm": FOUND})
    assert "estimated anew: eval accuracy 25.0% to 90.0%" in render_report(inputs)
