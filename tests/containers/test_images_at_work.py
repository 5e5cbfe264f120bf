"""The images together: a run that is stopped and goes on, its model served and asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import container_engine
import pytest
from container_engine import engine, inspect, started, wait_for_text, wait_until_healthy
from photo_samples import write_tiny_photos

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

# The model of the serving image's own configuration, /models/photos.
CONFIG = """\
name: photos
data: {source: /photos}
model: {net: lenet}
train: {epochs: 40, learning_rate: 0.01}
gate: {min_accuracy: 0.3}
push: {base_path: /models}
"""
# Nothing may be written but the two volumes and /tmp; nobody can be asked.
CONFINED = (
    "--network=none", "--user=54321", "--read-only", "--tmpfs=/tmp", "--cap-drop=all",
    "--security-opt=no-new-privileges", "--no-healthcheck",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/, workspace/, models/ and pipeline.yaml, open to every user."""
    folder = tmp_path_factory.mktemp("volumes")
    write_tiny_photos(folder / "photos")
    (folder / "pipeline.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("workspace", "models"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    return folder


def _volumes(folder: Path) -> tuple[str, ...]:
    return (
        f"--volume={folder / 'photos'}:/photos:ro",
        f"--volume={folder / 'pipeline.yaml'}:/config/pipeline.yaml:ro",
        f"--volume={folder / 'workspace'}:/workspace",
        f"--volume={folder / 'models'}:/models",
    )


@pytest.fixture(scope="module")
def pushed(folder: Path) -> Path:
    """The folder of the model that a run pushed, which was stopped in its training before."""
    (image,) = container_engine.build_images("pipeline")
    command = ("slimworks", "run", "--config=/config/pipeline.yaml", "--root=/workspace", "--json")
    options = (*CONFINED, *_volumes(folder))
    with started(image, *command, options=options) as name:
        wait_for_text(name, "trainer")
        engine("stop", "--time=120", name)
        assert inspect(name)["State"]["ExitCode"] == 130, container_engine.logs(name)
    with started(image, *command, options=options) as name:
        code = int(engine("wait", name).stdout)
        assert code == 0, container_engine.logs(name)
        outcome = json.loads(engine("logs", name).stdout.splitlines()[-1])
    by_name = {step["name"]: step for step in outcome["steps"]}
    assert by_name["ingest"]["cached"], by_name["ingest"]
    assert outcome["verdict"] == "pass"
    return folder / "models" / "photos"


@pytest.fixture
def network() -> Iterator[str]:
    name = f"slimworks-{uuid.uuid4().hex[:8]}"
    engine("network", "create", name)
    yield name
    engine("network", "rm", "--force", name)


def test_stopped_run_goes_on_and_pushes(pushed: Path) -> None:
    assert (pushed / "1" / "saved_model.pb").is_file()


def test_client_image_classifies_through_the_serving_image(
    pushed: Path, folder: Path, network: str
) -> None:
    client, serving = container_engine.build_images("client", "serving-embedded")
    options = (
        f"--network={network}", "--network-alias=serving", "--user=54321", "--read-only",
        "--tmpfs=/tmp", "--cap-drop=all", f"--volume={pushed}:/models/photos:ro",
    )  # fmt: skip
    with started(serving, options=options) as name:
        wait_until_healthy(name)
        answered = engine(
            "run", "--rm", f"--network={network}", f"--volume={folder / 'photos'}:/photos:ro",
            "--user=54321", "--read-only", client, "slimworks", "predict", "/photos/left",
            "/photos/right", "--server=serving:8500", "--model-name=photos", "--json",
        ).stdout  # fmt: skip
        answers = json.loads(answered)
        engine("stop", "--time=60", name)
        assert inspect(name)["State"]["ExitCode"] == 0, container_engine.logs(name)
    rows = answers["predictions"]
    assert len(rows) == 80
    num_right = sum(row["classes"][0]["class_name"] in row["file"] for row in rows)
    assert num_right > 60  # the gate's test split has other photos; chance is 27


def test_serving_without_a_model_is_not_healthy() -> None:
    (serving,) = container_engine.build_images("serving-embedded")
    with started(serving, options=("--network=none",)) as name:
        assert engine("healthcheck", "run", name, check=False).returncode == 1
        engine("stop", "--time=60", name)
        assert inspect(name)["State"]["ExitCode"] == 0
