"""Writes the report of one run: a single HTML file that needs no network."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.report import (
    classes,
    costs,
    curves,
    data,
    images,
    label_errors,
    overall,
    training,
    verdict,
)
from slimworks.components.report.facts import Facts, ReportInputs, read_facts
from slimworks.components.report.lineage import lineage
from slimworks.components.report.reliability import reliability_view
from slimworks.components.report.rendering import render
from slimworks.components.report.replayed import replay_view
from slimworks.components.report.slices import slice_table

_LOGGER = logging.getLogger(__name__)

# id and name of each section, in order
SECTIONS = (
    ("gate", "Gate"), ("pushed", "Pushed"), ("data", "Data"), ("training", "Training"),
    ("classes", "Classes"), ("confusion", "Confusion"), ("reliability", "Reliability"),
    ("slices", "Slices"), ("changes", "Fixed and broken"), ("mistakes", "Mistakes"),
    ("labels", "Label errors"), ("steps", "Steps"), ("lineage", "Lineage"),
    ("reproduce", "Reproduce"),
)  # fmt: skip


def write_report(output_path: str | os.PathLike[str], inputs: ReportInputs) -> None:
    """Writes one self-contained HTML page to `output_path`, atomically.

    Where images are suspected to have the wrong class, label_errors.csv is written beside it.
    """
    views = _views(inputs)
    table = Path(output_path).parent / label_errors.LABEL_ERRORS_FILE
    suspects = views["images"].suspects if views["images"] is not None else []
    if suspects:
        label_errors.write_csv(table, suspects)
    else:
        table.unlink(missing_ok=True)  # of an earlier report in this folder
    files.write_text(output_path, render("report.html.j2", views))
    _LOGGER.info("wrote %s", output_path)


def render_report(inputs: ReportInputs) -> str:
    """The page as text: styles, scripts and images are inside, nothing is loaded."""
    return render("report.html.j2", _views(inputs))


def _views(inputs: ReportInputs) -> dict[str, Any]:
    """What the template shows; a view is None where its facts are missing."""
    facts = read_facts(inputs)
    model, metrics, decision = facts.model, facts.metrics, facts.decision
    ingest = inputs.ingest_report_dir
    return {
        "inputs": inputs,
        "title": inputs.title,
        "sections": SECTIONS,
        "header": label_errors.HEADER,
        "label_errors_file": label_errors.LABEL_ERRORS_FILE,
        "headline": verdict.headline(decision, inputs.pushed, inputs.error, facts.drift),
        "tiles": verdict.tiles(metrics, decision),
        "bounds": verdict.bound_rows(decision),
        "replay": replay_view(facts.replay),
        "data": data.data_view(Path(ingest) if ingest else None, facts.drift),
        "class_names": _class_names(facts),
        "charts": curves.charts(facts.curves, model),
        "model": model,
        "batch_norm": training.batch_norm_line(model),
        "metrics": metrics,
        "overall": overall.metric_rows(metrics),
        "matrix": classes.matrix(metrics),
        "confusions": classes.confusions(metrics),
        "reliability": reliability_view(metrics, model),
        "slices": slice_table(metrics),
        "images": images.images_view(
            inputs.evaluation_dir,
            metrics,
            inputs.examples_dir,
            facts.label_map,
            inputs.worst_mistakes,
        ),
        "lineage": lineage(facts.manifest, inputs.pushed),
        "costs": costs.cost_facts(inputs.steps, model, metrics),
    }


def _class_names(facts: Facts) -> list[str]:
    if facts.label_map is not None:
        return list(facts.label_map.class_names)
    return [entry["class_name"] for entry in facts.metrics["classes"]] if facts.metrics else []
