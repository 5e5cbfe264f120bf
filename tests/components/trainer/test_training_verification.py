"""The manifest beside a model, and what `verify` makes of it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slimworks.components import contracts, files
from slimworks.components.checkpoints.digests import digest_of_checkpoint
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.examples.reading import count_examples
from slimworks.components.trainer import verification
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.manifest import checkpoint_facts
from slimworks.components.trainer.train import TrainInputs, train

SETTINGS = {"epochs": 2, "optimizer": "adam", "learning_rate": 0.002, "batch_size": 16}


def _inputs(tiny: Path) -> TrainInputs:
    return TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))


@pytest.fixture(scope="module")
def model(tiny_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(
        _inputs(tiny_examples),
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(SETTINGS),
        ExportConfig(),
    )
    return folder / "model"


@pytest.fixture
def manifest(model: Path) -> dict[str, Any]:
    value: dict[str, Any] = files.read_json(model / contracts.MANIFEST_FILE)
    return value


def test_manifest_names_and_digests_everything_that_went_in(
    manifest: dict[str, Any], model: Path, tiny_examples: Path
) -> None:
    assert manifest["settings"]["train"]["optimizer"] == "adam"
    assert manifest["seeds"] == {"train.seed": 0}
    assert manifest["data"]["stored_examples_digest"] == files.sha256_of_tree(
        tiny_examples / "stored"
    )
    labels = contracts.LabelMap.read(tiny_examples / "label_map")
    assert manifest["data"][contracts.LABEL_MAP_DIGEST] == labels.digest
    assert manifest["checkpoint"] is None
    assert len(manifest["code"]["digest"]) == 64
    assert manifest["packages"]["versions"]["tensorflow"].startswith("2.")
    assert manifest["machine"]["num_cores"] >= 1
    assert manifest["tensorflow"]["onednn"] in (True, False)
    assert manifest["result"]["weights_digest"] == digest_of_checkpoint(
        model / contracts.CHECKPOINTS_FOLDER
    )


def test_unchanged_inputs_are_found_unchanged(
    manifest: dict[str, Any], tiny_examples: Path
) -> None:
    assert verification.changed_inputs(manifest, _inputs(tiny_examples)) == []


def test_changed_data_and_labels_are_named(
    manifest: dict[str, Any], tiny_examples: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_examples / "stored", tmp_path / "stored")
    shard = Path(contracts.split_files(tmp_path / "stored", "train")[0])
    shard.write_bytes(shard.read_bytes()[:-1])
    contracts.LabelMap(("left", "middle", "wrong")).write(tmp_path / "label_map")
    inputs = TrainInputs(str(tmp_path / "stored"), "", str(tmp_path / "label_map"))
    changes = verification.changed_inputs(manifest, inputs)
    assert [change.name for change in changes] == ["data", "label_map"]
    with pytest.raises(DataError, match=r"inputs changed \(data: .*stored was .*; label_map: "):
        verification.require_unchanged(changes)


def test_changed_checkpoint_is_named(
    manifest: dict[str, Any], model: Path, tiny_examples: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoint_facts(str(model / contracts.CHECKPOINTS_FOLDER))
    started = {**manifest, "checkpoint": checkpoint}
    assert verification.changed_inputs(started, _inputs(tiny_examples)) == []
    other = {**manifest, "checkpoint": {**(checkpoint or {}), "weights_digest": "0" * 64}}
    (change,) = verification.changed_inputs(other, _inputs(tiny_examples))
    assert change.name == "checkpoint"
    assert "was 000000000000, is " in change.detail
    gone = {**manifest, "checkpoint": {"path": str(tmp_path / "no.ckpt"), "weights_digest": "0"}}
    (change,) = verification.changed_inputs(gone, _inputs(tiny_examples))
    assert "no.ckpt" in change.detail


def test_changed_code_and_packages_are_named_with_both_versions(
    manifest: dict[str, Any], tiny_examples: Path
) -> None:
    older = copy.deepcopy(manifest)
    older["code"] = {"version": "0.0.1", "digest": "f" * 64, "git": None}
    older["packages"]["versions"]["numpy"] = "1.0"
    older["packages"]["versions"]["left-out"] = "3"
    changes = verification.changed_inputs(older, _inputs(tiny_examples))
    assert [change.name for change in changes] == ["code", "packages"]
    assert "was SlimWorks 0.0.1 (ffffffffffff), is " in changes[0].detail
    assert f"left-out 3 -> missing, numpy 1.0 -> {np.__version__}" in changes[1].detail
    with pytest.raises(ConfigError, match=r"code: was SlimWorks 0\.0\.1") as caught:
        verification.require_unchanged(changes)
    assert caught.value.fix.endswith("--despite code --despite packages")
    assert len(verification.require_unchanged(changes, ("code", "packages"))) == 2
    with pytest.raises(ConfigError, match=r"changed \(packages: "):
        verification.require_unchanged(changes, ("code",))


def _result(model: Path, folder: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
    """The manifest of `model`, and a second model whose manifest differs by `changes`."""
    recorded = files.read_json(model / contracts.MANIFEST_FILE)
    shutil.copytree(model / contracts.CHECKPOINTS_FOLDER, folder / contracts.CHECKPOINTS_FOLDER)
    new = copy.deepcopy(recorded)
    new["result"].update(changes)
    files.write_json(folder / contracts.MANIFEST_FILE, new)
    return recorded, folder


def _at_level(recorded: dict[str, Any], folder: Path, level: str) -> None:
    recorded["determinism"] = {"level": level}
    path = folder / contracts.MANIFEST_FILE
    files.write_json(path, {**files.read_json(path), "determinism": {"level": level}})


@pytest.mark.parametrize("level", ["seeded", "bit-equal"])
def test_equal_weights_are_equal_at_every_level(model: Path, tmp_path: Path, level: str) -> None:
    recorded, new = _result(model, tmp_path / "new")
    _at_level(recorded, new, level)
    found = verification.compare(recorded, model, new, num_eval_images=18)
    assert (found.verdict, found.level, found.differences) == (verification.EQUAL, level, [])


def test_other_weights_differ_where_bits_should_be_equal(model: Path, tmp_path: Path) -> None:
    recorded, new = _result(model, tmp_path / "new", weights_digest="0" * 64)
    _at_level(recorded, new, "bit-equal")
    assert verification.compare(recorded, model, new, 18).verdict == verification.DIFFERS


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.80, "within tolerance"), (0.60, "differs")])
def test_seeded_trainings_may_differ_as_far_as_noise_goes(
    model: Path, tmp_path: Path, accuracy: float, verdict: str
) -> None:
    changes = {"weights_digest": "0" * 64, "best_eval_accuracy": accuracy}
    recorded, new = _result(model, tmp_path / "new", **changes)
    recorded["result"]["best_eval_accuracy"] = 0.85
    _at_level(recorded, new, "seeded")
    found = verification.compare(recorded, None, new, num_eval_images=100)
    assert found.verdict == verdict
    assert found.accuracy_tolerance == pytest.approx(2 * 0.0357, abs=1e-3)
    assert found.differences is None


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_tolerance_is_never_less_than_an_image(accuracy: float) -> None:
    assert verification.accuracy_tolerance(accuracy, 50) >= 1 / 50
    assert verification.accuracy_tolerance(accuracy, 1) == 1.0


def test_another_machine_is_noted(manifest: dict[str, Any]) -> None:
    other = copy.deepcopy(manifest)
    other["machine"]["cpu_flags"] = ["avx_of_the_future"]
    other["machine"]["num_cores"] = 96
    other["tensorflow"]["onednn"] = not manifest["tensorflow"]["onednn"]
    notes = " ".join(verification.machine_changes(other, manifest))
    assert "another processor" in notes
    assert "96 cores then" in notes
    assert "TensorFlow's onednn was" in notes
    assert verification.machine_changes(manifest, manifest) == []


def test_trained_again_it_can_do_the_same(
    manifest: dict[str, Any], model: Path, tiny_examples: Path, tmp_path: Path
) -> None:
    verification.train_again(manifest, _inputs(tiny_examples), tmp_path)
    num_images = count_examples(str(tiny_examples / "stored"), "eval")
    assert num_images == sum(1 for _ in _lines(tiny_examples))
    found = verification.compare(manifest, model, tmp_path / "model", num_images)
    assert found.verdict in (verification.EQUAL, verification.WITHIN_TOLERANCE)
    assert found.notes == []


def _lines(tiny: Path) -> list[Any]:
    from slimworks.components.examples.reading import iterate_examples

    return list(iterate_examples(str(tiny / "examples"), "eval"))
