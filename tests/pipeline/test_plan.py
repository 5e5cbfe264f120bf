"""What a run says before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components import files
from slimworks.pipeline import plan
from slimworks.pipeline.config import load_config
from slimworks.pipeline.dag import NODES
from slimworks.pipeline.paths import PipelinePaths


@pytest.fixture
def paths(tmp_path: Path) -> PipelinePaths:
    return PipelinePaths(tmp_path, "tiny")


def ended(paths: PipelinePaths, run_id: str, states: str, seconds: float) -> None:
    steps = [
        {"name": name, "state": "ran" if mark == "+" else "reused"}
        for name, mark in zip(NODES, states, strict=True)
    ]
    paths.run(run_id).mkdir(parents=True)
    record = {"state": "ended", "steps": steps, "seconds": seconds}
    files.write_json(paths.run(run_id) / "run.json", record)


def test_a_first_run_is_estimated_from_images_network_and_cores(
    tiny_photos: Path, paths: PipelinePaths
) -> None:
    small = load_config(None, ["model.net=lenet", "train.epochs=2"], str(tiny_photos))
    large = load_config(None, ["model.net=inception_v3", "train.epochs=20"], str(tiny_photos))
    line = plan.plan_line(small, paths, NODES)
    assert line.startswith(
        "plan: ingest to pusher, 120 images, lenet at 28 px, 2 epochs; roughly 0:"
    )
    low, high = plan._estimate(small, 120)
    assert low < high < 120
    low_large, high_large = plan._estimate(large, 120)
    assert low_large > 5 * low
    assert high_large > 5 * high


def test_the_last_whole_run_says_how_long(tiny_photos: Path, paths: PipelinePaths) -> None:
    config = load_config(None, [], str(tiny_photos))
    ended(paths, "1", "+" * len(NODES), 65.0)
    ended(paths, "2", "=" * len(NODES), 3.0)
    line = plan.plan_line(config, paths, NODES)
    assert line.endswith("took 1:05 the last time; what did not change is reused")


def test_a_budget_is_the_answer(tiny_photos: Path, paths: PipelinePaths) -> None:
    config = load_config(None, ["train.budget_seconds=600"], str(tiny_photos))
    line = plan.plan_line(config, paths, NODES)
    assert line.endswith("as long as fits into 10:00; ends within 10:00")


def test_what_cannot_be_counted_is_not_guessed(paths: PipelinePaths) -> None:
    config = load_config(None, [], "s3://bucket/photos")
    line = plan.plan_line(config, paths, NODES[:1])
    assert line == "plan: ingest; how long is not known before the images are"
