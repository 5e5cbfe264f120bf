"""What a run is going to do, and about how long it takes: said before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from slimworks.components import files, processor, progress
from slimworks.components.examples.image_formats import READ_SUFFIXES
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.paths import PipelinePaths

MAX_COUNTED = 50_000  # a second of looking at names
_RUNS_TO_LOOK_AT = 5
_DEFAULT_TRAIN_SHARE = 0.7

# Measured on two cores (docs/performance.md), small networks the slower ones: multiply-accumulates
# of a forward pass that training gets through, a second and core.
_MACS_LEAST, _MACS_MOST = 0.4e10, 1.7e10
_FIXED_SECONDS = (25.0, 90.0)  # imports, statistics, the replay's servers, the report
_SECONDS_AN_IMAGE = (0.004, 0.03)  # ingest, transform, evaluation


def plan_line(config: PipelineConfig, paths: PipelinePaths, steps: Sequence[str]) -> str:
    """What is said before a run.

    Args:
        config: The configuration.
        paths: Folders of the pipeline.
        steps: Names of the steps that belong to the run, in order.
    """
    parts = [f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else steps[0]]
    num_images = count_images(str(config.data.source))
    if num_images is not None:
        more = "more than " if num_images > MAX_COUNTED else ""
        parts.append(f"{more}{min(num_images, MAX_COUNTED):,} images")
    if "trainer" in steps:
        parts.append(f"{config.model.net} at {config.model.resolved_image_size} px")
        parts.append(_length(config))
    return f"plan: {', '.join(parts)}; {_duration(config, paths, steps, num_images)}"


def count_images(source: str) -> int | None:
    """Files below a folder that are named like images; None for any other source.

    No more than `MAX_COUNTED` + 1 are counted.
    """
    if not os.path.isdir(source):
        return None
    count = 0
    for _, _, names in os.walk(source):
        count += sum(os.path.splitext(name)[1].lower() in READ_SUFFIXES for name in names)
        if count > MAX_COUNTED:
            return MAX_COUNTED + 1
    return count


def _length(config: PipelineConfig) -> str:
    train = config.train
    if train.budget_seconds is not None:
        return f"as long as fits into {progress.clock(train.budget_seconds)}"
    if train.max_number_of_steps is not None:
        return f"{train.max_number_of_steps} steps of {train.batch_size}"
    return "20 to 60 epochs" if train.epochs is None else f"{train.epochs:g} epochs"


def _duration(
    config: PipelineConfig, paths: PipelinePaths, steps: Sequence[str], num_images: int | None
) -> str:
    reused = "what did not change is reused"
    earlier = _last_seconds(paths, steps)
    if earlier is not None:
        return f"took {progress.clock(earlier)} the last time; {reused}"
    if config.train.budget_seconds is not None:
        return f"ends within {progress.clock(config.train.budget_seconds)}"
    if num_images is None or num_images > MAX_COUNTED or "trainer" not in steps:
        return "how long is not known before the images are"
    low, high = _estimate(config, num_images)
    return f"roughly {progress.clock(low)} to {progress.clock(high)}"


def _estimate(config: PipelineConfig, num_images: int) -> tuple[float, float]:
    """Least and most seconds of a first run on this machine's processor."""
    net = config.model.spec
    size = config.model.resolved_image_size / net.default_image_size
    train, num_train = config.train, num_images * _DEFAULT_TRAIN_SHARE
    seen = num_train * (train.epochs or 20)
    if train.epochs is None:  # few images are passed more often: 200 steps, at most 60 epochs
        seen = max(seen, min(200.0 * train.batch_size, 60 * num_train))
    if train.max_number_of_steps is not None:
        seen = train.max_number_of_steps * train.batch_size
    work = seen * net.macs * size**2 / max(processor.num_usable_cores(), 1.0)
    low = _FIXED_SECONDS[0] + num_images * _SECONDS_AN_IMAGE[0] + work / _MACS_MOST
    high = _FIXED_SECONDS[1] + num_images * _SECONDS_AN_IMAGE[1] + work / _MACS_LEAST
    return low, high


def _last_seconds(paths: PipelinePaths, steps: Sequence[str]) -> float | None:
    """Of a run lately that did all of these steps anew and was not stopped."""
    if not paths.runs.is_dir():
        return None
    for folder in sorted(paths.runs.iterdir(), reverse=True)[:_RUNS_TO_LOOK_AT]:
        record: dict[str, Any] = {}
        if (folder / "run.json").is_file():
            record = files.read_json(folder / "run.json")
        ran = {step["name"] for step in record.get("steps", ()) if step["state"] == "ran"}
        if record.get("state") == "ended" and set(steps) <= ran | {"baseline"}:
            return float(record["seconds"])
    return None
