"""The folder that a document's commands run in: photos, a checkpoint, what verbs made of them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from photo_samples import write_tiny_photos

CLASSES = {"left": "daisy", "middle": "roses", "right": "tulips"}
TESTS = Path(__file__).parents[1]
SETTINGS = (
    "model.net=lenet", "train.epochs=6", "train.optimizer=adam", "train.learning_rate=0.002",
    "train.batch_size=16",
)  # fmt: skip
MADE_BY_RUN = ("slimworks-runs", "serving", "models", "models.config")


def slimworks(folder: Path, *words: str) -> None:
    """Runs a verb in a folder; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "slimworks", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, f"slimworks {' '.join(words)}\n{done.stderr}"


def write_photos(folder: Path) -> None:
    """photos/, split/, cat.jpg, dog.png, more/, labels.csv and scans/ of 120 tiny photos."""
    photos = write_tiny_photos(folder / "tiny")
    for old, new in CLASSES.items():
        for number, path in enumerate(sorted((photos / old).iterdir())):
            target = folder / "photos" / new / f"{number:03d}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    shutil.rmtree(photos)
    paths = sorted((folder / "photos").rglob("*.*"))
    shutil.copy(next(path for path in paths if path.suffix == ".jpg"), folder / "cat.jpg")
    shutil.copy(next(path for path in paths if path.suffix == ".png"), folder / "dog.png")
    (folder / "more").mkdir()
    shutil.copy(folder / "cat.jpg", folder / "more")
    _write_splits(folder, paths)
    rows = [
        f"photos/{path.parent.name}/{path.name},{path.parent.name},,p{number},{'AB'[number % 2]}"
        for number, path in enumerate(paths)
    ]
    (folder / "labels.csv").write_text(
        "\n".join(["path,class,split,patient,camera", *rows, ""]), encoding="utf-8"
    )
    (folder / "last").touch()
    os.utime(folder / "last", (0, 0))


def _write_splits(folder: Path, photos: list[Path]) -> None:
    for number, path in enumerate(photos):
        split = ("train", "train", "train", "val", "test")[number % 5]
        target = folder / "split" / split / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def prepared(base: Path, shared: Path) -> Path:
    """The folder with everything in it; of several processes of a test run one makes it."""
    folder = base / "workshop"
    with open(base / "workshop.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make(folder, shared)
            (folder / "ready").touch()
    return folder


def _make(folder: Path, shared: Path) -> None:
    write_photos(folder)
    checkpoints = shared / "data" / "checkpoints"
    for path in (checkpoints / "mobilenet_v1_0.25_128").glob("*.ckpt.*"):
        shutil.copy(path, folder)
    shutil.copy(checkpoints / "imagenet_labels_1001.txt", folder)
    settings = [f"--set={one}" for one in SETTINGS]
    slimworks(folder, "init", "--data", "photos/")
    slimworks(folder, "run", "--data", "photos/", *settings)
    slimworks(
        folder, "ingest", "--data", "labels.csv", "--output", "ingested/",
        "--set", "data.slice_columns=[camera]",
    )  # fmt: skip
    shutil.copytree(folder / "ingested", folder / "examples")
    slimworks(folder, "train", "--examples", "ingested/", "--output", "model/", *settings)
    published = folder / "slimworks-runs/photos/serving/photos"
    shutil.copytree(published, folder / "serving/photos")
    shutil.copytree(published / "1", folder / "models/new")
    (folder / "models.config").write_text(
        f"""model_config_list {{ config {{ name: "flowers" base_path: "{folder / "serving/photos"}"
          model_platform: "tensorflow" version_labels {{ key: "stable" value: 1 }} }} }}""",
        encoding="utf-8",
    )
    (folder / "label_errors.csv").write_text(
        f"image_id,filename,given_class,suggested_class,confidence,accept\n{1:064x},1.jpg,roses,"
        "tulips,0.9,x\n",
        encoding="utf-8",
    )
    _write_log(folder)


def _write_log(folder: Path) -> None:
    """A request log: the photos, answered by the served model."""
    from slimworks.components.serving.client import Client
    from slimworks.components.serving.process import ServerProcess

    flags = (f"--request_log={folder / 'logs/photos'}", "--request_log_sampling_rate=1")
    (folder / "logs").mkdir()
    with (
        ServerProcess(folder / "serving/photos", "photos", extra_flags=flags) as server,
        Client(server.address, "photos") as client,
    ):
        for answer in client.predict_files(sorted((folder / "photos").rglob("*.*"))):
            assert answer.class_names


def run_id(folder: Path) -> str:
    """Of the finished run."""
    (run,) = (folder / "slimworks-runs/photos/runs").iterdir()
    return str(json.loads((run / "run.json").read_text("utf-8"))["run_id"])


def copy_of(workshop: Path, folder: Path, needs: tuple[str, ...]) -> None:
    """Fills a folder for one document with the photos and with what it needs."""
    things = {
        "run": ("slimworks-runs",),
        "examples": ("ingested", "examples"),
        "model": ("model",),
        "serving": ("serving", "models", "models.config"),
        "log": ("logs",),
    }
    made = {name for names in things.values() for name in names} | {"ready"}
    wanted = {name for need in needs for name in things[need]}
    for path in workshop.iterdir():
        if path.name in made - wanted:
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder)
    _write_programs(folder)


def _write_programs(folder: Path) -> None:
    """bin/slimworks, and .venv/bin/activate, which puts it on the PATH as the real one does."""
    program = folder / "bin" / "slimworks"
    program.parent.mkdir()
    typed = Path(__file__).parent / "typed_slimworks.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{typed}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    activate = folder / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'PATH="{program.parent}:$PATH"\n', encoding="utf-8")
