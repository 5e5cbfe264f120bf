"""Runs in a real MLflow server: SQLite, artifacts through the server."""

import dataclasses
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_samples
from ports import free_port
from tracking_samples import tracked

from slimworks.components import contracts
from slimworks.components.errors import SlimWorksError
from slimworks.components.report.cards import write_cards
from slimworks.components.tracking import mlflow_sink
from slimworks.components.tracking.tracked_run import TrackedRun

pytestmark = pytest.mark.engine

_START_SECONDS = 200


def server_program() -> Path:
    folder = Path(os.environ.get("SLIMWORKS_ENGINES", Path(__file__).parents[3] / ".engines"))
    found = sorted(folder.glob("mlflow-*/ready"))
    if not found:
        pytest.skip(f"no MLflow server in {folder}: make engines")
    return found[-1].parent / "bin" / "mlflow"


def wait_until_healthy(uri: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the MLflow server did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [
        str(server_program()), "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'runs.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = folder / "server.log"
    uri = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env=environment,
            start_new_session=True,  # its workers end with it
        )
        try:
            wait_until_healthy(uri, process, log)
            yield uri
        finally:
            # Asked to end, it waits for clients that keep their connections.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def client_of(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def runs_of(uri: str, experiment: str) -> list:
    client = client_of(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id]))


def pushed_run(folder: Path, **changes) -> TrackedRun:
    inputs = report_samples.finished_run(folder)
    pushed = {"version": 4, "base_path": str(folder / "serving"), "pushed_to": ""}
    inputs = dataclasses.replace(inputs, pushed=pushed)
    write_cards(inputs)
    run = tracked(folder, "train.epochs=3", inputs=inputs, verdict="pass", version=4)
    return dataclasses.replace(run, **changes)


def test_run_is_one_mlflow_run_with_all_its_facts(server, tmp_path, capsys) -> None:
    address = mlflow_sink.log_run(pushed_run(tmp_path), server, "facts", 60)
    (found,) = runs_of(server, "facts")
    assert address.startswith(f"{server}/#/experiments/")
    assert address.endswith(f"/runs/{found.info.run_id}")
    assert found.info.run_name == "run-1"
    assert found.info.status == "FINISHED"
    assert found.data.params["train.epochs"] == "3.0"
    assert found.data.params["model.net"] == "lenet"
    assert found.data.metrics["accuracy_low"] == 0.4
    assert found.data.metrics["class/郁金香/recall"] == 0.5
    assert found.data.tags["slimworks.verdict"] == "pass"
    assert found.data.tags["slimworks.version"] == "4"
    client = client_of(server)
    history = client.get_metric_history(found.info.run_id, "train/loss")
    lines = [row for row in report_samples.curve_rows() if row["split"] == "train"]
    assert [(m.step, m.value) for m in history] == [(row["step"], row["loss"]) for row in lines]
    names = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert names == {
        "report.html", "decision.json", "manifest.json", "metrics.json", "model-card.md",
    }  # fmt: skip
    local = client.download_artifacts(found.info.run_id, "metrics.json", str(tmp_path))
    original = tmp_path / "evaluation" / contracts.EVALUATION_METRICS_FILE
    assert Path(local).read_bytes() == original.read_bytes()
    assert capsys.readouterr().out == ""  # stdout is for --json


def test_same_run_again_updates_and_never_doubles(server, tmp_path) -> None:
    run = pushed_run(tmp_path)
    first = mlflow_sink.log_run(run, server, "again", 60)
    tags = {**run.tags, "slimworks.verdict": "forced"}
    second = mlflow_sink.log_run(
        dataclasses.replace(run, tags=tags, has_failed=True), server, "again", 60
    )
    assert first == second
    (found,) = runs_of(server, "again")
    assert found.data.tags["slimworks.verdict"] == "forced"
    assert found.info.status == "FAILED"
    client = client_of(server)
    assert len(client.get_metric_history(found.info.run_id, "train/loss")) == 20
    assert len(client.get_metric_history(found.info.run_id, "accuracy")) == 1


def test_another_run_is_another_mlflow_run(server, tmp_path) -> None:
    run = pushed_run(tmp_path)
    mlflow_sink.log_run(run, server, "two", 60)
    tags = {**run.tags, "slimworks.run_id": "run-2"}
    mlflow_sink.log_run(dataclasses.replace(run, run_id="run-2", tags=tags), server, "two", 60)
    assert {found.info.run_name for found in runs_of(server, "two")} == {"run-1", "run-2"}


def test_long_curves_and_many_params_go_in_parts(server, tmp_path) -> None:
    run = pushed_run(tmp_path)
    (point, *_) = [p for p in run.points if p.name == "train/loss"]
    points = [dataclasses.replace(point, step=step) for step in range(2_100)]
    params = {f"key {number}": "v" * 500 for number in range(205)}
    run = dataclasses.replace(run, points=points, params=params, artifacts=[])
    mlflow_sink.log_run(run, server, "long", 60)
    (found,) = runs_of(server, "long")
    assert len(found.data.params) == 205
    history = client_of(server).get_metric_history(found.info.run_id, "train/loss")
    assert sorted(m.step for m in history) == list(range(2_100))


def test_deleted_experiment_is_refused_with_the_servers_reason(server, tmp_path) -> None:
    client = client_of(server)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(SlimWorksError, match=r"(?i)did not take the run: .*deleted"):
        mlflow_sink.log_run(pushed_run(tmp_path), server, "gone", 60)
