"""`slimworks export` and `slimworks freeze`: what they refuse, print and write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import slimworks, told

from slimworks.components import contracts, files
from slimworks.components.errors import DataError, ServingError
from slimworks.pipeline.verbs import exports

ORIGIN_FIX = "Type `--model DIR` for the output of `slimworks train`, or `--checkpoint FILE`."


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "log_to_stderr", lambda: None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from slimworks.components.checkpoints.save import save
    from slimworks.components.nets.module import SlimModule
    from slimworks.components.nets.registry import get_net

    prefix = tmp_path_factory.mktemp("checkpoint") / "lenet.ckpt"
    module = SlimModule(get_net("lenet"), num_classes=3, image_size=28, num_channels=1)
    save(module.variables_by_name, prefix)
    return prefix


def _printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert slimworks(*arguments) == 0
    return capsys.readouterr().out


# --- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["export", "freeze"])
def test_neither_or_both_origins(verb: str, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "out")
    assert told(verb, *output) == ("Give either --model or --checkpoint.", ORIGIN_FIX)
    assert told(verb, "--model", tmp_path, "--checkpoint", "f.ckpt", *output) == (
        "--model and --checkpoint exclude each other.",
        ORIGIN_FIX,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("--net", "lenet"), ("--image-size", 64), ("--labels", "l.txt"), ("--use-grayscale", None)],
)
def test_model_knows_its_own(tmp_path: Path, option: str, value: object) -> None:
    given = (option,) if value is None else (option, value)
    assert told("export", "--model", tmp_path, *given, "--output", tmp_path / "out") == (
        f"{option} does not go with --model: the model knows its own.",
        f"Leave {option} out.",
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            ("--batch-size", 2),
            "--batch-size has no use here: a SavedModel takes any number of images.",
        ),
        (
            ("--format", "onnx", "--top-k", 2),
            "--top-k has no use here: this format gives all classes.",
        ),
    ],
)
def test_options_of_other_formats(tmp_path: Path, given: tuple[object, ...], reason: str) -> None:
    cause, fix = told("export", "--checkpoint", "f.ckpt", *given, "--output", tmp_path / "out")
    assert cause == reason
    assert fix.startswith("Leave --")


def test_top_k_of_a_trained_model(tmp_path: Path) -> None:
    cause, _ = told("export", "--model", tmp_path, "--top-k", 2, "--output", tmp_path / "out")
    assert cause == "--top-k has no use here: the model was exported with its own."


@pytest.mark.parametrize("given", [("freeze",), ("export", "--format", "tflite")])
def test_file_that_exists(tmp_path: Path, given: tuple[str, ...]) -> None:
    output = tmp_path / "mine.pb"
    output.write_text("keep this", encoding="utf-8")
    assert told(*given, "--checkpoint", "f.ckpt", "--output", output) == (
        f"{output} exists.",
        "Give a new file to --output.",
    )
    assert output.read_text(encoding="utf-8") == "keep this"


def test_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    cause, _ = told("freeze", "--checkpoint", tmp_path / "f.ckpt", "--output", tmp_path / "f.pb")
    assert cause.startswith(f"--checkpoint is {tmp_path / 'f.ckpt'}, but neither")


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    arguments = ("freeze", "--model", tmp_path, "--output", tmp_path / "f.pb")
    assert told(*arguments, kind=DataError) == (
        f"{tmp_path / 'model.json'} is missing or names no classes.",
        "Give a model folder written by `slimworks train`.",
    )


def test_difference_leaves_nothing_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slimworks.components.export import export

    uniform = np.full((16, 3), 1 / 3, np.float32)
    monkeypatch.setattr(export, "checkpoint_probabilities", lambda *_: uniform)
    arguments = ("freeze", "--checkpoint", checkpoint, "--output", tmp_path / "f.pb")
    cause, _ = told(*arguments, kind=ServingError)
    assert cause.startswith("frozen graph is not the checkpoint: on generated image ")
    assert list(tmp_path.iterdir()) == []


# --- Results ----------------------------------------------------------------------------------


def test_freeze_prints_names_and_parity(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "frozen.pb"
    lines = _printed(capsys, "freeze", "--checkpoint", checkpoint, "--output", output).splitlines()
    assert lines[0] == f"lenet at 28 px, 3 classes, lenet preprocessing, from {checkpoint}"
    assert lines[1].split() == ["against", "the", "checkpoint", "max", "|dp|", "top-1", "agreement"]
    assert lines[2].startswith("frozen graph ")
    assert lines[2].endswith("  16 of 16 images")
    assert lines[3] == "input: input; outputs: LeNet/fc4/BiasAdd, Predictions/Reshape_1"
    assert lines[4] == f"wrote {output}"
    assert output.stat().st_size > 4 * 3_000_000


def test_export_as_json(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "net.tflite"
    arguments = ("--checkpoint", checkpoint, "--format", "tflite", "--output", output)
    value = json.loads(_printed(capsys, "export", *arguments, "--json"))
    assert (value["net"], value["image_size"], value["num_classes"]) == ("lenet", 28, 3)
    assert value["outputs"] == ["logits", "probabilities"]
    assert value["parity"][0]["num_agreeing"] == 16
    assert value["digest"] == files.sha256_of_file(output)


@pytest.mark.slow
def test_export_of_a_trained_model_is_compared_in_every_format(
    tiny_examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
    from slimworks.components.trainer.train import TrainInputs, train

    model = tmp_path / "model"
    train(
        TrainInputs(*(str(tiny_examples / name) for name in ("stored", "graph", "label_map"))),
        str(model),
        str(tmp_path / "work"),
        ModelConfig(net="lenet"),
        TrainConfig(max_number_of_steps=4),
        ExportConfig(),
    )

    def parity_of(verb: str, *options: str) -> list[dict[str, Any]]:
        output = tmp_path / "-".join((verb, *options))
        text = _printed(capsys, verb, "--model", model, *options, "--output", output, "--json")
        value = json.loads(text)
        assert value["checkpoint_path"].startswith(str(model / contracts.CHECKPOINTS_FOLDER))
        rows: list[dict[str, Any]] = value["parity"]
        return rows

    assert [row["artifact"] for row in parity_of("export")] == [
        f"SavedModel {name}"
        for name in ("serving_default", "predict_pixels", "classify", "evaluate")
    ]
    for verb, *options in (
        ("freeze",),
        ("freeze", "--fold-batch-norm"),
        ("export", "--format=tflite"),
    ):
        (row,) = parity_of(verb, *options)
        assert row["num_agreeing"] == row["num_images"] == 16
        assert row["max_difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.shared
def test_published_checkpoint_on_real_photos_from_the_shell(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "slimworks", "export", "--net", "mobilenet_v1_025"),
            *("--checkpoint", str(data / "checkpoints" / "mobilenet_v1_0.25_128")),
            *("--images", str(data / "photos"), "--json"),
            *("--labels", str(data / "checkpoints" / "imagenet_labels_1001.txt")),
            *("--output", str(tmp_path / "model")),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    value = json.loads(done.stdout)
    assert value["image_size"] == 128, "by its folder's name"
    rows = value["parity"]
    assert len(rows) == 4
    assert all(row["num_agreeing"] == row["num_images"] == 3 for row in rows)
    assert all(row["max_difference"] < 1e-5 for row in rows)
    names = contracts.LabelMap.read(tmp_path / "model" / contracts.EXTRA_ASSETS_FOLDER).class_names
    assert names[:2] == ("background", "tench, Tinca tinca")
