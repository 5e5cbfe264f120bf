"""`run --budget`: when a run must be over, and what the steps behind training take of that time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.trainer.budget import DEADLINE_FILE, Deadline
from slimworks.pipeline.paths import PipelinePaths

MIN_SECONDS = 30.0
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_BEHIND_TRAINING = ("evaluator", "gate", "replay", "pusher")
_RUNS_TO_LOOK_AT = 5
_SAFETY_FACTOR = 1.3  # the machine may be slower today
_EXPORT_AND_REPORT_SECONDS = 15.0


def parse_duration(text: str) -> float:
    """Seconds of `10m`, `1h30m`, `90s` or `600`.

    Raises:
        ConfigError: Not a duration, or one in which nothing can be trained.
    """
    found = _DURATION.fullmatch(text.strip().lower()) if text.strip() else None
    if found is None:
        raise ConfigError(
            f"--budget {text!r} is no duration.", "Write it like 10m, 1h30m, 90s or 600."
        )
    parts = zip(found.groups(), _UNITS.values(), strict=True)
    seconds = sum(float(number) * unit for number, unit in parts if number)
    if seconds < MIN_SECONDS:
        raise ConfigError(
            f"--budget {text!r} is {seconds:g} s: too short for any run.",
            f"Give {MIN_SECONDS:g} s or more, such as 10m.",
        )
    return seconds


def set_deadline(paths: PipelinePaths, started: float, budget_seconds: float | None) -> None:
    """Leaves the run's deadline for its trainer, or removes that of an earlier run.

    Args:
        paths: Of the pipeline.
        started: `time.time()` when the run began.
        budget_seconds: As `train.budget_seconds`.
    """
    if budget_seconds is None:
        (paths.work / DEADLINE_FILE).unlink(missing_ok=True)
        return
    earlier = _seconds_behind_training(paths)
    reserve = None if earlier is None else earlier * _SAFETY_FACTOR + _EXPORT_AND_REPORT_SECONDS
    Deadline(started, budget_seconds, reserve).write(paths.work)


def set_training_deadline(work: Path, started: float, budget_seconds: float | None) -> None:
    """The same for a training on its own, which only an export follows. `work`: its folder."""
    if budget_seconds is not None:
        Deadline(started, budget_seconds, _EXPORT_AND_REPORT_SECONDS).write(work)


def _seconds_behind_training(paths: PipelinePaths) -> float | None:
    """The most that the steps behind the trainer took lately; None where no run got there."""
    known = (_seconds_behind(run) for run in _last_runs(paths))
    return max((seconds for seconds in known if seconds is not None), default=None)


def _last_runs(paths: PipelinePaths) -> Iterator[dict[str, Any]]:
    for folder in sorted(paths.runs.iterdir(), reverse=True)[:_RUNS_TO_LOOK_AT]:
        if (folder / "run.json").is_file():
            yield files.read_json(folder / "run.json")


def _seconds_behind(run: dict[str, Any]) -> float | None:
    """What the steps behind the trainer took in a run that took all of them."""
    seconds = {step["name"]: step["seconds"] for step in run["steps"] if step["state"] == "ran"}
    if not set(_BEHIND_TRAINING) <= seconds.keys():
        return None
    return float(sum(seconds[name] for name in _BEHIND_TRAINING))
