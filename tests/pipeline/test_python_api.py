"""`import slimworks`: run, load, predict, evaluate, report, on a real run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline_runs import SETTINGS

import slimworks
from slimworks.components import files
from slimworks.components.errors import ConfigError, DataError

pytestmark = pytest.mark.slow

TINY = dict(setting.split("=") for setting in SETTINGS)


def typed(settings: dict[str, str]) -> dict[str, object]:
    numbers = {"train.epochs": int, "train.learning_rate": float, "train.batch_size": int}
    return {key: numbers.get(key, str)(value) for key, value in settings.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def done(tiny_photos: Path, root: Path, lines: list[str]) -> slimworks.Run:
    return slimworks.run(tiny_photos, settings=typed(TINY), root=root, on_line=lines.append)


def test_a_run_says_what_it_came_to(done: slimworks.Run, lines: list[str]) -> None:
    assert (done.exit_code, done.verdict, done.version) == (0, "pass", 1)
    assert done.accuracy is not None
    assert done.accuracy == done.metrics["accuracy"]
    assert [step.name for step in done.steps][:2] == ["ingest", "statistics"]
    assert {step.state for step in done.steps} <= {"ran", "skipped"}
    assert done.report.is_file()
    assert any(line.startswith("trainer") for line in lines)


def test_a_model_is_found_by_every_name(done: slimworks.Run, root: Path) -> None:
    assert done.pushed_to is not None
    assert done.model is not None
    sources: list[slimworks.Run | str | Path] = [
        done, done.run_id[:-2], done.folder, done.model, done.pushed_to,
        Path(done.pushed_to).parent,
    ]  # fmt: skip
    for source in sources:
        model = slimworks.load(source, root=root)
        assert len(model.class_names) == 3
        assert (model.saved_model / "saved_model.pb").is_file()
    assert slimworks.load(Path(done.pushed_to).parent, version=1).report() == done.report
    assert slimworks.load(done).report() == done.report


def test_predictions_are_those_of_the_evaluation(done: slimworks.Run, tiny_photos: Path) -> None:
    model = slimworks.load(done)
    found = model.predict(tiny_photos, batch_size=50)
    right = sum(one.path is not None and one.path.parent.name == one.class_name for one in found)
    assert len(found) == 120
    assert right / 120 > 0.8
    one = tiny_photos / "nothing.jpg"
    assert found[0].path is not None
    again = model.predict([found[0].path, found[0].path.read_bytes()])
    assert again[0] == found[0]
    assert (again[1].path, again[1].class_names) == (None, found[0].class_names)
    with pytest.raises(DataError, match=r"nothing\.jpg cannot be read"):
        model.predict(one)


def test_a_damaged_image_is_named(done: slimworks.Run, tiny_photos: Path, tmp_path: Path) -> None:
    good = next(tiny_photos.rglob("*.jpg"), None) or next(tiny_photos.rglob("*.png"))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 no jpeg")
    with pytest.raises(DataError, match=r"cannot read .*bad\.jpg"):
        slimworks.load(done).predict([good, bad])
    with pytest.raises(ConfigError, match="holds no image"):
        slimworks.load(done).predict(_empty(tmp_path))


def _empty(folder: Path) -> Path:
    made = folder / "empty"
    made.mkdir()
    return made


def test_an_evaluation_gives_the_runs_figures(done: slimworks.Run) -> None:
    found = slimworks.load(done).evaluate()
    assert (found.split, found.num_images) == ("test", done.metrics["num_images"])
    assert found.accuracy == pytest.approx(done.accuracy)
    assert list(found.accuracy_interval) == pytest.approx(done.metrics["accuracy_interval"])
    assert slimworks.load(done).evaluate(split="eval").num_images != 0


def test_what_cannot_be_loaded_says_why(done: slimworks.Run, root: Path, tmp_path: Path) -> None:
    assert done.pushed_to is not None
    with pytest.raises(ConfigError, match="has no version 7"):
        slimworks.load(Path(done.pushed_to).parent, version=7)
    with pytest.raises(ConfigError, match="holds no model"):
        slimworks.load(tmp_path)
    with pytest.raises(ConfigError, match="names no run below"):
        slimworks.load("20200101", root=root)
    with pytest.raises(DataError, match="holds no label_map"):
        slimworks.load(done).evaluate(tmp_path)
    bare = tmp_path / "bare"
    bare.symlink_to(slimworks.load(done).saved_model)
    with pytest.raises(ConfigError, match="is a bare SavedModel"):
        slimworks.load(bare).evaluate()
    with pytest.raises(ConfigError, match="No report is known"):
        slimworks.load(bare).report()


def test_an_error_has_cause_and_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        slimworks.run(tmp_path, settings={"train.epoch": 1}, root=tmp_path, on_line=lambda _: None)
    assert "Unknown key 'train.epoch'" in raised.value.cause
    assert "epochs" in raised.value.fix


def test_a_run_that_ends_early_has_no_model(tiny_photos: Path, tmp_path: Path) -> None:
    run = slimworks.run(tiny_photos, root=tmp_path, until="ingest", on_line=lambda _: None)
    assert (run.model, run.verdict, run.exit_code) == (None, None, 0)
    with pytest.raises(ConfigError, match="has no model: it did not train"):
        slimworks.load(run)


def test_an_interruption_ends_the_run_too(tiny_photos: Path, tmp_path: Path) -> None:
    script = (
        "import signal, slimworks\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it\n"
        f"slimworks.run({str(tiny_photos)!r}, root={str(tmp_path)!r}, "
        "settings={'name': 'tiny', 'model.net': 'lenet', 'train.epochs': 500})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    for line in process.stderr:  # the trainer is what takes the time
        if line.startswith("transform"):
            break
    process.send_signal(signal.SIGINT)
    assert "Interrupted." in process.communicate(timeout=120)[1]
    record = next((tmp_path / "tiny" / "runs").glob("*/run.json"))
    deadline = time.monotonic() + 30
    while files.read_json(record)["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert files.read_json(record)["state"] == "interrupted"
