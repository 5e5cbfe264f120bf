"""What the verbs beside `run` tell a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import slimworks, told

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.pipeline.paths import PipelinePaths

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


# --- Ingest -----------------------------------------------------------------------------------


def test_ingest_into_the_photos(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    assert told("ingest", "--data", tmp_path, "--output", tmp_path / "out") == (
        f"The output folder {tmp_path / 'out'} lies in the data source {tmp_path}.",
        "Give another one: nothing is ever written among your photos.",
    )
