"""Runs that wait for new data, go on after an end in the middle, or stop because of drift."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from photo_samples import write_tiny_photos
from pipeline_runs import run

# Six runs of the pipeline, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIGGER = ("--set", "data.retrain_min_new_images=50")


@pytest.fixture
def photos(tiny_photos: Path, tmp_path: Path) -> Path:
    """A copy that the test may add to."""
    return Path(shutil.copytree(tiny_photos, tmp_path / "photos"))


def states(outcome: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in outcome["steps"]}


def darken(photos: Path, number: int) -> None:
    """Adds photos in which next to nothing is to be seen."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(7)
    for folder in sorted(photos.iterdir()):
        for index in range(number):
            pixels = generator.integers(0, 12, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"dark-{index:03d}.png")


def test_training_waits_until_enough_is_new_since_the_last_judged_model(
    photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    # As after a kill: trained, and never judged.
    code, outcome, stderr = run(photos, root, *TRIGGER, "--until", "trainer")
    assert code == 0, stderr
    code, outcome, stderr = run(photos, root, *TRIGGER)
    assert (code, outcome["version"]) == (0, 1), stderr
    assert states(outcome)["trainer"] == "reused", "taken up where it ended"

    write_tiny_photos(photos, num_per_class=8, seed=1)
    for _ in range(2):
        code, outcome, stderr = run(photos, root, *TRIGGER)
        assert (code, outcome["verdict"], outcome["version"]) == (0, None, None), stderr
        assert outcome["reasons"][0] == (
            "Nothing to do: 24 new images since span 1, the last that was trained on "
            "(retrain.min_new_images is 50)."
        )
        assert outcome["reasons"][0] in stderr
        after = list(states(outcome).values())[4:]
        assert after == ["skipped"] * len(after)
        assert "Nothing was trained" in Path(outcome["report"]).read_text("utf-8")

    write_tiny_photos(photos, num_per_class=11, seed=2)  # 24 + 33 reach 50
    code, outcome, stderr = run(photos, root, *TRIGGER)
    assert (code, outcome["version"]) == (0, 2), stderr
    code, outcome, _ = run(photos, root, *TRIGGER)
    assert outcome["reasons"][0].startswith("Nothing to do: no new image since span 3")


def test_drift_stops_the_run_before_training(photos: Path, tmp_path: Path) -> None:
    more = ("--set", "data.stop_above_drift=0.5", "--until", "validation")
    code, _, stderr = run(photos, tmp_path / "runs", *more)
    assert code == 0, stderr
    darken(photos, 15)
    code, outcome, _ = run(photos, tmp_path / "runs", *more)
    assert code == 3
    assert outcome["error"]["cause"].startswith("Span 2 drifted: image/")
    assert "image/brightness" in outcome["error"]["cause"]
    assert "--set data.stop_above_drift=null" in outcome["error"]["fix"]
    accepted = ("--set", "data.stop_above_drift=null", "--until", "validation")
    code, outcome, _ = run(photos, tmp_path / "runs", *accepted)
    assert code == 0
    assert "image/brightness" not in str(outcome["reasons"])
    assert "against 120 of span 1" in Path(outcome["report"]).read_text("utf-8")
