"""Hands a run's facts to the report library, and to what else is told of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts
from slimworks.components.report.cards import write_cards
from slimworks.components.report.facts import ReportInputs
from slimworks.components.report.report import write_report
from slimworks.pipeline.facts import RunFacts

if TYPE_CHECKING:
    from slimworks.pipeline.run import RunOutcome

_log = logging.getLogger(__name__)


def write_run_report(path: Path, inputs: ReportInputs) -> None:
    """Writes the run's self-contained report.html, and the cards of the version it pushed."""
    write_report(str(path), inputs)
    write_cards(inputs)


def try_run_report(path: Path, inputs: ReportInputs) -> bool:
    """As `write_run_report`; says what went wrong, and returns whether nothing did.

    The model is pushed or refused already: a page that cannot be drawn must not hide that.
    """
    try:
        write_run_report(path, inputs)
    except OSError as error:  # no room, or no permission: no fault of the page
        _log.warning("the report could not be written: %s", error)
        return False
    except Exception:
        _log.exception("the report could not be written")
        return False
    return True


def report_inputs(
    run_folder: Path,
    facts: RunFacts,
    outcome: RunOutcome,
    config_yaml: str,
    command: str,
    worst_mistakes: int,
) -> ReportInputs:
    """Says where the facts of a run are."""
    blessing, replay = facts.folder("gate", "blessing"), facts.folder("replay", "replay")
    anomalies = facts.folder("validation", "anomalies")
    return ReportInputs(
        run_id=outcome.run_id,
        name=outcome.name,
        title=f"{outcome.name}: run {outcome.run_id}",
        drift_path=_text(anomalies and anomalies / contracts.DRIFT_FILE),
        ingest_report_dir=_text(facts.folder("ingest", "report")),
        label_map_dir=_text(facts.folder("ingest", "label_map")),
        model_dir=_text(facts.folder("trainer", "model")),
        evaluation_dir=_text(facts.folder("evaluator", "evaluation")),
        examples_dir=_text(facts.folder("ingest", "examples")),
        decision_path=_text(blessing and blessing / contracts.DECISION_FILE),
        replay_path=_text(replay and replay / contracts.REPLAY_FILE),
        manifest_path=str(run_folder / contracts.MANIFEST_FILE),
        pushed=facts.pushed(),
        steps=[_step(step) for step in outcome.steps if step["name"] != "baseline"],
        config_yaml=config_yaml,
        command=command,
        error=outcome.error,
        worst_mistakes=worst_mistakes,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _step(step: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "name", "seconds", "cached", "reason", "state", "cpu_seconds", "peak_memory_bytes",
    )  # fmt: skip
    return {key: step[key] for key in keys if key in step}
