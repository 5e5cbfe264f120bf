"""The page that lists all runs of a run root: what became of each, and where the metrics go."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components import files
from slimworks.components.report import wording
from slimworks.components.report.rendering import render
from slimworks.components.report.trends import Trend, trends
from slimworks.components.report.verdict import NEUTRAL, TONES

MAX_ROWS = 500  # of one pipeline; `slimworks runs` lists them all


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One run; `report` is the path of its page from the index, empty where it has none."""

    run_id: str
    state: str
    tone: str
    accuracy: float | None
    accuracy_interval: Sequence[float] | None
    macro_f1: float | None
    num_images: int | None
    version: str
    is_live: bool
    seconds: float | None
    why: str
    report: str


@dataclasses.dataclass(frozen=True)
class PipelineRuns:
    """The runs of one pipeline, newest first."""

    name: str
    live: int | None
    rows: Sequence[RunRow]
    num_more: int
    trends: Sequence[Trend]


def write_index(
    output_path: str | os.PathLike[str],
    title: str,
    runs: Sequence[Mapping[str, Any]],
    live: Mapping[str, int | None],
) -> None:
    """Writes one self-contained HTML page, atomically.

    Args:
        output_path: Where the page goes.
        title: Title and heading.
        runs: run.json of every run, oldest first, with "state" as people call it and "report":
            the path of its page relative to the index, or None.
        live: Version that each pipeline serves, by the pipeline's name.
    """
    by_name = sorted(runs, key=lambda run: run["name"])  # stable: still oldest first
    pipelines = [
        _pipeline(name, list(group), live.get(name))
        for name, group in itertools.groupby(by_name, key=lambda run: run["name"])
    ]
    views = {"title": title, "pipelines": pipelines, "num_runs": len(runs)}
    files.write_text(output_path, render("index.html.j2", views))


def _pipeline(name: str, runs: Sequence[Mapping[str, Any]], live: int | None) -> PipelineRuns:
    rows = [_row(run, live) for run in reversed(runs)]
    return PipelineRuns(
        name=name,
        live=live,
        rows=rows[:MAX_ROWS],
        num_more=max(0, len(rows) - MAX_ROWS),
        trends=trends(runs, lambda verdict: TONES.get(verdict, NEUTRAL)),
    )


def _row(run: Mapping[str, Any], live: int | None) -> RunRow:
    metrics = run.get("metrics") or {}
    version, error = run.get("version"), run.get("error")
    reasons = run.get("reasons") or [""]
    return RunRow(
        run_id=run["run_id"],
        state=run["state"],
        tone="bad" if error else TONES.get(run["state"], NEUTRAL),
        accuracy=metrics.get("accuracy"),
        accuracy_interval=metrics.get("accuracy_interval"),
        macro_f1=metrics.get("macro_f1"),
        num_images=metrics.get("num_images"),
        version="" if version is None else wording.count(version),
        is_live=version is not None and version == live,
        seconds=run.get("seconds"),
        why=str(error["cause"]) if error else str(reasons[0]),
        report=run.get("report") or "",
    )
