"""The pipeline without a shared volume: a real S3 server, MySQL, steps that share nothing."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from pipeline_runs import SETTINGS, run
from process_backend import ProcessBackend
from s3_server import S3Server

from slimworks.components import files
from slimworks.components.storage import remote
from slimworks.pipeline.config import load_config
from slimworks.pipeline.containers.execution import Call, Ended, Execution
from slimworks.pipeline.containers.ir import CompiledPipeline
from slimworks.pipeline.kubeflow import compiling
from slimworks.pipeline.kubeflow.config import PASSWORD_VARIABLE

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1800),  # some thirty processes, each of which imports TFX
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
    ),
]

WORKSPACE = "s3://work/teams/photos"
HOME = "work/teams/photos/tiny"  # below the server's folder of buckets


class PodBackend(ProcessBackend):
    """Each try of a step finds an empty scratch folder, and what it leaves there is gone."""

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self._scratch = scratch

    def run(self, call: Call) -> int:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return super().run(call)


class Cluster:
    """The compiled pipeline with all that it needs around it."""

    def __init__(self, folder: Path, server: S3Server, port: int, photos: Path) -> None:
        self.server, self.folder, self.scratch = server, folder, folder / "scratch"
        self.settings = [
            *SETTINGS, f"kubeflow.workspace={WORKSPACE}", f"kubeflow.scratch={self.scratch}",
            "kubeflow.metadata.kind=mysql", "kubeflow.metadata.host=127.0.0.1",
            "kubeflow.steps.default.backoff_seconds=0", f"kubeflow.metadata.port={port}",
        ]  # fmt: skip
        self.yaml = folder / "pipeline.yaml"
        config = load_config(None, self.settings, str(photos))
        compiling.compile_to_kubeflow(config, "image:1", self.yaml)

    def execute(
        self,
        run_id: str,
        wanted: set[str] | None = None,
        backend: PodBackend | None = None,
        **parameters: Any,
    ) -> tuple[dict[str, Ended], PodBackend]:
        backend = backend or PodBackend(self.scratch)
        execution = Execution(
            CompiledPipeline.read(self.yaml), backend, run_id, self.folder / "containers" / run_id,
            parameters=parameters, wanted=wanted, max_parallel=1,
        )  # fmt: skip
        return execution.run(), backend

    def record(self, run_id: str, name: str = "run.json") -> Any:
        return files.read_json(self.server.root / HOME / "runs" / run_id / name)

    def folders(self, above: str) -> list[Path]:
        return sorted((self.server.root / HOME / "folders" / above).rglob("*.json"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tiny_photos: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    server = S3Server(folder)
    (server.root / "work").mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        database = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimworks-")))
        port = stack.enter_context(databases.mysql(database))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(PASSWORD_VARIABLE, databases.PASSWORD)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        remote.configure(())
        yield Cluster(folder, server, port, tiny_photos)


@pytest.fixture(scope="module")
def first(cluster: Cluster) -> dict[str, Ended]:
    ended, backend = cluster.execute("run-1")
    for step, one in ended.items():
        assert one.code == 0, f"{step}: {backend.output[step]}"
    return ended


def test_photos_to_a_pushed_model_equal_to_the_local_run(
    first: dict[str, Ended], cluster: Cluster, tiny_photos: Path, tmp_path: Path
) -> None:
    record = cluster.record("run-1")
    assert (record["verdict"], record["exit_code"], record["state"]) == ("pass", 0, "ended")
    assert {step["state"] for step in record["steps"]} == {"ran"}
    assert len(record["steps"]) == 11
    assert record["pushed_to"] == f"{WORKSPACE}/tiny/serving/tiny/{record['version']}"
    report = cluster.server.root / HOME / "runs/run-1/report.html"
    assert (first["report"].folder / "report_page").read_text() == report.read_text()
    assert "data:image/jpeg" in report.read_text(), "with the pictures of mistakes"
    pushed = cluster.server.root / HOME / "serving/tiny" / str(record["version"])
    code, local, errors = run(tiny_photos, tmp_path)
    assert code == 0, errors
    assert local["metrics"] == record["metrics"]
    made = [cluster.record("run-1", "manifest.json"), files.read_json(local["manifest"])]
    assert made[0]["result"]["weights_digest"] == made[1]["result"]["weights_digest"]
    weights = "variables/variables.data-00000-of-00001"
    assert (pushed / weights).read_bytes() == (Path(local["pushed_to"]) / weights).read_bytes()
    assert not (cluster.server.root / HOME / "unfinished").exists(), (
        "a finished training leaves nothing"
    )


def test_a_second_run_reuses_everything_and_uploads_no_artifact(
    first: dict[str, Ended], cluster: Cluster
) -> None:
    before = cluster.folders("")
    ended, backend = cluster.execute("run-2")
    for step, one in ended.items():
        assert one.code == 0, f"{step}: {backend.output[step]}"
    states = {step["name"]: step["state"] for step in cluster.record("run-2")["steps"]}
    assert {name for name, state in states.items() if state != "reused"} <= {"baseline"}
    assert cluster.folders("") == before
    assert "verdict: pass" in (ended["gate"].folder / "table").read_text(), "fetched to be shown"
    assert not (cluster.scratch / "tiny/artifacts/transform/transformed_examples").is_dir(), (
        "the report fetches only what it reads"
    )


def test_another_training_meets_the_blessed_model_as_its_baseline(
    first: dict[str, Ended], cluster: Cluster
) -> None:
    ended, backend = cluster.execute("run-3", overrides=["train.epochs=5"])
    assert ended["gate"].code == 0, backend.output["gate"]
    assert "baseline" in (ended["gate"].folder / "table").read_text()
    steps = {step["name"]: step["state"] for step in cluster.record("run-3")["steps"]}
    assert (steps["ingest"], steps["trainer"]) == ("reused", "ran")


def test_a_training_whose_pod_is_stopped_goes_on_in_another_one(
    first: dict[str, Ended], cluster: Cluster
) -> None:
    backend = PodBackend(cluster.scratch)
    wanted = {"ingest", "statistics", "schema", "validation", "transform", "trainer"}
    stopper = threading.Thread(target=_stop_at_first_checkpoint, args=(backend, cluster.scratch))
    stopper.start()
    ended, _ = cluster.execute("run-4", wanted, backend, overrides=["train.epochs=30"])
    stopper.join()
    assert (ended["trainer"].code, ended["trainer"].attempts) == (0, 2), backend.output["trainer"]
    assert "going on with the training" in backend.output["trainer"]
    assert not list((cluster.server.root / HOME / "unfinished").rglob("*.json"))


def _stop_at_first_checkpoint(backend: PodBackend, scratch: Path) -> None:
    deadline = time.monotonic() + 600
    while not list(scratch.glob("tiny/work/training-*/**/*.index")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    backend.stop()
