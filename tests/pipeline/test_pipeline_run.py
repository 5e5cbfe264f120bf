"""Whole pipelines by the command line on tiny photos: push, reuse, refusal, baseline, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from photo_samples import write_tiny_photos
from pipeline_runs import SETTINGS, run

from slimworks.components import contracts
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess


@pytest.fixture(scope="module")
def root(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run root after one successful run of `photos` (a copy that tests may add to)."""
    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copytree(tiny_photos, folder / "photos")
    code, outcome, stderr = run(folder / "photos", folder / "runs")
    assert code == 0, stderr
    assert (outcome["verdict"], outcome["version"]) == ("pass", 1), stderr
    return folder


def _steps(outcome: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in outcome["steps"]}


def test_outcome_has_the_documented_shape(root: Path) -> None:
    record = json.loads(next((root / "runs/tiny/runs").glob("*/run.json")).read_text())
    documented = {
        "run_id", "verdict", "reasons", "version", "pushed_to", "metrics", "report", "steps",
    }  # fmt: skip
    assert documented <= set(record)
    for step in record["steps"]:
        assert {"name", "seconds", "cached", "reason"} <= set(step)
    assert record["metrics"]["accuracy"] > 0.9
    assert Path(record["report"]).read_text().startswith("<!doctype html>")


def test_steps_say_what_they_used(root: Path) -> None:
    record = json.loads(min((root / "runs/tiny/runs").glob("*/run.json")).read_text())
    steps = _steps(record)
    assert steps["trainer"]["cpu_seconds"] > steps["gate"]["cpu_seconds"] > 0
    assert steps["trainer"]["peak_memory_bytes"] > 100e6
    page = Path(record["report"]).read_text()
    assert "Peak memory of a process" in page


def test_pushed_version_has_its_cards_beside_the_ledger(root: Path) -> None:
    cards = root / "runs/tiny/serving/tiny/.slimworks/cards/1"
    assert "# Model card: tiny, version 1" in (cards / "model-card.md").read_text()
    assert "# Data card: tiny, version 1" in (cards / "data-card.md").read_text()


def test_second_run_reuses_everything_and_says_why(root: Path) -> None:
    code, outcome, _ = run(root / "photos", root / "runs")
    assert code == 0
    first = min((root / "runs/tiny/runs").iterdir()).name
    for step in outcome["steps"]:
        if step["name"] != "baseline":
            assert step["cached"], step
            assert step["reason"] == f"same inputs and settings as in run {first}"
    assert list(contracts.version_folders(root / "runs/tiny/serving/tiny")) == [1]


def test_pushed_version_answers_over_grpc(root: Path) -> None:
    base_path = root / "runs/tiny/serving/tiny"
    images = sorted((root / "photos/left").iterdir())[:5]
    with ServerProcess(str(base_path), "tiny") as server, Client(server.address, "tiny") as client:
        answers = client.predict_files([str(path) for path in images])
    assert [answer.class_names[0] for answer in answers] == ["left"] * 5
    assert {answer.version for answer in answers} == {1}


@pytest.mark.slow
def test_changed_setting_reruns_what_depends_on_it_and_names_it(root: Path) -> None:
    code, outcome, _ = run(root / "photos", root / "runs", "--set", "gate.min_accuracy=0.5")
    steps = _steps(outcome)
    assert code == 0
    assert steps["gate"]["reason"] == "min_accuracy None -> 0.5"
    assert steps["evaluator"]["cached"]
    assert outcome["version"] == 1, "the same model is not pushed twice"


def test_refusal_ends_with_ten_and_a_report(root: Path) -> None:
    code, outcome, stderr = run(root / "photos", root / "runs", "--set", "gate.min_accuracy=1.0")
    assert code == 10
    assert outcome["verdict"] in ("fail", "inconclusive")
    assert outcome["pushed_to"] is None
    assert _steps(outcome)["pusher"]["state"] == "skipped"
    assert Path(outcome["report"]).is_file()
    assert "min_accuracy" in stderr
    assert list(contracts.version_folders(root / "runs/tiny/serving/tiny")) == [1]


def test_inconclusive_keep_ends_with_zero(root: Path) -> None:
    code, outcome, _ = run(
        root / "photos", root / "runs",
        "--set", "gate.min_accuracy=0.97", "--set", "gate.on_inconclusive=keep",
    )  # fmt: skip
    assert outcome["verdict"] == "inconclusive", "nobody proves 0.97 with 20 images"
    assert code == 0
    assert outcome["pushed_to"] is None


