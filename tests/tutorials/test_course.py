"""The course, followed literally."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tutorials.stories import follow

PAGE = "course.md"
WHOLE_PIPELINE = "8. All in one command"


def _figures(pattern: str, printed: str) -> list[float]:
    (found,) = re.findall(pattern, printed)
    return [float(figure) for figure in ([found] if isinstance(found, str) else found)]


def _check_walk(desk: Path, printed: str) -> None:
    """Both tasks are learned, for the reason that the page gives."""
    (noise,) = _figures(r"mean squared error (\S+);", printed)
    assert noise < 0.02
    (first, last) = _figures(r"silent units: (\S+) at the first step, (\S+) at the last", printed)
    assert first < 0.4, "nothing is dead before the training"
    assert last > 0.7
    (most,) = _figures(r"silent units: (\S+) at most", printed)
    assert most < 0.05
    found = _figures(
        r"{'accuracy': (\S+), 'brightness error': (\S+), 'of the mean': (\S+)}", printed
    )
    accuracy, error, error_of_mean = found
    assert accuracy > 0.95
    assert error < error_of_mean / 3
    metrics = json.loads((desk / "evaluation/metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] > 0.93
    answers = re.findall(r"^(?:\S+\.png )?(\d) (0\.\d+|1\.0) ?(?:True|False)?$", printed, re.M)
    assert len(answers) == 2, "TF-Slim's and the exported model's"
    assert answers[0][0] == answers[1][0] == "0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_course_up_to_inference(tmp_path: Path) -> None:
    _check_walk(tmp_path, follow(PAGE, tmp_path, {"PHOTOS": ""}, without=[WHOLE_PIPELINE]))


@pytest.mark.big
@pytest.mark.timeout(1800)
def test_the_whole_course(tmp_path: Path) -> None:
    printed = follow(PAGE, tmp_path, {"PHOTOS": ""})
    _check_walk(tmp_path, printed)
    assert len(list((tmp_path / "slimworks-runs/course/runs").iterdir())) == 1
