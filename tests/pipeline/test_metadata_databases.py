"""ML Metadata in real databases and behind real gRPC: the first run, the second, the refusals."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import databases
import pytest
from ports import free_port
from process_backend import ProcessBackend
from refusals import refusal

from slimworks.components.errors import ConfigError
from slimworks.pipeline import tfx_import
from slimworks.pipeline.config import load_config
from slimworks.pipeline.containers.execution import Execution
from slimworks.pipeline.containers.ir import CompiledPipeline
from slimworks.pipeline.kubeflow import compiling
from slimworks.pipeline.kubeflow.config import PASSWORD_VARIABLE, MetadataConfig

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
    ),
]

SERVERS = {
    "mysql": databases.mysql,
    "postgresql": databases.postgresql,
    "grpc": databases.grpc_server,
}


@pytest.fixture(scope="module", params=SERVERS)
def store(request: pytest.FixtureRequest) -> Iterator[MetadataConfig]:
    """Where ML Metadata is kept; the password is in the environment only."""
    with contextlib.ExitStack() as stack:
        # Not in pytest's folder, which is root's alone: PostgreSQL runs as another user.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimworks-")))
        port = stack.enter_context(SERVERS[request.param](folder))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(PASSWORD_VARIABLE, databases.PASSWORD)
        yield MetadataConfig(kind=request.param, host="127.0.0.1", port=port)


def test_a_second_run_reuses_what_the_first_one_recorded(
    store: MetadataConfig, tiny_photos: Path, tmp_path: Path
) -> None:
    settings = [f"kubeflow.workspace={tmp_path}", "name=tiny", "kubeflow.metadata.host=127.0.0.1"]
    settings += [f"kubeflow.metadata.kind={store.kind}", f"kubeflow.metadata.port={store.port}"]
    config = load_config(None, settings, str(tiny_photos))
    compiled = tmp_path / "pipeline.yaml"
    compiling.compile_to_kubeflow(config, "image:1", compiled)
    assert databases.PASSWORD not in compiled.read_text()
    for run_id, state, wanted in (
        ("first", "ran", {"ingest"}),
        ("second", "reused", {"ingest", "report"}),
    ):
        backend = ProcessBackend()
        ended = Execution(
            CompiledPipeline.read(compiled), backend, run_id, tmp_path / run_id, wanted=wanted
        ).run()
        assert ended["ingest"].code == 0, backend.output["ingest"]
        assert json.loads(backend.output["ingest"].splitlines()[-1])["state"] == state
    record = json.loads((tmp_path / "tiny/runs/second/run.json").read_text())
    (step,) = record["steps"]
    assert (step["name"], step["reason"]) == ("ingest", "same inputs and settings as in run first")
    assert record["data"]["num_images"] == 120, "found through ML Metadata"
    assert not (tmp_path / "tiny/metadata.sqlite").exists()


def test_a_wrong_password_is_told_without_the_password(
    store: MetadataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.kind == "grpc":
        return  # its service knows no accounts
    monkeypatch.setenv(PASSWORD_VARIABLE, "wr0ng")
    cause, fix = _refused(store, tmp_path)
    assert cause == (
        f"ML Metadata does not answer: {store.kind} at 127.0.0.1:{store.port}, "
        "database slimworks, user slimworks."
    )
    assert PASSWORD_VARIABLE in fix
    assert "wr0ng" not in cause + fix


def test_a_server_that_is_not_there_is_named(store: MetadataConfig, tmp_path: Path) -> None:
    nobody = store.model_copy(update={"port": free_port()})
    cause, fix = _refused(nobody, tmp_path)
    assert cause.startswith(f"ML Metadata does not answer: {store.kind} at 127.0.0.1:{nobody.port}")
    assert fix.startswith("Check kubeflow.metadata")


def _refused(config: MetadataConfig, folder: Path) -> tuple[str, str]:
    tfx_import.load()
    from slimworks.pipeline import metadata

    connection = metadata.connect(config, folder / "none")
    return refusal(ConfigError, metadata.check_reachable, config, connection)
