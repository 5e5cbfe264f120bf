"""A run as trackers see it: parameters, metrics, curves, tags and files, all from its facts."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.report.cards import MODEL_CARD, cards_folder
from slimworks.components.report.facts import Facts, ReportInputs, read_facts
from slimworks.components.tracking.address import without_secrets

MAX_CLASSES = 100  # with more, the figures of single classes stay in metrics.json
MAX_NAME_CHARACTERS = 200  # of a class name within a metric's; MLflow takes 250 in all
MAX_PARAM_CHARACTERS = 500  # what every MLflow since 1.28 takes

_CLASS_METRICS = ("precision", "recall", "f1", "ap")
_COUNTS = ("num_images", "num_nan", "majority_class_rate")
_NO_CURVES = ("step", "epoch", "seconds")  # of a line of metrics.jsonl: where it is, not what
_FORBIDDEN = re.compile(r"[^\w\-. ]")


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of a curve.

    Attributes:
        name: `train/loss`.
        value: Finite.
        step: Optimiser step.
        milliseconds: When it was measured, since 1970.
    """

    name: str
    value: float
    step: int
    milliseconds: int


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told. The same run gives the same points, so that it can be told again.

    Attributes:
        run_id: Of SlimWorks.
        name: Pipeline name.
        has_failed: An error ended it. A refused candidate is no failure.
        seconds: How long it took.
        params: Settings that differ from the default, network, image size, data source.
        points: Evaluation metrics (step 0) and training curves.
        tags: Verdict, versions, commit.
        artifacts: Files that exist.
    """

    run_id: str
    name: str
    has_failed: bool
    seconds: float
    params: dict[str, str]
    points: list[Point]
    tags: dict[str, str]
    artifacts: list[Path]


def tracked_run(
    inputs: ReportInputs,
    report: Path,
    outcome: Mapping[str, Any],
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> TrackedRun:
    """Collects what a tracker is told of a run.

    Args:
        inputs: Where the run's facts are.
        report: Its report.html.
        outcome: As in run.json.
        settings: The resolved configuration as JSON values.
        defaults: The default configuration as JSON values.
    """
    facts = read_facts(inputs)
    return TrackedRun(
        run_id=inputs.run_id,
        name=inputs.name,
        has_failed=outcome["error"] is not None,
        seconds=float(outcome["seconds"]),
        params=_params(facts, settings, defaults),
        points=_points(inputs, facts),
        tags=_tags(inputs, facts, outcome),
        artifacts=_artifacts(inputs, report),
    )


def changed_settings(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yields (`section.key`, value) of what differs from the default.

    A mapping whose keys are the user's (class names, steps) is one value.
    """
    for key, value in settings.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping) and default:
            yield from changed_settings(value, default, f"{prefix}{key}.")
        elif value != default:
            yield f"{prefix}{key}", value


def evaluation_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The finite figures of metrics.json: X, X_low and X_high; of classes `class/NAME/X`."""
    if metrics is None:
        return {}
    names = [key for key in metrics if f"{key}_interval" in metrics]
    figures = dict(_with_interval(metrics, names))
    figures |= {key: metrics[key] for key in _COUNTS if metrics.get(key) is not None}
    worst = metrics.get("worst_class") or {}
    figures |= {f"worst_class_{k}": v for k, v in _with_interval(worst, ["recall"])}
    classes = metrics.get("classes") or []
    if len(classes) <= MAX_CLASSES:
        for name, entry in zip(_metric_names(classes), classes, strict=True):
            for key, value in _with_interval(entry, _CLASS_METRICS):
                figures[f"class/{name}/{key}"] = value
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _with_interval(metrics: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        if (value := metrics.get(name)) is None:
            continue
        yield name, value
        if (interval := metrics.get(f"{name}_interval")) is not None:
            yield f"{name}_low", interval[0]
            yield f"{name}_high", interval[1]


def _metric_names(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A part of a metric's name for each class: MLflow takes letters, digits, `_-. ` only."""
    names: list[str] = []
    for entry in classes:
        name = _FORBIDDEN.sub("_", entry["class_name"])[:MAX_NAME_CHARACTERS]
        if not name.strip("."):  # `.` and `..` are no names in a path
            name = "_" * max(len(name), 1)
        names.append(name if name not in names else f"{name}_{entry['class_index']}")
    return names


def _params(
    facts: Facts, settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, str]:
    values = {"data.source": settings["data"]["source"]}
    values |= {f"model.{key}": settings["model"][key] for key in ("net", "image_size")}
    # Who is told of a run is no part of it.
    told = {key: value for key, value in settings.items() if key != "tracking"}
    values |= dict(changed_settings(told, defaults))
    model = facts.model or {}
    values |= {f"model.{key}": model[key] for key in ("net", "image_size") if key in model}
    return {name: _param(value) for name, value in values.items()}


def _param(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = without_secrets(text)
    if len(text) <= MAX_PARAM_CHARACTERS:
        return text
    return text[: MAX_PARAM_CHARACTERS - 1] + "…"


def _points(inputs: ReportInputs, facts: Facts) -> list[Point]:
    points = []
    if inputs.evaluation_dir is not None and facts.metrics is not None:
        written = _written(Path(inputs.evaluation_dir) / contracts.EVALUATION_METRICS_FILE)
        for name, value in evaluation_metrics(facts.metrics).items():
            points.append(Point(name, value, 0, written))
    if inputs.model_dir is not None and facts.curves:
        points += _curve_points(
            facts.curves, _written(Path(inputs.model_dir) / contracts.METRICS_FILE)
        )
    return points


def _curve_points(curves: Sequence[Mapping[str, Any]], ended: int) -> Iterator[Point]:
    """Points of metrics.jsonl, whose lines say how many seconds after the start they are."""
    last = curves[-1].get("seconds", 0.0)
    for line in curves:
        milliseconds = ended - round(1000 * (last - line.get("seconds", last)))
        for key, value in line.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and key not in _NO_CURVES and math.isfinite(value):
                yield Point(f"{line['split']}/{key}", float(value), line["step"], milliseconds)


def _written(path: Path) -> int:
    """When a file was written, in milliseconds: the same however often a tracker is told."""
    return path.stat().st_mtime_ns // 1_000_000


def _tags(inputs: ReportInputs, facts: Facts, outcome: Mapping[str, Any]) -> dict[str, str]:
    git = ((facts.manifest or {}).get("code") or {}).get("git") or {}
    tags = {
        "slimworks.run_id": inputs.run_id,
        "slimworks.pipeline": inputs.name,
        "slimworks.verdict": outcome["verdict"],
        "slimworks.version": outcome["version"],
        "slimworks.label_map_version": outcome["label_map_version"],
        "mlflow.source.name": "slimworks",
        "mlflow.source.git.commit": git.get("commit"),
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


def _artifacts(inputs: ReportInputs, report: Path) -> list[Path]:
    paths = [report]
    paths += [Path(path) for path in (inputs.decision_path, inputs.manifest_path) if path]
    if inputs.evaluation_dir:
        paths.append(Path(inputs.evaluation_dir) / contracts.EVALUATION_METRICS_FILE)
    if inputs.pushed is not None:
        folder = cards_folder(inputs.pushed["base_path"], inputs.pushed["version"])
        paths.append(Path(folder) / MODEL_CARD)  # of an object store: none that can be uploaded
    return [path for path in paths if path.is_file()]
