"""What steps leave for the Kubeflow UI, for the report, and where they keep ML Metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slimworks.components import files
from slimworks.pipeline import tfx_import
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.kubeflow import finishing, outputs
from slimworks.pipeline.kubeflow.config import PASSWORD_VARIABLE, MetadataConfig
from slimworks.pipeline.launcher import FAILED, RAN, NodeResult
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.run import RunOptions, conclude


def metrics(names: list[str]) -> dict[str, Any]:
    matrix = [[int(row == column) for column in names] for row in names]
    return {
        "num_images": len(names), "accuracy": 1.0, "top5_accuracy": None, "macro_f1": 1.0,
        "log_loss": 0.1, "ece": 0.02, "confusion_matrix": matrix,
        "classes": [{"class_name": name} for name in names],
    }  # fmt: skip


def decision(verdict: str, blessed: bool, on_inconclusive: str = "refuse") -> dict[str, Any]:
    return {
        "verdict": verdict, "blessed": blessed, "on_inconclusive": on_inconclusive, "bounds": [],
        "reasons": ["Because <b>."],
    }  # fmt: skip


# --- The UI -----------------------------------------------------------------------------------


def test_kfps_own_metrics_have_the_same_form() -> None:
    """The confusion matrix as kfp's `log_confusion_matrix` would write it."""
    from kfp import dsl

    artifact = dsl.ClassificationMetrics(name="m", uri="s3://m", metadata={})
    artifact.log_confusion_matrix(["a", "b"], [[1, 0], [0, 1]])
    assert outputs.metrics_shown(metrics(["a", "b"]))["confusion_matrix"] == artifact.metadata


def test_figures_that_are_missing_are_left_out() -> None:
    shown = outputs.metrics_shown(metrics(["a", "b"]))["metrics"]
    assert shown == {
        "num_images": 2, "accuracy": 1.0, "macro_f1": 1.0, "log_loss": 0.1, "ece": 0.02,
    }  # fmt: skip
    assert outputs.metrics_shown(None) == {}


def test_a_matrix_of_too_many_classes_is_left_to_the_report() -> None:
    names = [f"c{i}" for i in range(outputs.MAX_CLASSES + 1)]
    assert set(outputs.metrics_shown(metrics(names))) == {"metrics"}
    assert "confusion_matrix" in outputs.metrics_shown(metrics(names[:-1]))


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (decision("pass", True), "blessed"),
        (decision("fail", True), "blessed"),  # by --force
        (decision("fail", False), "refused"),
        (decision("inconclusive", False), "refused"),
        (decision("inconclusive", False, "keep"), "kept"),
        (decision("fail", False, "keep"), "refused"),
        (None, "nothing to do"),
    ],
)
def test_only_a_refusal_leaves_out_the_push(found: dict[str, Any] | None, outcome: str) -> None:
    assert outputs.gate_outcome(found) == outcome


def test_the_gates_page_shows_its_table_as_text() -> None:
    page = outputs.gate_page(decision("pass", True))
    assert "verdict: pass" in page
    assert "Because &lt;b&gt;." in page
    assert "did not run" in outputs.gate_page(None)


def test_the_executor_output_names_each_artifact_at_kubeflows_own_place(tmp_path: Path) -> None:
    given = {
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"name": f"n-{name}", "uri": f"s3://bucket/{name}"}]}
                for name in ("metrics", "table")
            },
            "outputFile": str(tmp_path / "kfp" / "output.json"),
        }
    }
    outputs.write_executor_output(given, {"metrics": {"accuracy": 0.5}})
    value = json.loads((tmp_path / "kfp/output.json").read_text())
    assert value["artifacts"]["metrics"]["artifacts"] == [
        {"name": "n-metrics", "uri": "s3://bucket/metrics", "metadata": {"accuracy": 0.5}}
    ]
    assert value["artifacts"]["table"]["artifacts"][0]["metadata"] == {}


