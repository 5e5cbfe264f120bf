"""Trackers at the end of a run: what is asked before it starts, what is left after it."""

import logging
import socket
import sys

import pytest

from slimworks.components import files
from slimworks.components.errors import EXIT_PUSHED, ConfigError
from slimworks.pipeline import run as run_module
from slimworks.pipeline.config import load_config
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.run import RunOptions, conclude, run_pipeline


def test_missing_client_ends_the_run_before_it_starts(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(run_module, "_check_inputs", lambda *_: None)  # photos are not the matter
    config = load_config(overrides=["tracking.mlflow_uri=http://127.0.0.1:9"], data=str(tmp_path))
    with pytest.raises(ConfigError, match=r"MLflow client is not installed"):
        run_pipeline(config, RunOptions(root=tmp_path / "root"))
    assert not (tmp_path / "root").exists()


def test_unreachable_trackers_leave_a_warning_and_a_reason(tmp_path, caplog) -> None:
    paths = PipelinePaths(tmp_path, "flowers")
    paths.run("r1").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # not listening
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        settings = [f"tracking.mlflow_uri={uri}", "tracking.tensorboard=true"]
        config = load_config(overrides=settings, data=str(tmp_path))
        with caplog.at_level(logging.WARNING, "slimworks.pipeline.tracking"):
            outcome = conclude(config, RunOptions(root=tmp_path), paths, "r1", [], 1.0)
    assert outcome.exit_code == EXIT_PUSHED
    kept = files.read_json(paths.run("r1") / "run.json")
    assert kept["tracking"] == outcome.tracking
    assert kept["tracking"]["mlflow"].startswith(f"failed: MLflow at {uri} did not take the run")
    assert "no evaluation" in kept["tracking"]["tensorboard"]
    warnings = [r.message for r in caplog.records if r.name == "slimworks.pipeline.tracking"]
    assert len(warnings) == 2
    assert all("\n" not in warning for warning in warnings)


def test_run_without_trackers_has_nothing_to_say(tmp_path) -> None:
    paths = PipelinePaths(tmp_path, "flowers")
    paths.run("r1").mkdir(parents=True)
    outcome = conclude(
        load_config(data=str(tmp_path)), RunOptions(root=tmp_path), paths, "r1", [], 1.0
    )
    assert outcome.tracking == {}
    assert "report.html" in {path.name for path in paths.run("r1").iterdir()}
