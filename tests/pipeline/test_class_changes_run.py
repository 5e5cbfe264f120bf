"""A class renamed and one merged between two runs of the whole pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pipeline_runs import run

from slimworks.components import contracts


@pytest.mark.slow
def test_declared_changes_reach_production(tiny_photos: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(tiny_photos, tmp_path / "photos")
    code, _, stderr = run(photos, tmp_path / "runs")
    assert code == 0, stderr
    shutil.move(photos / "left", photos / "west")
    lines = ("data.rename_classes={left: west}", "data.merge_classes={middle: right}")
    code, outcome, stderr = run(photos, tmp_path / "runs", "--set", lines[0], "--set", lines[1])
    assert (code, outcome["verdict"], outcome["label_map_version"]) == (0, "pass", 2), stderr
    assert outcome["reasons"][-1].endswith(
        "Classes were renamed (left is west now): compared by class index. Classes were merged: "
        "the baseline's answers count (middle as right)."
    )
    served = Path(outcome["pushed_to"]) / contracts.EXTRA_ASSETS_FOLDER
    assert (served / contracts.LABELS_FILE).read_text() == "0:west\n1:middle\n2:right\n"
