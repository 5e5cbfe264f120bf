"""The command line as a user meets it: real processes, real exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden_yaml import GOLDEN, assert_is_reviewed

from slimworks.components import files
from slimworks.pipeline.cli import VERBS


def slimworks(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "slimworks", *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_bare_command_is_a_short_menu() -> None:
    result = slimworks()
    assert result.returncode == 0
    assert "slimworks run --data photos/" in result.stdout
    assert len(result.stdout.splitlines()) < 20


def test_help_starts_with_examples_and_lists_every_verb() -> None:
    result = slimworks("--help")
    assert result.stdout.startswith("Examples:\n")
    for verb in VERBS:
        assert f"  {verb} " in result.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_each_verb_starts_with_examples(verb: str) -> None:
    result = slimworks(verb, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Examples:\n  slimworks {verb}")
    # A server prints no result, and its flags are TensorFlow Serving's.
    assert "--json" in result.stdout or verb == "serve"


def test_unknown_verb_suggests_the_nearest() -> None:
    result = slimworks("predic")
    assert result.returncode == 2
    assert "Error: Unknown verb 'predic'. Did you mean 'predict'?" in result.stderr


def test_unknown_option_is_a_usage_error_without_a_traceback() -> None:
    result = slimworks("run", "--dta", "x")
    assert result.returncode == 2
    assert "No such option" in result.stderr
    assert "Traceback" not in result.stderr


def test_errors_are_two_lines_and_json_on_request(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    result = slimworks("run", "--data", missing, "--root", str(tmp_path), "--json")
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("Error: ")
    assert missing in first
    assert second.startswith("Fix:   ")
    assert json.loads(result.stdout)["error"]["exit_code"] == 2


def test_traceback_only_with_debug(tmp_path: Path) -> None:
    arguments = ("run", "--data", str(tmp_path / "none"))
    assert "Traceback" not in slimworks(*arguments).stderr
    assert "Traceback" in slimworks(*arguments, "--debug").stderr


def _photos(folder: Path, **num_by_class: int) -> Path:
    from PIL import Image

    for class_name, number in num_by_class.items():
        (folder / class_name).mkdir(parents=True)
        for index in range(number):
            color = (index * 5 % 256, len(class_name) * 20, index * 11 % 256)
            Image.new("RGB", (16, 16), color).save(folder / class_name / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("num_by_class", "exit_code", "cause"),
    [
        ({}, 3, "is empty"),
        ({"cats": 9}, 3, "cats"),
        ({"cats": 30, "dogs": 2}, 3, "The class 'dogs' has 2 usable images, fewer than"),
    ],
    ids=["empty folder", "one class", "class of two photos"],
)
def test_data_that_cannot_be_used(
    tmp_path: Path, num_by_class: dict[str, int], exit_code: int, cause: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    _photos(photos, **num_by_class)
    result = slimworks("run", "--data", str(photos), "--root", str(tmp_path / "runs"))
    assert result.returncode == exit_code, result.stderr
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert cause in error
    assert "Fix:   " in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_network_and_key_and_step(tmp_path: Path, tiny_photos: Path) -> None:
    run = ("run", "--data", str(tiny_photos), "--root", str(tmp_path))
    result = slimworks(*run, "--set", "model.net=mobilnet_v1_025")
    assert result.returncode == 2
    assert "mobilenet_v1_025" in result.stderr
    result = slimworks(*run, "--set", "train.epoch=1")
    assert result.returncode == 2
    assert "Did you mean 'train.epochs'?" in result.stderr
    result = slimworks(*run, "--until", "traner")
    assert result.returncode == 2
    assert "--until 'traner' is no step. Did you mean 'trainer'?" in result.stderr


def test_missing_checkpoint_is_found_before_anything_runs(
    tmp_path: Path, tiny_photos: Path
) -> None:
    result = slimworks(
        "run", "--data", str(tiny_photos), "--root", str(tmp_path),
        "--set", "train.checkpoint_path=/none/model.ckpt",
    )  # fmt: skip
    assert result.returncode == 2
    assert "train.checkpoint_path /none/model.ckpt does not exist." in result.stderr


def test_run_root_of_a_newer_version_is_refused(tmp_path: Path, tiny_photos: Path) -> None:
    home = tmp_path / "photos0"
    for name in ("run", "runs", "show"):
        files.write_json(home / "slimworks.json", {"format": 99, "slimworks": "9.0"})
        arguments = ["--root", str(tmp_path)]
        if name == "run":
            arguments += ["--data", str(tiny_photos), "--set", "name=photos0"]
        result = slimworks(name, *arguments)
        assert result.returncode == 2
        assert "was written by SlimWorks 9.0 (run root format 99)" in result.stderr
        assert "Upgrade SlimWorks, or use another --root." in result.stderr


def test_run_root_that_cannot_be_written(tmp_path: Path, tiny_photos: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = slimworks("run", "--data", str(tiny_photos), "--root", str(blocked))
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert "--root DIR" in result.stderr


def test_init_writes_one_file_and_never_replaces_it(tmp_path: Path, tiny_photos: Path) -> None:
    result = slimworks("init", "--data", str(tiny_photos), "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["source"], told["format"]) == (str(tiny_photos), "folders")
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]
    again = slimworks("init", "--data", str(tiny_photos), cwd=tmp_path)
    assert again.returncode == 2
    assert "pipeline.yaml exists." in again.stderr


def test_runs_of_an_empty_root(tmp_path: Path) -> None:
    assert "No runs below" in slimworks("runs", "--root", str(tmp_path)).stdout
    result = slimworks("show", "--root", str(tmp_path))
    assert result.returncode == 2
    assert "No run below" in result.stderr


def test_history_where_nothing_was_pushed(tmp_path: Path) -> None:
    result = slimworks("history", "--root", str(tmp_path))
    assert result.returncode == 2
    assert "Nothing was pushed below" in result.stderr
    result = slimworks("rollback", "--base-path", str(tmp_path))
    assert result.returncode == 2
    assert "has no ledger" in result.stderr


def test_predict_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = slimworks("predict", str(tmp_path / "cat.jpg"))
    assert result.returncode == 2
    assert "cat.jpg does not exist." in result.stderr
    result = slimworks("predict", str(tmp_path))
    assert result.returncode == 2
    assert "holds no image" in result.stderr


def test_predict_without_a_server_says_so(tiny_photos: Path) -> None:
    image = next(tiny_photos.rglob("*.png"))
    result = slimworks("predict", str(image), "--server", "127.0.0.1:9", "--timeout", "2")
    assert result.returncode == 5
    assert "127.0.0.1:9" in result.stderr


def test_nets_lists_and_describes() -> None:
    listed = json.loads(slimworks("nets", "--json").stdout)["nets"]
    assert {"lenet", "mobilenet_v1_025", "vgg_16"} <= {net["name"] for net in listed}
    result = slimworks("nets", "lenet")
    assert result.returncode == 0, result.stderr
    assert "LeNet/conv1/weights" in result.stdout
    assert "3,274,634 trainable parameters" in result.stdout
    assert slimworks("nets", "lennet").returncode == 2


def test_doctor_finds_this_machine_healthy_and_a_dead_server_not(tmp_path: Path) -> None:
    result = slimworks("doctor", "--root", str(tmp_path), "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["tensorflow"]["is_healthy"]
    assert checks["write permission"]["is_healthy"]
    result = slimworks("doctor", "--root", str(tmp_path), "--server", "127.0.0.1:9")
    assert result.returncode == 2
    assert "FAIL server" in result.stdout
    assert "Fix: " in result.stdout


@pytest.mark.slow
def test_compile_gives_the_same_text_in_every_process(tmp_path: Path) -> None:
    output = tmp_path / "a.yaml"
    result = slimworks(
        "compile", "--config", str(GOLDEN / "pipeline.yaml"), "--output", str(output)
    )
    if sys.version_info < (3, 11):
        assert result.returncode == 2
        assert "Compile with Python 3.11." in result.stderr
        return
    assert result.returncode == 0, result.stderr
    assert_is_reviewed(output.read_text(encoding="utf-8"), "pipeline.kfp.yaml")


@pytest.mark.parametrize(
    ("typed", "completed"), [("slimworks roll", "rollback"), ("slimworks run --no", "--no-cache")]
)
def test_a_shell_completes_verbs_and_options(typed: str, completed: str) -> None:
    words = typed.split()
    script = (
        'eval "$(slimworks completion bash)"\n'
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}\n"
        '_slimworks_completion slimworks\necho "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert found.stdout.split() == [completed], found.stderr
