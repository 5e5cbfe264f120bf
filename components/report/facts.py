"""What a run left behind: where it is, and its JSON files as they are."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files, formats


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
        manifest_path: The run's manifest.json, for the lineage.
        pushed: {"version", "base_path", "pushed_to"} when a version was pushed.
        steps: One {"name", "seconds", "cached", "reason", "state"} per node, in order; also
            "cpu_seconds" and "peak_memory_bytes" where they were measured.
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
    manifest_path: str | None = None
    pushed: Mapping[str, Any] | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    config_yaml: str | None = None
    command: str | None = None
    error: Mapping[str, Any] | None = None
    worst_mistakes: int = 24


@dataclasses.dataclass(frozen=True)
class Facts:
    """Contents of the JSON files of a run; None where a file is missing.

    Attributes:
        decision: decision.json.
        metrics: metrics.json of the evaluation.
        drift: drift.json.
        model: model.json.
        replay: replay.json.
        manifest: manifest.json of the run.
        curves: Lines of the training's metrics.jsonl.
        label_map: Of the run.
    """

    decision: dict[str, Any] | None
    metrics: dict[str, Any] | None
    drift: dict[str, Any] | None
    model: dict[str, Any] | None
    replay: dict[str, Any] | None
    manifest: dict[str, Any] | None
    curves: list[dict[str, Any]]
    label_map: contracts.LabelMap | None


def read_facts(inputs: ReportInputs) -> Facts:
    """Reads what there is."""
    curves = _file(inputs.model_dir, contracts.METRICS_FILE)
    has_label_map = _file(inputs.label_map_dir, contracts.LABEL_MAP_FILE) is not None
    return Facts(
        decision=_read_json(inputs.decision_path),
        metrics=_read_json(_file(inputs.evaluation_dir, contracts.EVALUATION_METRICS_FILE)),
        drift=_read_json(inputs.drift_path),
        model=_read_json(_file(inputs.model_dir, contracts.MODEL_FACTS_FILE)),
        replay=_read_json(inputs.replay_path),
        manifest=_read_json(inputs.manifest_path),
        curves=[] if curves is None else list(files.read_jsonl(curves)),
        label_map=contracts.LabelMap.read(str(inputs.label_map_dir)) if has_label_map else None,
    )


def _file(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    if folder is None or not (Path(folder) / name).is_file():
        return None
    return Path(folder) / name


def _read_json(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    if path is None or not Path(path).is_file():
        return None
    return formats.read(path)
