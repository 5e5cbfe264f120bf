"""The verb `drift`: is what clients send still what the model was trained on?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components import files
from slimworks.components.errors import EXIT_DATA, ConfigError
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.verbs.runs import find_run, pushed_run

if TYPE_CHECKING:
    from slimworks.components.statistics.live_drift import LiveDrift, Reference


@verb(
    "drift",
    "  slimworks drift --request-log logs/photos                the newest run that pushed\n"
    "  slimworks drift --request-log logs/photos --run 20261121-0530 --max-drift 0.3 --json\n",
)
@click.option(
    "--request-log", required=True, metavar="PREFIX", help="Its prefix, folder or a file."
)
@click.option("--root", default="slimworks-runs", show_default=True, help="Where runs are kept.")
@click.option("--run", "run_id", metavar="RUN", help="Of which model; default: the last pushed.")
@click.option(
    "--max-requests", default=1_000, show_default=True, type=click.IntRange(min=1),
    help="The newest so many are looked at.",
)  # fmt: skip
@click.option("--max-drift", type=click.FloatRange(0, 1), help="Exit code 3 above it.")
@click.option("--output", metavar="FILE", help="Also write the JSON there.")
def drift_verb(
    request_log: str,
    root: str,
    run_id: str | None,
    max_requests: int,
    max_drift: float | None,
    output: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Compare logged requests and answers with the model's training images and evaluation."""
    from slimworks.components.serving.logged import log_files

    log_files(request_log)  # seconds of imports later would be late to say that there is none
    folder, record = find_run(root, run_id) if run_id else pushed_run(root)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    from slimworks.pipeline import tfx_import

    tfx_import.load()
    from slimworks.components.statistics import live_drift

    reference = _reference(Path(record["home"]), folder.name)
    live = live_drift.measure(request_log, reference, max_requests)
    over = {} if max_drift is None else live.above(max_drift)
    value = {
        "request_log": request_log, "run_id": record["run_id"], "version": record.get("version"),
        "max_drift": max_drift, "exceeded": over, **live.to_json(),
    }  # fmt: skip
    if output is not None:
        files.write_json(output, value)
    emit(value, as_json, "\n".join(_lines(live, record, over, max_drift)))
    return EXIT_DATA if over else 0


def _reference(home: Path, run_id: str) -> Reference:
    """What the run's model was trained on, and its evaluation.

    Raises:
        ConfigError: The run has no statistics (any more).
    """
    from slimworks.components.statistics.live_drift import read_reference
    from slimworks.components.statistics.statistics import read_statistics, statistics_path
    from slimworks.pipeline.facts import RunFacts

    facts = RunFacts.collect(PipelinePaths(home.parent, home.name), run_id)
    statistics = facts.folder("statistics", "statistics")
    if statistics is None or not statistics_path(statistics, "train").is_file():
        raise ConfigError(
            f"Run {run_id} has no statistics of its training images.",
            "Choose another one: slimworks runs, then --run RUN.",
        )
    return read_reference(
        read_statistics(statistics, "train"),
        facts.folder("evaluator", "evaluation"),
        facts.folder("trainer", "model"),
    )


def _lines(
    live: LiveDrift, record: dict[str, Any], over: dict[str, float], limit: float | None
) -> list[str]:
    found = live.to_json()
    shown = ", ".join(f"{v} by version {k}" for k, v in found["versions"].items())
    lines = [
        f"{found['num_requests']:,} requests ({shown}), {found['num_images']:,} images; against "
        f"{found['num_reference_images']:,} training images and the evaluation of run "
        f"{record['run_id']} (version {record.get('version')})",
        f"{'feature':<24}{'distance':>9}  measure",
    ]
    ranked = sorted(found["distances"].items(), key=lambda item: -item[1]["distance"])
    lines += [
        f"{name:<24}{entry['distance']:>9.3f}  {entry['measure']}"
        f"{'  above the limit' if name in over else ''}"
        for name, entry in ranked
    ]
    if found["known_fraction"] is not None:
        lines.append(f"known images: {found['known_fraction']:.3f} of {found['num_answers']:,}")
    if found["rejected"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found["rejected"].items())
        lines.append(f"not looked at: {reasons}")
    if found["num_damaged"]:
        lines.append(f"damaged records: {found['num_damaged']:,}")
    if not found["is_enough_data"]:
        lines.append("Too few images: what chance does is as large as what is shown.")
    if over:
        lines.append(f"Drifted: {', '.join(over)} above --max-drift {limit:g}")
    return lines
