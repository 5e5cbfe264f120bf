"""`--runner containers` before the first container, and what it says of one that failed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refusal, told

from slimworks.components import files
from slimworks.components.errors import EXIT_DATA, ConfigError
from slimworks.pipeline import launcher
from slimworks.pipeline.config import PipelineConfig, load_config
from slimworks.pipeline.containers import running, surroundings
from slimworks.pipeline.containers.backend import Surroundings
from slimworks.pipeline.containers.engine import UNPRIVILEGED_UID, Engine, Mount
from slimworks.pipeline.containers.execution import TIMED_OUT, Ended
from slimworks.pipeline.containers.ir import CompiledPipeline, Container
from slimworks.pipeline.kubeflow import finishing
from slimworks.pipeline.paths import PipelinePaths

GOLDEN = Path(__file__).parent / "golden/pipeline.kfp.yaml"
CONTAINER = Container("image:1", ("python", "-m", "module"), ("--flag", "value"), {"NAME": "text"})


def _on_path(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


# --- The engine -------------------------------------------------------------------------------


def test_a_machine_without_an_engine_is_told_what_to_install(
    tiny_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = tmp_path / "runs"
    command = ("run", "--data", tiny_photos, "--root", root, "--runner", "containers")
    assert told(*command) == (
        "podman or docker is not installed: --runner containers needs it.",
        "Install podman (apt-get install podman), or use --runner local.",
    )
    assert not root.exists(), "nothing is written"
    cause, _ = told(*command, "--set", "containers.engine=docker")
    assert cause == "docker is not installed: --runner containers needs it."


def test_a_missing_image_is_named_with_the_ways_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_path(tmp_path, "docker", 'echo "Error: No such image: $5" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert refusal(ConfigError, Engine.find("docker").image_id, "x/y:1") == (
        "The container image x/y:1 is not on this machine.",
        "Build it (make images), fetch it (docker pull x/y:1) or name another: --image REF",
    )


def test_an_engine_that_does_not_work_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_path(tmp_path, "docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert refusal(ConfigError, Engine.find("docker").image_id, "x/y:1") == (
        "docker does not work: Cannot connect to the Docker daemon",
        "Mend what `docker info` shows, or use --runner local.",
    )


def test_force_is_for_the_local_runner(tiny_photos: Path, tmp_path: Path) -> None:
    cause, fix = told(
        "run", "--data", tiny_photos, "--root", tmp_path, "--runner", "containers",
        "--force", "because",
    )  # fmt: skip
    assert cause.startswith("--force does not work with --runner containers")
    assert fix.endswith("--runner local --force")


# --- A container's command line ---------------------------------------------------------------


def _command(name: str, container: Container = CONTAINER, **more: Any) -> list[str]:
    options: dict[str, Any] = {
        "mounts": [Mount("/a", "/a"), Mount("/b,c", "/b,c", True)], "network": "none",
        "inherited": ["PASSWORD"], **more,
    }  # fmt: skip
    return Engine(f"/bin/{name}", name).command("one", "key", "0123", container, **options)


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_container_has_no_right_that_it_does_not_need(name: str) -> None:
    command = _command(name)
    text = " ".join(command)
    for wanted in (
        "--read-only", "--cap-drop all", "--security-opt no-new-privileges", "--network none",
        "--pull never", "--mount type=bind,source=/a,target=/a,readonly",
    ):  # fmt: skip
        assert wanted in text
    assert '"source=/b,c"' in text, "a comma is no separator"
    assert command[command.index("--entrypoint") + 1 :] == [
        "python", "0123", "-m", "module", "--flag", "value",
    ]  # fmt: skip
    uid = int(command[command.index("--user") + 1].split(":")[0])
    assert uid == (os.geteuid() or UNPRIVILEGED_UID) != 0


def test_values_of_inherited_variables_stay_off_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    command = _command("podman")
    assert command[command.index("PASSWORD") - 1] == "--env"
    assert "s3cret" not in " ".join(command)


def test_limits_become_options() -> None:
    limited = dataclasses.replace(CONTAINER, cpus=1.5, memory_bytes=2**31, gpus=1)
    text = " ".join(_command("podman", limited))
    assert "--cpus 1.5 --memory 2147483648 --device nvidia.com/gpu=all" in text
    assert "--gpus 1" in " ".join(_command("docker", limited))
    assert "--cpus" not in _command("podman")


def test_the_golden_yaml_says_what_each_step_gets() -> None:
    steps = CompiledPipeline.read(GOLDEN).steps()
    assert len(steps) == 12
    assert steps["ingest"].cpus == 2
    assert steps["ingest"].memory_bytes == 2 * 2**30
    assert (steps["trainer"].gpus, steps["trainer"].memory_bytes) == (1, 16 * 2**30)
    assert steps["trainer"].timeout_seconds == 86_400
    assert steps["gate"].timeout_seconds is None
    assert ("s3", "id", "AWS_ACCESS_KEY_ID") in steps["gate"].secret_variables
    assert steps["gate"].secret_folders == (("certificates", "/etc/certificates"),)
    assert steps["gate"].volumes == (("photos", "/workspace"),)


def test_an_older_kfp_gives_memory_in_gigabytes() -> None:
    first, second = yaml.safe_load_all(GOLDEN.read_text())
    resources = first["deploymentSpec"]["executors"]["exec-ingest"]["container"]["resources"]
    for key in ("resourceMemoryLimit", "resourceCpuLimit"):
        del resources[key]
    container = CompiledPipeline([first, second]).container("comp-ingest")
    assert (container.cpus, container.memory_bytes) == (2, 2_147_483_648)


# --- What the steps need of this machine ------------------------------------------------------


def test_secrets_must_be_set_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Surroundings("key", "0123", tmp_path)
    container = dataclasses.replace(CONTAINER, secret_variables=(("s3", "id", "AWS_ID"),))
    monkeypatch.delenv("AWS_ID", raising=False)
    assert refusal(ConfigError, shared.check, {"ingest": container}) == (
        "ingest needs AWS_ID (key id of the secret s3), which is not set.",
        "Set it: export AWS_ID=...",
    )
    monkeypatch.setenv("AWS_ID", "x")
    shared.check({"ingest": container})


def test_a_secret_that_is_mounted_needs_a_folder(tmp_path: Path) -> None:
    container = dataclasses.replace(CONTAINER, secret_folders=(("tls", "/etc/tls"),))
    shared = Surroundings("key", "0123", tmp_path)
    assert refusal(ConfigError, shared.check, {"gate": container}) == (
        "gate needs the files of the secret tls; no folder here has them.",
        "Name it: --set containers.secret_folders.tls=FOLDER",
    )
    Surroundings("key", "0123", tmp_path, secret_folders={"tls": str(tmp_path)}).check(
        {"gate": container}
    )


def test_a_volume_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    container = dataclasses.replace(CONTAINER, volumes=(("claim", "/workspace-nowhere"),))
    cause, _ = refusal(ConfigError, Surroundings("k", "0", tmp_path).check, {"gate": container})
    assert cause == "gate needs the volume claim at /workspace-nowhere, which is no folder here."


def _config(*overrides: str, data: str = "/photos") -> PipelineConfig:
    return load_config(None, overrides, data)


def test_only_steps_that_need_a_network_have_one() -> None:
    assert surroundings.online_steps(_config()) == set()
    assert surroundings.online_steps(_config(data="s3://bucket/photos")) == {"ingest"}
    assert surroundings.online_steps(_config(data="mnist")) == {"ingest"}
    tracked = _config("tracking.mlflow_uri=http://tracker:5000")
    assert surroundings.online_steps(tracked) == {"report"}
    assert surroundings.online_steps(_config("containers.network_steps=[trainer]")) == {"trainer"}
    stored = _config("kubeflow.metadata.kind=mysql", "kubeflow.metadata.host=h")
    assert {"ingest", "gate", "report"} < surroundings.online_steps(stored)


def test_the_run_root_is_the_workspace_and_paths_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    config = _config(
        "train.checkpoint_path=weights/model.ckpt", "push.base_path=served",
        "kubeflow.steps.trainer.memory=4Gi", data="photos",
    )  # fmt: skip
    paths = PipelinePaths(tmp_path / "runs", "flowers")
    seen = surroundings.as_seen_in_containers(config, paths, ["trainer"])
    assert seen.kubeflow.workspace == str(tmp_path / "runs")
    assert seen.data.source == str(tmp_path / "photos")
    assert seen.train.checkpoint_path == str(tmp_path / "weights/model.ckpt")
    assert seen.push.base_path == str(tmp_path / "served")
    trainer = seen.kubeflow.step("trainer")
    assert (trainer.cache, trainer.memory) == (False, "4Gi")
    assert surroundings.written_folders(seen, paths) == [paths.home, tmp_path / "served"]
    assert (tmp_path / "served").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="others may always read what is theirs")
def test_photos_for_root_only_are_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir(mode=0o700)
    paths = PipelinePaths(tmp_path / "runs", "flowers")
    config = surroundings.as_seen_in_containers(_config(data=str(photos)), paths, [])
    arguments = (config, paths, "key", "0123", tmp_path, "slimworks run")
    cause, fix = refusal(ConfigError, surroundings.surroundings, *arguments)
    assert cause == (
        f"{photos} is for root only, and the containers run as user {UNPRIVILEGED_UID}."
    )
    assert fix.startswith(f"Let others read it (chmod -R o+rX {photos})")


def test_a_value_is_no_name_of_a_variable() -> None:
    cause, _ = refusal(ConfigError, _config, "containers.env=['A=secret']")
    assert cause == "'A=secret' is no name of a variable; values are never settings."


# --- What became of a step --------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> PipelinePaths:
    return PipelinePaths(tmp_path, "flowers")


def _result(paths: PipelinePaths, code: int, log: str = "", attempts: int = 1) -> dict[str, Any]:
    files.write_text(paths.run("r") / "logs/trainer.log", log)
    ended = Ended("trainer", code, attempts, 2.0, paths.home)
    result = running.node_result(paths, "r", ended)
    assert result.state == launcher.FAILED
    kept = finishing.read_result(finishing.result_path(paths, "r", "trainer"))
    assert kept == result, "the exit handler finds it"
    assert result.error is not None
    return result.error


@pytest.mark.parametrize(
    ("code", "attempts", "cause", "fix"),
    [
        (TIMED_OUT, 1, "was stopped: it took too long.", "kubeflow.steps.trainer.timeout_seconds"),
        (137, 3, "was killed in 3 tries (out of memory?).", "Raise kubeflow.steps.trainer.memory"),
        (126, 1, "ended with code 126.", "trainer.log, then run again"),
    ],
)
def test_a_step_without_a_result_gets_one_that_says_why(
    code: int, attempts: int, cause: str, fix: str, paths: PipelinePaths
) -> None:
    error = _result(paths, code, attempts=attempts)
    assert error["cause"] == f"The container of trainer {cause}"
    assert fix in error["fix"]
    assert error["exit_code"] == 1


def test_what_a_step_said_before_it_ended_is_its_error(paths: PipelinePaths) -> None:
    log = "INFO slimworks.x: y\nError: No photos.\nFix:   Give some.\n"
    error = _result(paths, EXIT_DATA, log)
    assert (error["cause"], error["fix"], error["exit_code"]) == ("No photos.", "Give some.", 3)


def test_a_result_of_success_is_not_believed_where_the_container_failed(
    paths: PipelinePaths,
) -> None:
    good = launcher.NodeResult("trainer", launcher.RAN, 1.0, "first run")
    finishing.write_result(paths, "r", good)
    assert running.node_result(paths, "r", Ended("trainer", 0, 1, 1.0, paths.home)) == good
    assert _result(paths, 1)["cause"] == "The container of trainer ended with code 1."
