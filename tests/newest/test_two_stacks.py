"""What one stack writes, the other reads: examples, checkpoints, exported models, run roots.

The locked stack runs these tests; the newest is in the image that `make newest-image` builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import container_engine
import pytest
from photo_samples import write_tiny_photos
from pipeline_runs import SETTINGS

from slimworks.components import contracts
from slimworks.components.checkpoints.digests import digest_of_checkpoint
from slimworks.pipeline import stacks

pytestmark = [pytest.mark.container, pytest.mark.newest, pytest.mark.timeout(1800)]

IMAGE = os.environ.get("NEWEST_IMAGE", "localhost/slimworks-newest:dev")
TRAINING = tuple(f"--set={setting}" for setting in SETTINGS if not setting.startswith("name="))
BOTH_WAYS = pytest.mark.parametrize(
    ("writer", "reader"), [("locked", "newest"), ("newest", "locked")]
)


class _Stack(NamedTuple):
    """How Python is started in one of the two."""

    name: str
    python: tuple[str, ...]

    def run(self, *arguments: str) -> Any:
        """Runs Python, and returns the JSON that it prints last."""
        done = subprocess.run(
            [*self.python, *arguments], cwd=container_engine.ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, (
            f"{self.name} {arguments}\n{done.stdout}\n{done.stderr[-4000:]}"
        )
        return json.loads(done.stdout.splitlines()[-1])

    def slimworks(self, *arguments: str) -> Any:
        """Runs a verb with --json."""
        return self.run("-m", "slimworks", *arguments, "--json")


class _Trained(NamedTuple):
    """What a stack ingested and trained."""

    examples: Path
    model: Path

    @property
    def base_path(self) -> Path:
        """Holds the exported model as version 1."""
        return self.model.with_name(f"{self.model.name}-serving")

    @property
    def checkpoint(self) -> str:
        """Prefix of the newest checkpoint."""
        (index,) = (self.model / contracts.CHECKPOINTS_FOLDER).glob("*.index")
        return str(index.with_suffix(""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seen by both stacks under the same path; has photos/."""
    folder = tmp_path_factory.mktemp("stacks")
    write_tiny_photos(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> dict[str, _Stack]:
    """The two stacks by name."""
    engine = (
        container_engine.ENGINE, "run", "--rm", "--network=none",
        f"--volume={container_engine.ROOT}:/source:ro", f"--volume={folder}:{folder}",
    )  # fmt: skip
    return {
        "locked": _Stack("locked", (sys.executable,)),
        "newest": _Stack("newest", (*engine, IMAGE, "python")),
    }


@pytest.fixture(scope="module")
def trained(both: dict[str, _Stack], folder: Path) -> Iterator[dict[str, _Trained]]:
    """A model of each stack, from the same photos."""
    models = {}
    for name, stack in both.items():
        found = _Trained(folder / name / "examples", folder / name / "model")
        found.examples.parent.mkdir()
        stack.slimworks("ingest", f"--data={folder / 'photos'}", f"--output={found.examples}")
        stack.slimworks(
            "train", f"--examples={found.examples}", f"--output={found.model}", *TRAINING
        )
        shutil.copytree(found.model / contracts.SAVED_MODEL_FOLDER, found.base_path / "1")
        models[name] = found
    return models


def _answers(stack: _Stack, base_path: Path, photos: Path) -> list[dict[str, float]]:
    files = [str(path) for path in sorted(photos.glob("*/*-000.*"))]
    assert len(files) == 3
    told = stack.run("tests/newest/served_answers.py", str(base_path), *files)
    expected = {stack.name: stack for stack in (stacks.LOCKED, stacks.NEWEST)}[stack.name]
    assert told["tensorflow"].startswith(expected.packages["tensorflow"])
    answers: list[dict[str, float]] = told["answers"]
    return answers


def test_both_make_the_same_examples(trained: dict[str, _Trained]) -> None:
    digests = {
        name: {
            str(path.relative_to(found.examples)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found.examples.rglob("data_tfrecord-*")
        }
        for name, found in trained.items()
    }
    assert len(digests["locked"]) >= 3
    assert digests["newest"] == digests["locked"]


@BOTH_WAYS
def test_exported_model_is_served_alike_by_both(
    writer: str, reader: str, both: dict[str, _Stack], trained: dict[str, _Trained], folder: Path
) -> None:
    base_path = trained[writer].base_path
    own = _answers(both[writer], base_path, folder / "photos")
    others = _answers(both[reader], base_path, folder / "photos")
    assert all(len(answer) == 3 for answer in own)
    assert others == [pytest.approx(answer, abs=1e-5) for answer in own]


@BOTH_WAYS
def test_checkpoint_is_exported_by_the_other(
    writer: str, reader: str, both: dict[str, _Stack], trained: dict[str, _Trained], folder: Path
) -> None:
    # The export is compared with the checkpoint, and not kept where they differ.
    exported = folder / f"exported-by-{reader}"
    both[reader].slimworks(
        "export", f"--model={trained[writer].model}", f"--output={exported / '1'}"
    )
    own = _answers(both[writer], trained[writer].base_path, folder / "photos")
    others = _answers(both[reader], exported, folder / "photos")
    assert others == [pytest.approx(answer, abs=1e-5) for answer in own]


@BOTH_WAYS
def test_training_goes_on_from_the_others_checkpoint(
    writer: str, reader: str, both: dict[str, _Stack], trained: dict[str, _Trained], folder: Path
) -> None:
    checkpoint = trained[writer].checkpoint
    model = folder / f"tuned-by-{reader}"
    both[reader].slimworks(
        "train", f"--examples={trained[reader].examples}", f"--output={model}", *TRAINING,
        "--set=train.epochs=1", "--set=train.learning_rate=1e-30", "--set=train.weight_decay=0",
        f"--set=train.checkpoint_path={checkpoint}", "--set=train.checkpoint_exclude_scopes=[]",
    )  # fmt: skip
    tuned = _Trained(trained[reader].examples, model)
    assert digest_of_checkpoint(tuned.checkpoint) == digest_of_checkpoint(checkpoint)


@BOTH_WAYS
def test_run_root_is_carried_on_by_the_other(
    writer: str, reader: str, both: dict[str, _Stack], folder: Path
) -> None:
    arguments = (
        "run", f"--data={folder / 'photos'}", f"--root={folder / f'root-of-{writer}'}",
        *(f"--set={setting}" for setting in SETTINGS), "--set=gate.min_accuracy=0.3",
    )  # fmt: skip
    first = both[writer].slimworks(*arguments)
    assert first["version"] == 1, first
    again = both[reader].slimworks(*arguments)
    assert again["version"] == 1, again
    # The last blessed model is looked up in every run.
    assert [step["name"] for step in again["steps"] if not step["cached"]] == ["baseline"]
