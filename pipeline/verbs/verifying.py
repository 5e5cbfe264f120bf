"""The verb that makes a training again and compares: verify."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components.errors import EXIT_TRAINING
from slimworks.pipeline import tfx_import
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.verbs.runs import find_run
from slimworks.pipeline.verbs.steps import log_to_stderr

if TYPE_CHECKING:
    from slimworks.components.trainer.verification import Verification

SHOWN_DIFFERENCES = 10
# As components/trainer/verification.py has them, which would import TensorFlow.
CHECKED = ("data", "label_map", "checkpoint", "net", "code", "packages")
EQUAL, DIFFERS = "equal", "differs"


@verb(
    "verify",
    "  slimworks verify                       the newest run\n"
    "  slimworks verify 20261121-0530\n"
    "  slimworks verify model/                a model of `slimworks train`\n"
    "  slimworks verify --despite code        does this version of SlimWorks train the same?\n",
)
@click.argument("run", required=False, metavar="[RUN|MODEL]")
@click.option("--root", default="slimworks-runs", show_default=True, help="Where runs are kept.")
@click.option(
    "--despite",
    multiple=True,
    type=click.Choice(CHECKED),
    help="Go on although this input changed; repeatable.",
)
def verify_verb(
    run: str | None, root: str, despite: tuple[str, ...], as_json: bool, debug: bool
) -> int:
    """Train again with the same inputs, in a temporary folder, and compare the weights.

    Exit codes: 0 equal (or, without train.deterministic, equal within the tolerance), 4 different,
    2 or 3 an input changed.
    """
    from slimworks.pipeline.verification import read_recorded, verify

    if run is not None and Path(run).is_dir():
        recorded = read_recorded(Path(run), run)
    else:
        folder, record = find_run(root, run)
        recorded = read_recorded(folder, record["run_id"])
    tfx_import.load()
    log_to_stderr()
    result = verify(recorded, despite)
    emit(_to_json(recorded.name, result), as_json, "\n".join(_lines(recorded.name, result)))
    return EXIT_TRAINING if result.verdict == DIFFERS else 0


def _to_json(name: str, result: Verification) -> dict[str, Any]:
    """One object; a difference that is infinite is null."""
    value = {"run": name, **dataclasses.asdict(result)}
    for difference in value["differences"] or ():
        for key in ("largest", "relative"):
            if math.isinf(difference[key]):
                difference[key] = None
    return value


def _lines(name: str, result: Verification) -> list[str]:
    lines = [
        f"{name}: {result.verdict} (expected: {result.level})",
        f"weights: {result.weights_digest[:16]} then, {result.new_weights_digest[:16]} now",
        f"best eval accuracy: {result.best_eval_accuracy:.4f} then, "
        f"{result.new_best_eval_accuracy:.4f} now",
    ]
    if result.verdict != EQUAL and result.level == "seeded":
        lines.append(
            f"the accuracies may differ by {result.accuracy_tolerance:.4f}; for equal bits train "
            "with --set train.deterministic=true"
        )
    lines += [f"note: {note}" for note in result.notes]
    differences = result.differences
    if differences:
        lines.append(f"{len(differences)} variables differ; the farthest:")
        lines += [
            f"  {d.name}: {d.largest:.3g} ({d.relative:.2%} of its largest value)"
            f"{f', {d.detail}' if d.detail else ''}"
            for d in differences[:SHOWN_DIFFERENCES]
        ]
    elif differences is None and result.verdict != EQUAL:
        lines.append("the recorded checkpoint is gone: no differences by variable")
    return lines
