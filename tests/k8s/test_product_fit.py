"""The manifests name what SlimWorks and its server really take."""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from manifest_rendering import K8S, ROOT

from slimworks.components import errors
from slimworks.components.serving.batching import read_parameters
from slimworks.components.serving.flags import parse_flags
from slimworks.components.serving.gap_messages import MonitoringConfig
from slimworks.components.serving.model_config import (
    model_configs,
    read_model_config,
    read_text_proto,
)
from slimworks.pipeline.cli import cli
from slimworks.pipeline.config import KubeflowConfig, PipelineConfig, load_config
from slimworks.pipeline.kubeflow.volumes import claims

SERVING = K8S / "base/serving"
CONFIGS = sorted(K8S.rglob("pipeline.yaml"))


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _server() -> dict[str, Any]:
    (deployment,) = _documents(SERVING / "deployment.yaml")
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def _job(name: str) -> dict[str, Any]:
    (job,) = _documents(K8S / f"base/pipeline/{name}.yaml")
    container: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    return container


def _where_files_are(flag: str) -> str:
    return flag.replace("=/config/", f"={SERVING}/")


def test_the_servers_flags_and_files_are_tensorflow_servings() -> None:
    flags = parse_flags([_where_files_are(argument) for argument in _server()["args"]])
    assert {port["containerPort"] for port in _server()["ports"]} == {
        flags.port,
        flags.rest_api_port,
    }
    (model,) = model_configs(read_model_config(flags.model_config_file))
    assert (model.name, model.base_path) == ("photos", "/models/photos")
    assert read_parameters(flags.batching_parameters_file).max_batch_size == 32
    monitoring = read_text_proto(
        flags.monitoring_config_file,
        MonitoringConfig(),
        "monitoring_config_file",
        "MonitoringConfig",
    )
    (monitor, *_) = _documents(K8S / "components/monitoring/scraping.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == monitoring.prometheus_config.path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_pipeline_pushes_where_the_servers_look(path: Path) -> None:
    config = load_config(str(path))
    model = config.serving.model_name or config.name
    (served,) = model_configs(read_model_config(str(SERVING / "models.config")))
    assert f"{config.push.base_path}/{model}" == served.base_path
    assert claims(config) == {"/workspace": "slimworks", "/models": "models"}
    assert config.kubeflow.workspace == PipelineConfig().kubeflow.workspace


def test_the_claim_is_the_one_that_compiled_pipelines_mount() -> None:
    claims = {claim["metadata"]["name"] for claim in _documents(K8S / "base/storage.yaml")}
    assert KubeflowConfig().volume_claim in claims
    for path in CONFIGS:
        assert load_config(str(path)).kubeflow.volume_claim in claims


@pytest.mark.parametrize("name", ["run", "drift-check", "live-drift-check", "rollback"])
def test_a_job_is_a_command_that_is_understood(name: str) -> None:
    verb, *arguments = _job(name)["args"]
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    context = command.make_context(verb, list(arguments))
    if verb == "rollback":
        assert context.params["base_path"] == "/models/photos"
    else:
        assert context.params["root"] == KubeflowConfig().workspace
    if verb == "run":
        config = load_config(str(CONFIGS[0]), context.params["overrides"])
        assert (config.data.stop_above_drift is not None) == (name == "drift-check")


def test_what_no_second_try_would_mend_is_not_tried_again() -> None:
    (pod,) = _documents(K8S / "base/pipeline/pod.yaml")
    rules = pod["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    (codes,) = [rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule]
    assert codes == [
        errors.EXIT_USAGE,
        errors.EXIT_DATA,
        errors.EXIT_TRAINING,
        errors.EXIT_SERVING,
        errors.EXIT_REFUSED,
    ]
    assert not {errors.EXIT_CRASH, errors.EXIT_INTERRUPTED} & set(codes)


def test_the_server_is_of_the_version_whose_messages_are_locked() -> None:
    lock = (ROOT / "requirements-py311.lock").read_text(encoding="utf-8")
    (locked,) = re.findall(r"^tensorflow-serving-api==(\S+)", lock, flags=re.MULTILINE)
    images = yaml.safe_load((K8S / "base/kustomization.yaml").read_text("utf-8"))["images"]
    tags = {image["name"]: image["newTag"] for image in images}
    assert tags["tensorflow-serving"] == locked
    gpu = yaml.safe_load((K8S / "components/gpu/kustomization.yaml").read_text("utf-8"))
    assert f"{locked}-gpu" in [image.get("newTag") for image in gpu["images"]]


class _Status(http.server.BaseHTTPRequestHandler):
    state = ""

    def do_GET(self) -> None:
        body = (
            '{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "%s"\n  }\n ]\n}\n'
        )
        content = (body % self.state).encode() if self.path == "/v1/models/photos" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("state", "is_ready"), [("AVAILABLE", True), ("LOADING", False)])
def test_a_server_is_ready_when_its_model_is_available(
    port: int, state: str, is_ready: bool
) -> None:
    _Status.state = state
    assert _probe(port) is is_ready


def test_a_server_that_does_not_listen_is_not_ready() -> None:
    assert _probe(1) is False


def _probe(port: int) -> bool:
    *bash, script = _server()["readinessProbe"]["exec"]["command"]
    script = script.replace("/8501", f"/{port}")
    done = subprocess.run([*bash, script], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def test_the_pages_labels_are_a_configuration(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```\w*\n(model_config_list .*?)```", page, re.DOTALL)
    path = tmp_path / "models.config"
    path.write_text(text, encoding="utf-8")
    (model,) = model_configs(read_model_config(str(path)))
    assert (model.name, model.labels) == ("photos", {"stable": 7, "canary": 8})


def test_the_page_of_operations_names_what_there_is() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    known = {
        f"{document['kind'].lower()}/{document['metadata']['name']}"
        for path in K8S.rglob("*.yaml")
        for document in _documents(path)
        if "metadata" in document
    }
    named = set(re.findall(r"\b(?:cronjob|deployment|statefulset|serviceaccount)/[a-z-]+", page))
    assert len(named) > 3
    assert named <= known
    for alert in re.findall(r"\bSlimWorks[A-Z]\w+", page):
        assert any(alert in path.read_text("utf-8") for path in K8S.rglob("alerts.yaml")), alert
    for folder in re.findall(r"(?<!tests/)\bk8s/[\w/.-]*\w", page):
        assert (ROOT / folder).exists(), folder
