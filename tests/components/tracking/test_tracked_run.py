"""What trackers are told of a run: names and lengths that MLflow takes, no figure lost."""

import dataclasses
import os

import pytest
import report_samples
from tracking_samples import tracked

from slimworks.components import contracts, files
from slimworks.components.report.cards import write_cards
from slimworks.components.tracking.tracked_run import (
    MAX_CLASSES,
    MAX_PARAM_CHARACTERS,
    changed_settings,
    evaluation_metrics,
)


def test_settings_that_differ_from_the_default_are_params(tmp_path) -> None:
    settings = ["train.epochs=3", "train.augmentation.flip=false", "tracking.tensorboard=true"]
    run = tracked(tmp_path, *settings)
    assert run.params == {
        "data.source": "/photos",
        "model.net": "lenet",  # what was trained, from model.json
        "model.image_size": "null",
        "train.epochs": "3.0",
        "train.augmentation.flip": "false",
    }


def test_mapping_with_the_users_keys_is_one_value() -> None:
    changed = changed_settings({"a": {"b": {"x/y": 1}, "c": 2}}, {"a": {"b": {}, "c": 2}})
    assert list(changed) == [("a.b", {"x/y": 1})]


def test_long_values_are_cut_and_accounts_are_hidden(tmp_path) -> None:
    names = ",".join(f"class{i}: other{i}" for i in range(200))
    # A config of today has no accounts; a stored one of an earlier build may.
    run = tracked(tmp_path, f"data.rename_classes={{{names}}}", checkpoint_path="s3://k:s3cret@b/x")
    assert len(run.params["data.rename_classes"]) == MAX_PARAM_CHARACTERS
    assert run.params["data.rename_classes"].endswith("…")
    assert run.params["train.checkpoint_path"] == "s3://***@b/x"


def test_metrics_have_their_intervals(tmp_path) -> None:
    figures = evaluation_metrics(report_samples.full_metrics())
    assert figures["accuracy"] == 0.7
    assert (figures["accuracy_low"], figures["accuracy_high"]) == (0.4, 0.89)
    assert (figures["ece_low"], figures["ece_high"]) == (0.05, 0.12)
    assert figures["num_images"] == 10
    assert "top5_accuracy" not in figures  # null: there are no five classes
    assert figures["class/gänse _ blümchen/recall"] == 0.6
    assert figures["class/郁金香/f1_low"] == 0.4
    assert "class/郁金香/precision" not in figures


def test_class_names_that_become_equal_stay_apart() -> None:
    metrics = report_samples.metrics()
    for entry, name in zip(metrics["classes"], ("a/b", "a?b", ".."), strict=True):
        entry["class_name"] = name
    names = {name.split("/")[1] for name in evaluation_metrics(metrics) if "class/" in name}
    assert names == {"a_b", "a_b_1", "__"}


def test_figures_of_very_many_classes_are_left_out() -> None:
    figures = evaluation_metrics(report_samples.metrics(MAX_CLASSES + 1))
    assert figures["accuracy"] == 0.7
    assert not [name for name in figures if name.startswith("class/")]


def test_curves_keep_their_steps_and_times(tmp_path) -> None:
    inputs = report_samples.finished_run(tmp_path)
    path = tmp_path / "model" / contracts.METRICS_FILE
    lines = [
        {"step": 5, "epoch": 0.5, "phase": "head", "split": "train", "loss": 2.0, "seconds": 1.0},
        {"step": 5, "epoch": 0.5, "split": "eval", "accuracy": 0.5, "seconds": 1.5},
        {"step": 9, "epoch": 1.0, "split": "train", "loss": float("nan"), "seconds": 3.0},
    ]
    report_samples.write_jsonl(path, lines)
    os.utime(path, (1_000, 1_000))
    run = tracked(tmp_path, inputs=inputs)
    curves = [dataclasses.astuple(point) for point in run.points if point.step]
    assert curves == [("train/loss", 2.0, 5, 998_000), ("eval/accuracy", 0.5, 5, 998_500)]


def test_tags_say_what_became_of_the_run(tmp_path) -> None:
    inputs = report_samples.finished_run(tmp_path)
    manifest = report_samples.manifest()
    manifest["code"]["git"] = {"commit": "abc123", "is_changed": False}
    files.write_json(tmp_path / contracts.MANIFEST_FILE, manifest)
    assert tracked(tmp_path, inputs=inputs).tags == {
        "slimworks.run_id": "run-1",
        "slimworks.pipeline": "flowers",
        "slimworks.verdict": "fail",
        "slimworks.label_map_version": "2",
        "mlflow.source.name": "slimworks",
        "mlflow.source.git.commit": "abc123",
    }


def test_artifacts_are_the_files_that_exist(tmp_path) -> None:
    inputs = report_samples.finished_run(tmp_path)
    pushed = {"version": 4, "base_path": str(tmp_path / "serving"), "pushed_to": ""}
    inputs = dataclasses.replace(inputs, pushed=pushed)
    write_cards(inputs)
    names = [path.name for path in tracked(tmp_path, inputs=inputs).artifacts]
    assert names == [
        "report.html", "decision.json", "manifest.json", "metrics.json", "model-card.md",
    ]  # fmt: skip
    (tmp_path / "gate" / contracts.DECISION_FILE).unlink()
    assert "decision.json" not in {p.name for p in tracked(tmp_path, inputs=inputs).artifacts}


@pytest.mark.parametrize("error", [None, {"cause": "c", "fix": "f"}])
def test_run_that_ended_early_is_told_too(tmp_path, error) -> None:
    nothing = dataclasses.replace(
        report_samples.finished_run(tmp_path),
        model_dir=None,
        evaluation_dir=None,
        decision_path=None,
        manifest_path=None,
    )
    run = tracked(tmp_path, inputs=nothing, error=error, verdict=None)
    assert run.points == []
    assert run.has_failed == (error is not None)
    assert "slimworks.verdict" not in run.tags
