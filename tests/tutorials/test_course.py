"""The course, followed literally."""

from __future__ import annotations

from pathlib import Path

import pytest
from tutorials.code_blocks import ROOT, run_page


@pytest.mark.big
@pytest.mark.timeout(1800)
def test_the_course_works_as_it_is_written(tmp_path: Path) -> None:
    printed = run_page(ROOT / "docs/tutorials/course.md", tmp_path, {"PHOTOS": ""})
    assert "mean squared error 0.0" in "".join(printed.values())
    assert (tmp_path / "evaluation/metrics.json").is_file()
