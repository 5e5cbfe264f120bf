"""`slimworks verify`, and the manifest that a run leaves for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import SETTINGS, run
from refusals import told

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.pipeline.manifest import source_facts
from slimworks.pipeline.verification import read_recorded, verify

MANIFEST = {"format": 1, "run_id": "r", "result": {"weights_digest": "0"}}


def _verify(*arguments: object) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "slimworks", "verify", *map(str, arguments), "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout.splitlines()[-1])


def test_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    cause, fix = told("verify", tmp_path)
    assert cause.endswith("manifest.json does not exist: there is no record to compare with.")
    assert fix == "Give a run that ended, or the output of `slimworks train`."


def test_run_that_trained_nothing_is_refused(tmp_path: Path) -> None:
    files.write_json(tmp_path / contracts.MANIFEST_FILE, {"run_id": "r"})
    assert told("verify", tmp_path) == (
        f"{tmp_path} trained nothing: its manifest has no result.",
        "List the runs with their states: slimworks runs",
    )


def test_manifest_of_a_newer_slimworks_is_refused(tmp_path: Path) -> None:
    files.write_json(tmp_path / contracts.MANIFEST_FILE, {**MANIFEST, "format": 2})
    cause, fix = told("verify", tmp_path, kind=DataError)
    assert cause.endswith("has format 2, this SlimWorks reads up to 1.")
    assert fix.startswith("Upgrade SlimWorks: docs/upgrading.md.")


def test_root_without_runs_is_refused(tmp_path: Path) -> None:
    cause, _ = told("verify", "--root", tmp_path)
    assert cause == f"No run below {tmp_path}."


@pytest.mark.parametrize("missing", ["label map", "ingested examples"])
def test_data_that_are_gone_are_named(tmp_path: Path, missing: str) -> None:
    labels = tmp_path / "label_map"
    if missing != "label map":
        labels.mkdir()
    source = source_facts(
        examples=str(tmp_path / "examples"),
        label_map=str(labels),
        transform_graph=None,
        summary={},
        transform={"family": "lenet", "stored_size": 28, "num_channels": 1},
    )
    data = {"stored_examples": str(tmp_path / "stored")}
    value = {**MANIFEST, "source": source, "data": data}
    files.write_json(tmp_path / contracts.MANIFEST_FILE, value)
    with pytest.raises(DataError, match=f"The {missing} of this training are not there any more"):
        verify(read_recorded(tmp_path, "r"), ())


@pytest.mark.slow
def test_a_run_is_made_again_bit_for_bit(tiny_photos: Path, tmp_path: Path) -> None:
    settings = (*SETTINGS, "train.epochs=2", "train.deterministic=true")
    code, outcome, stderr = run(tiny_photos, tmp_path, settings=settings)
    assert code in (0, 10), stderr  # the gate may refuse so short a training
    manifest = files.read_json(outcome["manifest"])
    assert manifest["run_id"] == outcome["run_id"]
    assert manifest["model"] == outcome["model"]
    assert manifest["source"]["images_by_split"]["train"] > 0
    assert manifest["seeds"] == {"data.split_seed": 0, "train.seed": 0}
    assert f"manifest: {outcome['manifest']}" in stderr
    assert f"tensorboard --logdir {outcome['model']}/logs" in stderr

    code, found = _verify("--root", tmp_path)
    assert (code, found.get("verdict"), found.get("level")) == (0, "equal", "bit-equal"), found
    assert found["weights_digest"] == found["new_weights_digest"]

    manifest["result"]["weights_digest"] = "0" * 64
    files.write_json(outcome["manifest"], manifest)
    code, found = _verify("--root", tmp_path, outcome["run_id"])
    assert (code, found["verdict"], found["differences"]) == (4, "differs", []), found

    manifest["packages"]["versions"]["numpy"] = "0.1"
    files.write_json(outcome["manifest"], manifest)
    code, found = _verify("--root", tmp_path)
    assert code == 2
    assert "packages: numpy 0.1 -> " in found["error"]["cause"]


@pytest.mark.slow
def test_a_trained_model_is_verified_after_its_stored_examples_are_gone(
    tiny_examples: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("examples", "label_map", "report"):
        (source / name).symlink_to(tiny_examples / name)
    model = tmp_path / "model"
    command = [sys.executable, "-m", "slimworks", "train", "--examples", str(source)]
    command += ["--output", str(model)]
    for setting in ("model.net=lenet", "train.epochs=1", "train.deterministic=true"):
        command += ["--set", setting]
    trained = subprocess.run(command, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    assert f"wrote {model}\n  saved_model/ " in trained.stdout
    assert f"next: slimworks evaluate --model {model} --examples " in trained.stdout
    code, found = _verify(model)
    assert (code, found.get("verdict")) == (0, "equal"), found


@pytest.mark.slow
def test_find_lr_draws_a_curve_and_trains_nothing(tiny_examples: Path, tmp_path: Path) -> None:
    target = tmp_path / "rate"
    command = [sys.executable, "-m", "slimworks", "train", "--examples", str(tiny_examples)]
    command += ["--output", str(target), "--find-lr", "--set", "model.net=lenet"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    rate = files.read_json(target / "learning_rate.json")["suggested"]
    assert f"suggested learning rate: {rate:g}\n" in found.stdout
    assert f"--set train.learning_rate={rate:g}" in found.stdout
    assert sorted(path.name for path in target.iterdir()) == [
        "learning_rate.json",
        "learning_rate.svg",
    ]
    assert [path for path in tmp_path.iterdir() if path != target] == []
