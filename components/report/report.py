"""Writes the report of one run: a single HTML file that needs no network."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.report import classes, curves, data, mistakes, verdict
from slimworks.components.report.rendering import render

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ReportInputs:
    """Where the facts of a run are. What is None or missing on disk leaves a note behind.

    Attributes:
        run_id: Run that the report is about.
        name: Pipeline name.
        title: Title of the page.
        ingest_report_dir: IngestReport artifact: summary, rejects, duplicates.
        drift_path: The validation's drift.json.
        label_map_dir: LabelMap artifact.
        model_dir: Model artifact: metrics.jsonl, model.json.
        evaluation_dir: Evaluation artifact: metrics.json, predictions.
        examples_dir: Examples artifact with the original images.
        decision_path: The gate's decision.json.
        replay_path: replay.json.
        pushed: {"version", "base_path", "pushed_to"} when a version was pushed.
        steps: One {"name", "seconds", "cached", "reason", "state"} per node, in order.
        config_yaml: The resolved configuration.
        command: What to type to get the same run.
        error: {"cause", "fix"} of the error that ended the run.
        worst_mistakes: Thumbnails of the most confident mistakes.
    """

    run_id: str
    name: str
    title: str
    ingest_report_dir: str | None = None
    drift_path: str | None = None
    label_map_dir: str | None = None
    model_dir: str | None = None
    evaluation_dir: str | None = None
    examples_dir: str | None = None
    decision_path: str | None = None
    replay_path: str | None = None
    pushed: Mapping[str, Any] | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    config_yaml: str | None = None
    command: str | None = None
    error: Mapping[str, Any] | None = None
    worst_mistakes: int = 24


def write_report(output_path: str | os.PathLike[str], inputs: ReportInputs) -> None:
    """Writes one self-contained HTML page to `output_path`, atomically."""
    files.write_text(output_path, render_report(inputs))
    _LOGGER.info("wrote %s", output_path)


def render_report(inputs: ReportInputs) -> str:
    """The page as text: styles, scripts and images are inside, nothing is loaded."""
    return render("report.html.j2", _views(inputs))


def _views(inputs: ReportInputs) -> dict[str, Any]:
    """What the template shows; a view is None where its facts are missing."""
    decision = _read_json(inputs.decision_path)
    metrics = _read_json(_file(inputs.evaluation_dir, contracts.EVALUATION_METRICS_FILE))
    drift = _read_json(inputs.drift_path)
    ingest = inputs.ingest_report_dir
    return {
        "inputs": inputs,
        "title": inputs.title,
        "headline": verdict.headline(decision, inputs.pushed, inputs.error, drift),
        "tiles": verdict.tiles(metrics, decision),
        "bounds": verdict.bound_rows(decision),
        "replay": verdict.replay_rows(_read_json(inputs.replay_path)),
        "data": data.data_view(Path(ingest) if ingest else None, drift),
        "class_names": _class_names(inputs.label_map_dir, metrics),
        "charts": curves.charts(
            _read_jsonl(_file(inputs.model_dir, contracts.METRICS_FILE)), _model(inputs)
        ),
        "model": _model(inputs),
        "metrics": metrics,
        "matrix": classes.matrix(metrics),
        "confusions": classes.confusions(metrics),
        "gallery": mistakes.gallery(
            _file(inputs.evaluation_dir, contracts.PREDICTIONS_FILE),
            metrics,
            inputs.examples_dir,
            inputs.worst_mistakes,
        ),
    }


def _class_names(label_map_dir: str | None, metrics: Mapping[str, Any] | None) -> list[str]:
    if _file(label_map_dir, contracts.LABEL_MAP_FILE) is not None:
        return list(contracts.LabelMap.read(str(label_map_dir)).class_names)
    return [entry["class_name"] for entry in metrics["classes"]] if metrics else []


def _model(inputs: ReportInputs) -> dict[str, Any] | None:
    return _read_json(_file(inputs.model_dir, contracts.MODEL_FACTS_FILE))


def _file(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    if folder is None or not (Path(folder) / name).is_file():
        return None
    return Path(folder) / name


def _read_json(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    if path is None or not Path(path).is_file():
        return None
    value: dict[str, Any] = files.read_json(path)
    return value


def _read_jsonl(path: Path | None) -> list[dict[str, Any]]:
    return [] if path is None else list(files.read_jsonl(path))
