"""The compiled YAML, executed: every container's command line as it stands, on a workspace."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import SETTINGS, run
from process_backend import ProcessBackend

from slimworks.components import files
from slimworks.components.errors import EXIT_REFUSED
from slimworks.pipeline.containers.execution import Ended, Execution
from slimworks.pipeline.containers.ir import CompiledPipeline
from slimworks.pipeline.containers.placeholders import OUTPUT_FILE

pytestmark = [
    pytest.mark.big,
    pytest.mark.timeout(1200),  # a dozen processes, each of which imports TFX
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
    ),
]

RESULTS = "runs/{}/steps/{}.json"


@dataclasses.dataclass(frozen=True)
class Executed:
    """One run of the compiled pipeline, a process for each container."""

    ended: dict[str, Ended]
    output: dict[str, str]

    def text(self, step: str, name: str) -> str:
        return (self.ended[step].folder / name).read_text(encoding="utf-8")


def execute(
    pipeline: Path, run_id: str, wanted: set[str] | None = None, **parameters: Any
) -> Executed:
    backend = ProcessBackend()
    execution = Execution(
        CompiledPipeline.read(pipeline), backend, run_id, pipeline.parent / "containers" / run_id,
        parameters=parameters, wanted=wanted,
    )  # fmt: skip
    return Executed(execution.run(), backend.output)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def pipeline(workspace: Path, tiny_photos: Path) -> Path:
    """The YAML of a small pipeline."""
    output = workspace / "pipeline.yaml"
    command = [sys.executable, "-m", "slimworks", "compile", "--data", str(tiny_photos)]
    for setting in (*SETTINGS, f"kubeflow.workspace={workspace}"):
        command += ["--set", setting]
    subprocess.run([*command, "--output", str(output)], check=True, capture_output=True)
    return output


@pytest.fixture(scope="module")
def first(pipeline: Path) -> Executed:
    executed = execute(pipeline, "run-1")
    for step, ended in executed.ended.items():
        assert ended.code == 0, f"{step}: {executed.output[step]}"
    return executed


def test_photos_to_a_pushed_model_with_everything_shown(
    first: Executed, workspace: Path, tiny_photos: Path, tmp_path: Path
) -> None:
    home = workspace / "tiny"
    record = files.read_json(home / "runs/run-1/run.json")
    assert (record["verdict"], record["exit_code"], record["state"]) == ("pass", 0, "ended")
    assert {step["state"] for step in record["steps"]} == {"ran"}
    assert len(record["steps"]) == 11
    shown = json.loads(first.text("evaluator", OUTPUT_FILE))["artifacts"]
    metrics = shown["metrics"]["artifacts"][0]
    assert metrics["metadata"]["accuracy"] == record["metrics"]["accuracy"]
    matrix = shown["confusion_matrix"]["artifacts"][0]["metadata"]["confusionMatrix"]
    total = sum(sum(row["row"]) for row in matrix["rows"])
    assert total == metrics["metadata"]["num_images"]
    assert first.text("gate", "outcome") == "blessed"
    assert "verdict: pass" in first.text("gate", "table")
    report = (home / "runs/run-1/report.html").read_text()
    assert first.text("report", "report_page") == report
    assert list((home / "serving").glob("tiny/*/saved_model.pb"))
    # The command line reads the volume like a run root.
    listed = subprocess.run(
        [sys.executable, "-m", "slimworks", "runs", "--root", str(workspace), "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert [one["run_id"] for one in json.loads(listed.stdout)["runs"]] == ["run-1"]
    code, local, errors = run(tiny_photos, tmp_path / "local")
    assert code == 0, errors
    assert local["metrics"] == record["metrics"], "the local runner's figures"


def test_a_repeated_run_reuses_and_a_parameter_changes_what_it_touches(
    first: Executed, pipeline: Path, workspace: Path
) -> None:
    executed = execute(pipeline, "run-2", overrides=["gate.min_accuracy=0.999"])
    results = {
        path.stem: files.read_json(path) for path in (workspace / "tiny/runs/run-2/steps").iterdir()
    }
    reused = {name for name, result in results.items() if result["state"] == "reused"}
    assert reused >= {"ingest", "statistics", "transform", "schema", "validation", "trainer"}
    assert results["gate"]["state"] == "ran"
    assert "min_accuracy" in results["gate"]["reason"]
    assert executed.text("gate", "outcome") == "refused"
    assert not {"replay", "pusher"} & set(executed.ended), "left out"
    assert executed.ended["report"].code == 0
    assert files.read_json(workspace / "tiny/runs/run-2/run.json")["exit_code"] == EXIT_REFUSED


def test_a_failing_step_is_reported_and_the_same_name_resumes_the_run(
    first: Executed, pipeline: Path, workspace: Path
) -> None:
    executed = execute(pipeline, "job-3", run_name="fix", overrides=["train.checkpoint_path=/none"])
    assert set(executed.ended) >= {"ingest", "trainer", "report"}
    assert (executed.ended["trainer"].code, executed.ended["trainer"].attempts) == (2, 1)
    assert "Fix: " in executed.output["trainer"]
    record = files.read_json(workspace / "tiny/runs/fix/run.json")
    assert record["error"]["cause"].startswith("train.checkpoint_path is /none")
    assert record["steps"][-1]["state"] == "failed"
    wanted = {"ingest", "statistics", "schema", "validation", "transform", "trainer"}
    resumed = execute(pipeline, "job-4", wanted, run_name="fix")
    assert resumed.ended["trainer"].code == 0
    result = files.read_json(workspace / "tiny" / RESULTS.format("fix", "trainer"))
    assert result["state"] == "reused"
