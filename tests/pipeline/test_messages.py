"""What the command line and a starting run tell a user, word for word."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError, SlimWorksError
from slimworks.pipeline.cli import cli
from slimworks.pipeline.config import PipelineConfig, load_config
from slimworks.pipeline.paths import PipelinePaths, exclusive
from slimworks.pipeline.run import RunOptions, run_pipeline

Refusal = tuple[str, str]
STEPS = (
    "Steps: ingest, statistics, schema, validation, transform, trainer, baseline, evaluator, "
    "gate, replay, pusher."
)


def refusal(
    kind: type[SlimWorksError], function: Callable[..., object], *arguments: Any
) -> Refusal:
    """Cause and fix of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    return caught.value.cause, caught.value.fix


def slimworks(*arguments: object) -> Any:
    """Runs the command line in this process."""
    return cli.main([str(argument) for argument in arguments], standalone_mode=False)


def told(*arguments: object, kind: type[SlimWorksError] = ConfigError) -> Refusal:
    """Cause and fix of the error that a command line ends with."""
    return refusal(kind, slimworks, *arguments)


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
            "Quote it: --set 'name=\"...\"'.",
        ),
        (
            ["push.keep_version=3"],
            "Unknown key 'push.keep_version'. Did you mean 'push.keep_versions'?",
            "Keys of section 'push': base_path, keep_versions.",
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
            "eval_fraction + test_fraction is 0.9, which leaves less than 0.2 to train",
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

    from slimworks.pipeline.kubeflow import _pipeline

    monkeypatch.delattr(kfp, "kubernetes", raising=False)
    monkeypatch.setitem(sys.modules, "kfp.kubernetes", None)  # as with Python 3.10
    assert refusal(ConfigError, _pipeline, None, "photos", PipelineConfig(), "image", "m") == (
        "kfp-kubernetes, which mounts the workspace volume, is not installed: with Python 3.10 it "
        "cannot be installed beside TFX.",
        "Compile with Python 3.11.",
    )


# --- Runs -------------------------------------------------------------------------------------


def write_run(root: Path, run_id: str, name: str = "photos") -> None:
    paths = PipelinePaths(root, name)
    paths.create("/photos", is_name_chosen=False)
    record = {"run_id": run_id, "name": name, "state": "interrupted", "steps": []}
    files.write_json(paths.run(run_id) / "run.json", record)


@pytest.mark.parametrize("verb", ["show", "report"])
def test_run_that_is_not_to_be_found(tmp_path: Path, verb: str) -> None:
    assert told(verb, "--root", tmp_path) == (
        f"No run below {tmp_path}.",
        "Give the --root that `slimworks run` used.",
    )
    for run_id in ("20261121-053000-3f2a", "20261121-064500-77aa"):
        write_run(tmp_path, run_id)
    cause, fix = told(verb, "20261121", "--root", tmp_path)
    assert cause.startswith(f"'20261121' names several runs below {tmp_path}.")
    assert fix.startswith("List them: slimworks runs")
    cause, fix = told(verb, "20261121-064500-77ab", "--root", tmp_path)
    assert cause == (
        f"'20261121-064500-77ab' names no run below {tmp_path}. "
        "Did you mean '20261121-064500-77aa'?"
    )
    assert fix.startswith("List them: slimworks runs")


def test_run_without_a_report(tmp_path: Path) -> None:
    write_run(tmp_path, "20261121-053000-3f2a")
    assert told("report", "--root", tmp_path) == (
        "Run 20261121-053000-3f2a (interrupted) has no report.",
        "Run the pipeline again.",
    )


# --- Promotions -------------------------------------------------------------------------------

PROMOTION_VERBS: list[tuple[str, ...]] = [("history",), ("rollback",), ("why", "3")]


@pytest.mark.parametrize("verb", PROMOTION_VERBS, ids=lambda verb: verb[0])
def test_base_path_that_is_not_to_be_found(tmp_path: Path, verb: tuple[str, ...]) -> None:
    assert told(*verb, "--root", tmp_path) == (
        f"Nothing was pushed below {tmp_path}.",
        "Give --base-path DIR, or the --root of the run.",
    )
    assert told(*verb, "--base-path", tmp_path) == (
        f"{tmp_path} has no ledger: SlimWorks pushed nothing there.",
        "Give the folder that holds the version numbers.",
    )


@pytest.mark.parametrize("verb", PROMOTION_VERBS, ids=lambda verb: verb[0])
def test_several_models_below_one_root(tmp_path: Path, verb: tuple[str, ...]) -> None:
    pushed = []
    for name in ("cats", "dogs"):
        write_run(tmp_path, "20261121-053000-3f2a", name)
        base_path = PipelinePaths(tmp_path, name).serving / name
        slimworks("push", "--model", saved_model(tmp_path / f"model-{name}"),
                  "--base-path", base_path)  # fmt: skip
        pushed.append(str(base_path))
    assert told(*verb, "--root", tmp_path) == (
        f"Several models were pushed below {tmp_path}: {', '.join(pushed)}.",
        f"Choose one: --base-path {pushed[0]}",
    )


# --- One component at a time ------------------------------------------------------------------


def saved_model(folder: Path) -> Path:
    """What the pusher takes for a SavedModel."""
    folder.mkdir()
    (folder / "saved_model.pb").write_text(f"graph of {folder.name}", encoding="utf-8")
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Has the parts that the verbs look for: of `slimworks ingest` and of `slimworks train`."""
    folder = tmp_path / "written"
    (folder / "label_map").mkdir(parents=True)
    saved_model(folder / contracts.SAVED_MODEL_FOLDER)
    return folder


STEP_VERBS = [
    ("ingest", "--data"),
    ("train", "--examples"),
    ("export", "--model"),
    ("evaluate", "--model", "--examples"),
]


@pytest.mark.parametrize("verb", STEP_VERBS, ids=lambda verb: verb[0])
def test_output_that_is_not_empty(tmp_path: Path, written: Path, verb: tuple[str, ...]) -> None:
    name, *options = verb
    inputs = [argument for option in options for argument in (option, written)]
    output = tmp_path / "output"
    output.mkdir()
    (output / "mine.txt").write_text("keep this", encoding="utf-8")
    assert told(name, *inputs, "--output", output) == (
        f"{output} exists and is not empty.",
        "Give a new folder to --output.",
    )
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("verb", "option", "missing", "made_by"),
    [
        ("train", "--examples", "label_map", "slimworks ingest"),
        ("evaluate", "--examples", "label_map", "slimworks ingest"),
        ("evaluate", "--model", "saved_model", "slimworks train"),
        ("export", "--model", "saved_model", "slimworks train"),
    ],
)
def test_folder_that_another_program_wrote(
    tmp_path: Path, written: Path, verb: str, option: str, missing: str, made_by: str
) -> None:
    other = tmp_path / "other"
    inputs = {"--model": written, "--examples": written} if verb == "evaluate" else {}
    inputs[option] = other
    arguments = [argument for pair in inputs.items() for argument in pair]
    assert told(verb, *arguments, "--output", tmp_path / "output") == (
        f"{other / missing} does not exist.",
        f"Give a folder written by `{made_by}`.",
    )
    assert not (tmp_path / "output").exists()


def test_push_of_what_is_no_model(tmp_path: Path) -> None:
    arguments = ("push", "--model", tmp_path, "--base-path", tmp_path / "serving")
    assert told(*arguments, kind=DataError) == (
        f"{tmp_path} holds no saved_model.pb.",
        "Give the output of `slimworks train` or `export`.",
    )
    assert not (tmp_path / "serving").exists()


# --- Asking -----------------------------------------------------------------------------------


def test_images_that_are_not_there(tmp_path: Path) -> None:
    assert told("predict", tmp_path) == (
        f"{tmp_path} holds no image.",
        "Give files or another folder.",
    )
    path = tmp_path / "cat.jpg"
    assert told("predict", path) == (f"{path} does not exist.", "Give files or folders of images.")
