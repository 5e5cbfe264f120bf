"""`slimworks run --runner containers` on real photos: interrupted, resumed, pushed, compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import interrupting
import pytest
from container_engine import engine
from pipeline_runs import run

from slimworks.components import contracts, files
from slimworks.components.errors import EXIT_DATA, EXIT_INTERRUPTED
from slimworks.pipeline.containers.placeholders import OUTPUT_FILE
from slimworks.pipeline.containers.running import containers_key
from slimworks.pipeline.paths import PipelinePaths

pytestmark = [
    pytest.mark.container,
    pytest.mark.shared,
    pytest.mark.timeout(1800),  # a dozen containers, each of which imports TFX
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
    ),
]

IMAGE = f"localhost/slimworks-pipeline:{os.environ.get('IMAGE_TAG', 'dev')}"
IN_CONTAINERS = ("--runner", "containers", "--image", IMAGE)
WAIT_SECONDS = 900.0


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty photos of each of two flowers, which anybody may read."""
    folder = tmp_path_factory.mktemp("photos") / "flowers"
    for name in ("dandelion", "roses"):
        (folder / name).mkdir(parents=True)
        source = shared / "data/datasets/flowers_800" / name
        for photo in sorted(source.iterdir())[:60]:
            shutil.copyfile(photo, folder / name / photo.name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def settings(shared: Path) -> tuple[str, ...]:
    """Long enough that a signal finds the training at work; a checkpoint after every epoch."""
    checkpoint = shared / "data/checkpoints/mobilenet_v1_0.25_128"
    return (
        "name=flowers", "model.net=mobilenet_v1_025", "model.image_size=64",
        f"train.checkpoint_path={checkpoint}", "train.deterministic=true", "train.epochs=12",
        "train.batch_size=16", "train.save_interval_secs=0", "data.test_fraction=0.25",
        "kubeflow.steps.default.backoff_seconds=0",
    )  # fmt: skip


class Running:
    """A run in containers, in a process group of its own."""

    def __init__(self, photos: Path, root: Path, settings: tuple[str, ...], *more: str) -> None:
        command = [sys.executable, "-m", "slimworks", "run", "--data", str(photos)]
        command += ["--root", str(root), *IN_CONTAINERS, *more]
        for setting in settings:
            command += ["--set", setting]
        self.root = root
        self.process = interrupting.start(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Polls until the condition holds; fails where the run ends before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def container(self, step: str) -> str:
        """Name of the container of a step, once it runs."""
        found: str = self.wait_until(lambda: containers_of(self.root, step))[0]
        return found

    def ended(self) -> tuple[int, str]:
        """(exit code, stderr)."""
        _, errors = self.process.communicate(timeout=WAIT_SECONDS)
        return self.process.returncode, errors.decode()


def containers_of(root: Path, step: str = "", *more: str) -> list[str]:
    """Names of the containers of a run root's pipeline that run now."""
    label = f"slimworks.pipeline={containers_key(PipelinePaths(root, 'flowers'))}"
    listed = engine("ps", *more, "--filter", f"label={label}", "--format", "{{.Names}}")
    return [one for one in listed.stdout.split() if one.startswith(f"slimworks-{step}")]


def wait_until_none_is_left(root: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while containers_of(root, "", "--all"):
        assert time.monotonic() < deadline, "containers are left"
        time.sleep(0.1)


def trained_steps(root: Path) -> int:
    states = list((root / "flowers/work").glob("training-*/state.json"))
    return int(json.loads(states[0].read_text())["step"]) if states else 0


@pytest.fixture(scope="module")
def interrupted(
    photos: Path, settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int]]:
    """A run root whose first run was interrupted while it trained, and the step it had saved."""
    root = tmp_path_factory.mktemp("containers") / "runs"
    running = Running(photos, root, settings)
    running.wait_until(lambda: trained_steps(root) >= 6)
    assert containers_of(root, "trainer")
    os.killpg(running.process.pid, signal.SIGINT)
    code, errors = running.ended()
    assert code == EXIT_INTERRUPTED, errors
    assert "Error: Interrupted." in errors
    assert "Traceback" not in errors
    assert not containers_of(root, "", "--all"), "stopped and removed"
    yield root, trained_steps(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def pushed(
    interrupted: tuple[Path, int], photos: Path, settings: tuple[str, ...]
) -> tuple[dict[str, Any], str]:
    """(outcome, stderr) of the run after the interrupted one."""
    code, outcome, errors = run(photos, interrupted[0], *IN_CONTAINERS, settings=settings)
    assert code == 0, errors
    return outcome, errors


def test_the_interrupted_training_goes_on_and_the_steps_before_it_are_reused(
    interrupted: tuple[Path, int], pushed: tuple[dict[str, Any], str]
) -> None:
    root, saved = interrupted
    outcome, errors = pushed
    assert f"from the checkpoint of step {saved}" in errors
    states = {step["name"]: step["state"] for step in outcome["steps"]}
    reused = [name for name, state in states.items() if state == "reused"]
    assert reused == ["ingest", "statistics", "schema", "validation", "transform"]
    assert set(states.values()) == {"ran", "reused"}
    interrupted_run = min(path for path in (root / "flowers/runs").iterdir())
    assert files.read_json(interrupted_run / "run.json")["state"] == "interrupted"


def test_photos_become_a_pushed_model_whose_files_are_the_callers(
    interrupted: tuple[Path, int], pushed: tuple[dict[str, Any], str]
) -> None:
    root, _ = interrupted
    outcome, _ = pushed
    assert (outcome["verdict"], outcome["version"], outcome["exit_code"]) == ("pass", 1, 0)
    assert (Path(outcome["pushed_to"]) / "saved_model.pb").is_file()
    folder = root / "flowers/runs" / outcome["run_id"]
    table = (folder / "outputs/gate/table").read_text()
    assert "verdict: pass" in table
    page = (folder / "outputs/report/report_page").read_text()
    assert page == (folder / "report.html").read_text()
    shown = files.read_json(folder / "outputs/evaluator" / OUTPUT_FILE)["artifacts"]["metrics"]
    assert shown["artifacts"][0]["metadata"]["accuracy"] == outcome["metrics"]["accuracy"]
    assert "--runner containers" in files.read_json(outcome["manifest"])["command"]
    assert {path.stat().st_uid for path in root.rglob("*")} == {os.geteuid()}
    assert {path.stat().st_gid for path in root.rglob("*")} == {os.getegid()}


def test_it_is_the_local_runs_model(
    pushed: tuple[dict[str, Any], str],
    interrupted: tuple[Path, int],
    photos: Path,
    settings: tuple[str, ...],
    tmp_path: Path,
) -> None:
    outcome, _ = pushed
    code, local, errors = run(photos, tmp_path / "local", settings=settings)
    assert code == 0, errors
    assert set(local) == set(outcome), "the same object"
    digests = [files.read_json(one["manifest"])["result"] for one in (outcome, local)]
    assert digests[0]["weights_digest"] == digests[1]["weights_digest"]
    assert outcome["metrics"] == local["metrics"]
    assert outcome["reasons"] == local["reasons"]
    for root in (interrupted[0], tmp_path / "local"):
        assert len(list((root / "flowers/artifacts/ingest/examples").iterdir())) == 1
    splits = [
        files.sha256_of_tree(root / "flowers/artifacts/ingest/examples/1")
        for root in (interrupted[0], tmp_path / "local")
    ]
    assert splits[0] == splits[1], "the same images in the same splits"


def test_the_local_runner_reuses_what_the_containers_made(
    pushed: tuple[dict[str, Any], str],
    interrupted: tuple[Path, int],
    photos: Path,
    settings: tuple[str, ...],
) -> None:
    code, again, errors = run(photos, interrupted[0], settings=settings)
    assert code == 0, errors
    states = {step["name"]: step["state"] for step in again["steps"]}
    assert {states[name] for name in ("ingest", "transform", "trainer", "evaluator")} == {"reused"}
    assert again["version"] == pushed[0]["version"], "nothing is pushed twice"


def test_a_step_that_fails_ends_the_run_with_its_code_and_a_report(
    photos: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(photos, spoiled)
    for photo in (spoiled / "roses").iterdir():
        photo.write_bytes(b"no photo")
    spoiled.chmod(0o755)
    code, outcome, errors = run(spoiled, tmp_path / "runs", *IN_CONTAINERS, settings=settings)
    assert code == EXIT_DATA == outcome["exit_code"], errors
    assert outcome["error"]["type"] == "DataError"
    assert f"Error: {outcome['error']['cause']}" in errors
    assert [(step["name"], step["state"]) for step in outcome["steps"]] == [("ingest", "failed")]
    assert Path(outcome["report"]).is_file(), "by the exit handler"


def test_a_killed_container_is_tried_again_and_a_killed_run_leaves_none(
    photos: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    running = Running(photos, root, settings, "--until", "ingest")
    first = running.container("ingest")
    engine("kill", first)
    running.wait_until(lambda: set(containers_of(root, "ingest")) - {first})
    code, errors = running.ended()
    assert code == 0, errors
    assert "ingest      ran" in errors
    again = Running(photos, root, settings, "--until", "ingest", "--no-cache")
    again.container("ingest")
    again.process.kill()
    again.ended()
    wait_until_none_is_left(root)
    assert not contracts.version_folders(root / "flowers/serving/flowers")