# --- What the report is made of ---------------------------------------------------------------


def test_results_are_read_in_order_and_a_killed_step_is_found(tmp_path: Path) -> None:
    tfx_import.load()
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from slimworks.pipeline import metadata

    paths = PipelinePaths(tmp_path, "tiny")
    connection = metadata.connect(MetadataConfig(), paths.metadata)
    assert finishing.read_results(paths, "run-1", connection) == [], "nothing began"
    with connection as handle:
        store = handle.store
        kind = store.put_execution_type(mlmd.ExecutionType(name="trainer"))
        contexts = [
            mlmd.Context(type_id=store.put_context_type(mlmd.ContextType(name=name)), name=value)
            for name, value in (("node", "tiny.trainer"), ("pipeline_run", "run-1"))
        ]
        execution = mlmd.Execution(type_id=kind, last_known_state=metadata.RUNNING)
        store.put_execution(execution, [], contexts)
    for name in ("statistics", "ingest"):
        finishing.write_result(paths, "run-1", NodeResult(name, RAN, 2.0, "first run", 1))
    results = finishing.read_results(paths, "run-1", connection)
    assert [result.name for result in results] == ["ingest", "statistics", "trainer"]
    assert results[0] == NodeResult("ingest", RAN, 2.0, "first run", 1)
    assert results[2].state == FAILED
    assert results[2].error is not None
    assert results[2].error["cause"] == (
        "The container of trainer ended without a result: it was killed."
    )
    assert results[2].error["fix"] == (
        "Look at its pod; where memory ran out, raise kubeflow.steps.trainer.memory."
    )
    with connection as handle:
        metadata.abandon_unfinished(handle.store, "tiny", ("trainer",), "run-2")
        assert handle.store.get_executions()[0].last_known_state == metadata.RUNNING
        metadata.abandon_unfinished(handle.store, "tiny", ("trainer",), "run-1")
        assert handle.store.get_executions()[0].last_known_state == metadata.FAILED


def test_the_outcome_that_a_container_left_is_read_back(tmp_path: Path) -> None:
    tfx_import.load()
    from slimworks.pipeline import metadata

    paths = PipelinePaths(tmp_path, "tiny")
    connection = metadata.connect(MetadataConfig(), paths.metadata)
    results = [NodeResult("ingest", RAN, 2.0, "first run", 1)]
    outcome = conclude(PipelineConfig(), RunOptions(), paths, "run-1", results, 3.0, connection)
    assert finishing.read_outcome(paths, "run-1", connection) == outcome
    record = paths.run("run-1") / "run.json"
    files.write_json(record, {**files.read_json(record), "state": "running"})
    assert finishing.read_outcome(paths, "run-1", connection) is None


# --- ML Metadata ------------------------------------------------------------------------------


def test_databases_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tfx_import.load()
    from slimworks.pipeline import metadata

    monkeypatch.setenv(PASSWORD_VARIABLE, "s3 c'ret")
    path = tmp_path / "metadata.sqlite"

    def connected(kind: Any, port: int = 0) -> Any:
        config = MetadataConfig(kind=kind, host="db.example", port=port)
        return metadata.connect(config, path).connection_config

    mysql = connected("mysql").mysql
    assert (mysql.host, mysql.port, mysql.database) == ("db.example", 3306, "slimworks")
    assert (mysql.user, mysql.password) == ("slimworks", "s3 c'ret")
    postgresql = connected("postgresql", 5433).postgresql
    assert (postgresql.host, postgresql.port) == ("db.example", "5433")
    # It becomes part of a connection string.
    assert (postgresql.dbname, postgresql.password) == ("slimworks", r"'s3 c\'ret'")
    grpc = connected("grpc")
    assert (grpc.host, grpc.port) == ("db.example", 8080)
    sqlite = metadata.connect(MetadataConfig(), path)
    assert isinstance(sqlite, metadata.SqliteMetadata)
