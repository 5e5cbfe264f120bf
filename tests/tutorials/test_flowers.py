"""docs/tutorials/flowers.md: TF-Slim's walk from the download to label_image, and its questions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tutorials.stories import follow

PAGE = "flowers.md"
pytestmark = [pytest.mark.shared]


def _answers(printed: str) -> list[dict[str, float]]:
    """Probability by class, of label_image.py and of the model loaded from Python."""
    found: list[dict[str, float]] = []
    for name, probability in re.findall(r"^(\w+): (\d\.\d{4})$", printed, flags=re.M):
        if not found or name in found[-1]:
            found.append({})
        found[-1][name] = float(probability)
    return found


def _check_walk(desk: Path, printed: str) -> None:
    """The frozen graph, the model and the server answer the same about the same photo."""
    frozen, loaded = _answers(printed)
    assert sorted(frozen) == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    assert frozen == pytest.approx(loaded, abs=2e-3)
    [row] = re.findall(r"^flower\.jpg +(\w+) +(\d\.\d+)", printed, flags=re.M)
    assert row[0] == max(loaded, key=lambda name: loaded[name])
    assert float(row[1]) == pytest.approx(loaded[row[0]], abs=2e-3)
    assert (desk / "flowers.tflite").stat().st_size > 500_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_walk_from_photos_to_label_image(desk: Path, some_flowers: Path) -> None:
    variables = {"EPOCHS": "1", "PHOTOS": str(some_flowers)}
    printed = follow(PAGE, desk, variables, without=["Troubleshooting"])
    _check_walk(desk, printed)


@pytest.mark.big
@pytest.mark.timeout(7_200)
def test_the_whole_page_with_800_photos(desk: Path, shared: Path) -> None:
    photos = shared / "data/datasets/flowers_800"
    printed = follow(PAGE, desk, {"PHOTOS": str(photos)})

    _check_walk(desk, printed)
    metrics = json.loads((desk / "evaluation/metrics.json").read_text())
    assert metrics["num_images"] == 120
    assert metrics["accuracy"] >= 0.70, "a plain loop reached 0.79 on 200 images"
    fine_tuned, scratch = (
        json.loads((desk / name / "model.json").read_text())["best_eval_accuracy"]
        for name in ("model", "scratch")
    )
    assert fine_tuned > scratch
    assert "suggested" in json.loads((desk / "rate/learning_rate.json").read_text())
    assert "The loss is" in printed, "of the training that meets NaNs"
    assert "exit code 4" in printed
    assert "1001: ImageNet's 1000, with the background as class 0" in printed
    assert "1000 as published: no background class; labels_offset 1" in printed
    assert json.loads((desk / "model-160/model.json").read_text())["image_size"] == 160
    assert "vgg_16 needs at least 224" in printed
    assert "exit code 2" in printed
