"""docs/tutorials/graded-images.md: grey images in four grades, with real ones of solar cells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tutorials.stories import follow

PAGE = "graded-images.md"
GRADES = ["grade0", "grade1", "grade2", "grade3"]
pytestmark = [pytest.mark.shared]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _follow(desk: Path, package_folder: Path, variables: dict[str, str]) -> str:
    """Follows the page; its package comes from a folder, so that it is downloaded once."""
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(package_folder)}
    return follow(PAGE, desk, {**index, **variables})


def _check(desk: Path, printed: str) -> dict[str, Any]:
    """What both variants must show; returns the decision of the gate."""
    summary = _read(desk / "ingested/report/summary.json")
    assert summary["class_names"] == GRADES
    assert summary["groups_in_several_splits"] == 0
    assert summary["num_groups"] < summary["num_images"] / 2, "patients are groups"
    assert all(summary["images_by_split"][split] for split in ("train", "eval", "test"))

    dark, rescaled = (
        _read(desk / name / "report/summary.json")
        for name in ("ingested-twelve", "ingested-rescaled")
    )
    assert dark["brightness"]["max"] < 0.07
    assert rescaled["brightness"]["median"] > 0.3
    assert dark["num_rejected"] == rescaled["num_rejected"] == 0

    two = _read(desk / "ingested-two/report/summary.json")
    used = {name for split in two["images_by_split"].values() for name, n in split.items() if n}
    assert used == {"grade0", "grade3"}
    assert two["num_images"] == summary["num_images"]

    kappas = [float(kappa) for kappa in re.findall(r"quadratic kappa +(-?\d\.\d+)", printed)]
    assert kappas
    assert all(-1 <= kappa <= 1 for kappa in kappas)
    [decision] = (desk / "slimworks-runs").rglob("decision.json")
    bounds = {bound["name"]: bound for bound in _read(decision)["bounds"]}
    assert any("grade3" in name for name in bounds), sorted(bounds)
    return {"verdict": _read(decision)["verdict"], "kappas": kappas}


@pytest.mark.slow
@pytest.mark.big  # the package index is asked
@pytest.mark.timeout(900)
def test_the_page_on_a_few_images(desk: Path, package_folder: Path) -> None:
    variables = {"EPOCHS": "1", "PER_GRADE": "60", "BALANCES": "weights"}
    printed = _follow(desk, package_folder, variables)

    seen = _check(desk, printed)
    assert seen["verdict"] != "pass", "one epoch on some hundred images proves nothing"
    assert "exit code 10" in printed


@pytest.mark.big
@pytest.mark.timeout(7_200)
def test_the_page_says_what_the_images_show(desk: Path, package_folder: Path) -> None:
    printed = _follow(desk, package_folder, {})
    _check(desk, printed)

    none, weights = (_read(desk / f"eval-head-{name}/metrics.json") for name in ("none", "weights"))
    assert none["num_images"] == 419
    assert none["accuracy_interval"][0] > none["majority_class_rate"], "more than the usual grade"
    recall = {entry["class_name"]: entry["recall"] for entry in none["classes"]}
    assert recall["grade1"] + recall["grade2"] < 0.1, "accuracy hides the rare grades"
    rare = {entry["class_name"]: entry["recall"] for entry in weights["classes"]}
    assert rare["grade1"] > recall["grade1"], "weights ask for them"
    assert weights["accuracy"] < none["accuracy"], "and cost accuracy"
