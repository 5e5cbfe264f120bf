"""Hands a run to the trackers that `tracking` names. None of them changes how the run ends."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slimworks.components.errors import SlimWorksError
from slimworks.components.report.facts import ReportInputs
from slimworks.components.tracking import mlflow_sink, tensorboard_sink
from slimworks.components.tracking.address import without_secrets
from slimworks.components.tracking.tracked_run import tracked_run
from slimworks.pipeline.config import PipelineConfig

if TYPE_CHECKING:
    from slimworks.pipeline.run import RunOutcome

_log = logging.getLogger(__name__)


def track(
    config: PipelineConfig, inputs: ReportInputs, report: Path, outcome: RunOutcome
) -> dict[str, str]:
    """Returns what became of each sink: where the run is now, or `failed: ...`.

    Args:
        config: The run's configuration.
        inputs: Where the run's facts are.
        report: Its report.html.
        outcome: What it came to.
    """
    sinks: dict[str, Callable[[], str]] = {}
    if config.tracking.mlflow_uri:
        sinks["mlflow"] = functools.partial(_log_to_mlflow, config, inputs, report, outcome)
    if config.tracking.tensorboard:
        sinks["tensorboard"] = functools.partial(
            tensorboard_sink.write_evaluation, inputs, config.tracking.tensorboard_dir
        )
    return {name: _result_of(name, sink) for name, sink in sinks.items()}


def _log_to_mlflow(
    config: PipelineConfig, inputs: ReportInputs, report: Path, outcome: RunOutcome
) -> str:
    tracking = config.tracking
    run = tracked_run(
        inputs,
        report,
        outcome.to_json(),
        config.model_dump(mode="json"),
        PipelineConfig().model_dump(mode="json"),
    )
    return mlflow_sink.log_run(
        run,
        str(tracking.mlflow_uri),
        tracking.mlflow_experiment or inputs.name,
        tracking.mlflow_timeout_seconds,
    )


def _result_of(name: str, sink: Callable[[], str]) -> str:
    try:
        return sink()
    except SlimWorksError as error:
        _log.warning("tracking by %s: %s", name, error)
        return f"failed: {error}"
    except Exception as error:
        # The model is pushed or refused already: as with the report, nothing may hide that.
        _log.exception("tracking by %s failed", name)
        return f"failed: {type(error).__name__}: {without_secrets(str(error))}"
