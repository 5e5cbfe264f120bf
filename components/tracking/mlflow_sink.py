"""A run in MLflow: one MLflow run for each run of SlimWorks, found again by its tag."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from slimworks.components.errors import ConfigError, SlimWorksError
from slimworks.components.tracking.address import without_secrets
from slimworks.components.tracking.tracked_run import TrackedRun

# Of one log_batch: https://mlflow.org/docs/latest/rest-api.html#log-batch
MAX_METRICS, MAX_PARAMS = 1_000, 100
MAX_REASON_CHARACTERS = 300
RUN_ID_TAG = "slimworks.run_id"

_T = TypeVar("_T")


def check_installed() -> None:
    """Raises ConfigError where the MLflow client is not installed."""
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "tracking.mlflow_uri is set, and the MLflow client is not installed.",
            'Type `pip install "slimworks[mlflow]"`.',
        )


def log_run(run: TrackedRun, uri: str, experiment: str, timeout_seconds: int) -> str:
    """Writes the run, or brings up to date what an earlier call wrote.

    Args:
        run: What to write.
        uri: Of the server.
        experiment: Made where there is none.
        timeout_seconds: To wait for each answer; after the second silence it gives up.

    Returns:
        Address of the run's page.

    Raises:
        ConfigError: The client is not installed.
        SlimWorksError: The server cannot be reached, or refuses.
    """
    check_installed()
    with _environment(timeout_seconds):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return _log_run(MlflowClient(uri), run, uri, experiment)
        except (MlflowException, OSError) as error:  # requests' errors are OSErrors
            raise SlimWorksError(
                f"MLflow at {uri} did not take the run: {_reason(error)}",
                "Look whether the server answers there and the account may write; the run itself "
                "is not touched.",
            ) from None


@contextlib.contextmanager
def _environment(timeout_seconds: int) -> Iterator[None]:
    """Bounds MLflow's patience, and keeps it quiet; what the user has set holds.

    Its client reads these variables at every request. It asks seven times with pauses of minutes by
    default, prints the run's address to stdout, and reports its usage to its makers.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _log_run(client: Any, run: TrackedRun, uri: str, experiment: str) -> str:
    from mlflow.entities import Metric, Param, RunTag

    experiment_id = _experiment_id(client, experiment)
    found = _find_or_create(client, experiment_id, run)
    mlflow_id = found.info.run_id
    known = found.data.params  # a parameter cannot be written twice
    params = [Param(key, value) for key, value in run.params.items() if key not in known]
    for some_params in _chunks(params, MAX_PARAMS):
        client.log_batch(mlflow_id, params=some_params)
    metrics = [Metric(p.name, p.value, p.milliseconds, p.step) for p in run.points]
    for some_metrics in _chunks(metrics, MAX_METRICS):
        client.log_batch(mlflow_id, metrics=some_metrics)
    client.log_batch(mlflow_id, tags=[RunTag(key, value) for key, value in run.tags.items()])
    for path in run.artifacts:
        client.log_artifact(mlflow_id, str(path))
    client.set_terminated(mlflow_id, "FAILED" if run.has_failed else "FINISHED")
    return f"{uri}/#/experiments/{experiment_id}/runs/{mlflow_id}"


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        # Another run made it between the two questions.
        return str(client.get_experiment_by_name(name).experiment_id)


def _find_or_create(client: Any, experiment_id: str, run: TrackedRun) -> Any:
    query = f"tags.`{RUN_ID_TAG}` = '{run.run_id}'"
    found = client.search_runs([experiment_id], query, max_results=1)
    if found:
        return found[0]
    started = round(1000 * (time.time() - run.seconds))
    return client.create_run(
        experiment_id, start_time=started, tags={RUN_ID_TAG: run.run_id}, run_name=run.run_id
    )


def _chunks(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _reason(error: Exception) -> str:
    """The error's message on one line, short, without secrets."""
    text = " ".join(without_secrets(str(error)).split()) or type(error).__name__
    if len(text) > MAX_REASON_CHARACTERS:
        text = text[: MAX_REASON_CHARACTERS - 1] + "…"
    return text if text.endswith((".", "…")) else f"{text}."
