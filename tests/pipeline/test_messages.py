"""What settings and a run that cannot start tell a user, word for word."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import interrupting
import pytest
from refusals import refusal, slimworks, told

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.pipeline.config import PipelineConfig, load_config
from slimworks.pipeline.paths import PipelinePaths, exclusive
from slimworks.pipeline.run import RunOptions, run_pipeline

STEPS = (
    "Steps: ingest, statistics, schema, validation, transform, trainer, baseline, evaluator, "
    "gate, replay, pusher."
)


# --- A run that cannot start ------------------------------------------------------------------


def test_run_without_data(tmp_path: Path) -> None:
    expected = (
        "No data: data.source is not set.",
        "Give a folder of photos: slimworks run --data DIR.",
    )
    assert told("run", "--root", tmp_path / "runs") == expected
    assert refusal(ConfigError, run_pipeline, PipelineConfig(), RunOptions()) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--from", "--until", "--no-cache"])
def test_step_that_there_is_not(tmp_path: Path, option: str) -> None:
    assert told("run", "--data", tmp_path, option, "evaluater") == (
        f"{option} 'evaluater' is no step. Did you mean 'evaluator'?",
        STEPS,
    )


def test_first_step_after_the_last(tmp_path: Path) -> None:
    assert told("run", "--data", tmp_path, "--from", "gate", "--until", "trainer") == (
        "--from gate comes after --until trainer.",
        STEPS,
    )


def test_run_with_a_checkpoint_that_does_not_exist(tmp_path: Path, tiny_photos: Path) -> None:
    path = tmp_path / "model.ckpt"
    config = load_config(None, (f"train.checkpoint_path={path}",), str(tiny_photos))
    assert refusal(ConfigError, run_pipeline, config, RunOptions(root=tmp_path / "runs")) == (
        f"train.checkpoint_path {path} does not exist.",
        "Give a TF-Slim checkpoint: its prefix (without .index), its file or its folder.",
    )


def test_other_data_of_the_same_name(tmp_path: Path) -> None:
    paths = PipelinePaths(tmp_path, "photos")
    paths.create("/cats/photos", is_name_chosen=False)
    assert refusal(ConfigError, paths.create, "/dogs/photos", False) == (
        f"The pipeline 'photos' below {tmp_path} is that of /cats/photos, not of /dogs/photos.",
        "Name this one: --set name=photos-2, or confirm that the data moved: --set name=photos",
    )
    paths.create("/cats/photos", is_name_chosen=False)
    paths.create("/dogs/photos", is_name_chosen=True)  # what the message says to type


def test_pipeline_that_another_run_is_using(tmp_path: Path) -> None:
    paths = PipelinePaths(tmp_path, "photos")
    paths.create("/photos", is_name_chosen=False)
    with exclusive(paths):
        assert refusal(ConfigError, exclusive(paths).__enter__) == (
            f"Another run (process {os.getpid()}) is using {tmp_path / 'photos'}.",
            "Wait for it, or use another --root.",
        )


def test_run_root_of_a_newer_slimworks(tmp_path: Path) -> None:
    paths = PipelinePaths(tmp_path, "photos")
    files.write_json(paths.home / "slimworks.json", {"format": 99, "slimworks": "9.0"})
    cause, fix = refusal(ConfigError, paths.check_format)
    assert cause.startswith(
        f"{paths.home} was written by SlimWorks 9.0 (run root format 99); this SlimWorks "
    )
    assert cause.endswith(" reads format 1.")
    assert fix == "Upgrade SlimWorks, or use another --root."


def test_run_root_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    paths = PipelinePaths(tmp_path / "file", "photos")
    assert refusal(ConfigError, paths.create, "/photos", False) == (
        f"The run root {paths.home} cannot be written: Not a directory.",
        "Give a folder that you may write to: --root DIR.",
    )


# --- Configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "cause", "fix"),
    [
        (b"\xff\xfe\x00", "{path} is not UTF-8 text.", "Save it as UTF-8."),
        (
            b"- a\n",
            "{path} holds a list, expected sections like `data:`.",
            "Start from `slimworks init --data PHOTOS`.",
        ),
        (b"train: 3\n", "train is 3: ", "Change it in the config or by --set train=VALUE."),
        (b"train: [\n", "{path} is not valid YAML: while parsing a flow ", "Mend that line."),
        (
            None,
            "{path} cannot be read: No such file or directory.",
            "Give an existing file to --config, or write one: slimworks init --data PHOTOS.",
        ),
    ],
    ids=["no text", "list", "section that is a number", "no YAML", "missing"],
)
def test_config_file(tmp_path: Path, content: bytes | None, cause: str, fix: str) -> None:
    path = tmp_path / "pipeline.yaml"
    if content is not None:
        path.write_bytes(content)
    found = told("run", "--config", path)
    assert found[0].startswith(cause.format(path=path))
    assert found[1] == fix


@pytest.mark.parametrize(
    ("settings", "cause", "fix"),
    [
        (
            ["train=3", "train.epochs=1"],
            "train is 3, expected a section.",
            "Write `train:`.",
        ),
        (
            ["train.epochs"],
            "--set 'train.epochs' has no '='.",
            "Write it like --set train.batch_size=16.",
        ),
        (
            ["train.=3"],
            "--set 'train.=3' names no key.",
            "Write it like --set train.batch_size=16.",
        ),
        (
            ["name=[a"],
            "--set 'name=[a': the value is not valid YAML.",
            "Quote it: --set \"name='[a'\"",
        ),
        (
            ["data.group_regex=[^/]+"],
            "--set 'data.group_regex=[^/]+': the value is not valid YAML.",
            "Quote it: --set \"data.group_regex='[^/]+'\"",
        ),
        (
            ["data.group_regex=[ab]"],
            "data.group_regex is ['ab']: input should be a valid string.",
            "Quote it, in the config or by --set \"data.group_regex='VALUE'\"",
        ),
        (
            ["data.slice_columns=[1]"],
            "data.slice_columns.0 is 1: input should be a valid string.",
            "Change it in the config or by --set data.slice_columns.0=VALUE.",
        ),
        (
            ["push.keep_version=3"],
            "Unknown key 'push.keep_version'. Did you mean 'push.keep_versions'?",
            "Keys of section 'push': base_path, confirm_timeout_seconds, keep_versions, label, "
            "server, server_base_path, server_ca, server_cert, server_key.",
        ),
        (
            ["name=My Photos"],
            "name is 'My Photos', expected up to 63 lower-case letters, digits, '-' and '_', "
            "starting with a letter or digit.",
            "Change name in the config or by --set.",
        ),
        (
            ["train.batch_size=many"],
            "train.batch_size is 'many': input should be a valid integer, unable to parse string "
            "as an integer.",
            "Change it in the config or by --set train.batch_size=VALUE.",
        ),
        (
            ["gate.min_accuracy=90"],
            "gate.min_accuracy is 90, expected a fraction in [0, 1].",
            "For 90 percent write 0.9.",
        ),
        (
            ["gate.min_accuracy=-1"],
            "gate.min_accuracy is -1, expected a fraction in [0, 1].",
            "Write 0.9 for 90 percent.",
        ),
    ],
)
def test_wrong_setting(settings: list[str], cause: str, fix: str) -> None:
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    assert told("run", *arguments) == (cause, fix)


@pytest.mark.parametrize(
    ("settings", "cause", "fix"),
    [
        (
            ["data.eval_fraction=0.45", "data.test_fraction=0.45"],
            "data.eval_fraction + data.test_fraction is 0.9, which leaves less than 0.2 to train.",
            "Change data",
        ),
        (
            ["data.group_regex=("],
            "'(' is not a regular expression: missing ), unterminated subpattern at position 0",
            "Change data.group_regex",
        ),
    ],
)
def test_setting_of_the_data_that_cannot_be(settings: list[str], cause: str, fix: str) -> None:
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    found = told("run", *arguments)
    assert cause in found[0]
    assert found[1].startswith(fix)


def test_init_where_it_cannot_write(tmp_path: Path, tiny_photos: Path) -> None:
    slimworks("init", tmp_path, "--data", tiny_photos)
    path = tmp_path / "pipeline.yaml"
    assert told("init", tmp_path, "--data", tiny_photos) == (
        f"{path} exists.",
        "Give another folder, or replace it with --force.",
    )
    cause, fix = told("init", path, "--data", tiny_photos)
    assert cause.startswith(f"{path / 'pipeline.yaml'} cannot be written: ")
    assert fix == "Give a folder that you may write to."


def test_demo_where_it_cannot_write(tmp_path: Path) -> None:
    from slimworks.pipeline.demo import run_demo

    (tmp_path / "file").write_text("x", encoding="utf-8")
    root = tmp_path / "file" / "demo"
    assert refusal(ConfigError, run_demo, root) == (
        f"{root} cannot be written: Not a directory.",
        "Give another: make demo ROOT=DIR",
    )


def test_kubeflow_without_data(tmp_path: Path) -> None:
    assert told("compile", "--output", tmp_path / "pipeline.yaml") == (
        "No data: data.source is not set.",
        "Give the folder as the containers see it: --data /workspace/photos.",
    )
    assert list(tmp_path.iterdir()) == []


def test_kubeflow_without_its_kubernetes_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import kfp

    from slimworks.pipeline.kubeflow.compiling import compile_text

    monkeypatch.delattr(kfp, "kubernetes", raising=False)
    monkeypatch.setitem(sys.modules, "kfp.kubernetes", None)  # as with Python 3.10
    config = load_config(None, (), "photos")
    assert refusal(ConfigError, compile_text, config, "image") == (
        "kfp-kubernetes, which mounts the workspace volume, is not installed: with Python 3.10 it "
        "cannot be installed beside TFX.",
        "Compile with Python 3.11.",
    )


# --- Ends of a process ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "cause", "fix"),
    [
        (["predic"], "Unknown verb 'predic'. Did you mean 'predict'?", "See slimworks --help."),
        (["runs", "--rot", "x"], "No such option '--rot'.", "See slimworks runs --help."),
    ],
)
def test_command_line_that_is_not_understood(arguments: list[str], cause: str, fix: str) -> None:
    command = [sys.executable, "-m", "slimworks", *arguments]
    first, second = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
    # Click words the first line of an unknown option differently from version to version.
    assert first.startswith("Error: ")
    assert first.endswith(cause) or "No such option" in first
    assert second == f"Fix:   {fix}"


def test_command_that_is_interrupted(tmp_path: Path) -> None:
    image = tmp_path / "cat.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "slimworks", "predict", str(image), "--server", address]
        process = interrupting.start(command, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()  # it is waiting for an answer now
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 130
    assert errors.strip() == "Error: Interrupted.\nFix:   Run the same command again: it goes on."