def test_until_stops_there(root: Path) -> None:
    code, outcome, _ = run(root / "photos", root / "runs", "--until", "validation")
    assert code == 0
    assert list(_steps(outcome)) == ["ingest", "statistics", "schema", "validation"]
    assert outcome["data"]["groups_in_several_splits"] == 0
    assert outcome["data"]["drift"]["span"] == outcome["data"]["span"] == 1
    assert outcome["verdict"] is None


def test_show_runs_history_and_why_tell_the_story(root: Path) -> None:
    def ask(*arguments: str) -> str:
        command = [sys.executable, "-m", "slimworks", *arguments, "--root", str(root / "runs")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    run_id = min((root / "runs/tiny/runs").iterdir()).name
    assert run_id in ask("runs")
    assert "trainer    ran" in ask("show", run_id)
    assert "label map: version 1\n" in ask("show", run_id)
    assert ask("report", run_id).strip().endswith(f"{run_id}/report.html")
    assert "pushed" in ask("history")
    assert run_id in ask("why", "1")
    assert "  label_map_version: 1\n" in ask("why", "1")


@pytest.mark.slow
def test_deleted_version_is_pushed_again(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    code, outcome, _ = run(root / "photos", copy / "runs")
    assert code == 0
    shutil.rmtree(outcome["pushed_to"])
    code, outcome, _ = run(root / "photos", copy / "runs")
    assert code == 0
    assert not _steps(outcome)["pusher"]["cached"]
    assert Path(outcome["pushed_to"]).is_dir()
    assert _steps(outcome)["trainer"]["cached"]


def test_a_class_that_is_missing_from_a_split_stops_the_run_before_training(
    tmp_path: Path,
) -> None:
    """One patient, one slide, one class: the groups leave nothing of it to evaluate."""
    photos = write_tiny_photos(tmp_path / "photos", num_per_class=150)
    code, outcome, stderr = run(photos, tmp_path / "runs", "--set", "data.group_regex=left|[^/]+$")
    assert code == 3
    error = outcome["error"]
    assert error["cause"].startswith(
        "The examples do not fit: the share of the class 'left' is far from that of the train "
        "split in the eval split"
    )
    assert "data.group_regex" in error["fix"]
    assert "trainer" not in _steps(outcome)
    assert "No test image shows 'left': the gate cannot judge that." in stderr


@pytest.mark.slow
def test_a_budget_cuts_the_training_and_still_ends_in_a_push(
    tiny_photos: Path, tmp_path: Path
) -> None:
    endless = (*(s for s in SETTINGS if not s.startswith("train.epochs")), "train.epochs=100000")
    code, outcome, stderr = run(tiny_photos, tmp_path / "runs", "--budget", "1m", settings=endless)
    assert code == 0, stderr
    assert outcome["version"] == 1
    model = json.loads((Path(outcome["model"]) / contracts.MODEL_FACTS_FILE).read_text())
    assert 10 < model["num_steps"] < 100_000
    assert "the budget ends this phase" in stderr


@pytest.mark.slow
def test_grown_data_is_compared_with_the_last_blessed_model_on_the_same_images(
    tiny_photos: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(tiny_photos, photos)
    settings = (*SETTINGS, "gate.max_accuracy_drop=0.5")
    _, first, _ = run(photos, tmp_path / "runs", settings=settings)
    write_tiny_photos(photos, num_per_class=20, seed=1)
    code, second, stderr = run(photos, tmp_path / "runs", settings=settings)
    assert code == 0, stderr
    assert _steps(second)["ingest"]["reason"] == "the files of the data source changed"
    assert (first["version"], second["version"]) == (1, 2)
    blessings = (tmp_path / "runs/tiny/artifacts/gate/blessing").glob("*/decision.json")
    newest = max(blessings, key=lambda path: int(path.parent.name))  # the execution's id
    decision = json.loads(newest.read_text())
    assert decision["baseline"] is not None
    assert any("accuracy_change" in bound["name"] for bound in decision["bounds"])
    code, third, _ = run(photos, tmp_path / "runs", settings=settings)
    assert all(step["cached"] for step in third["steps"] if step["name"] != "baseline"), third
