"""A finished run as trackers see it, without running one."""

from pathlib import Path

import report_samples

from slimworks.components.report.facts import ReportInputs
from slimworks.components.tracking.tracked_run import TrackedRun, tracked_run
from slimworks.pipeline.config import PipelineConfig, load_config

DEFAULTS = PipelineConfig().model_dump(mode="json")


def outcome(**changes):
    value = {
        "error": None, "seconds": 12.5, "verdict": "fail", "version": None,
        "label_map_version": 2,
    }  # fmt: skip
    return {**value, **changes}


def tracked(
    folder: Path,
    *settings: str,
    inputs: ReportInputs | None = None,
    checkpoint_path: str | None = None,
    **changes,
) -> TrackedRun:
    inputs = inputs or report_samples.finished_run(folder)
    report = folder / "report.html"
    report.write_text("<html></html>")
    config = load_config(overrides=settings, data="/photos").model_dump(mode="json")
    config["train"]["checkpoint_path"] = checkpoint_path
    return tracked_run(inputs, report, outcome(**changes), config, DEFAULTS)
