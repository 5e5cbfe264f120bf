"""An evaluation in TensorBoard: scalars, confusion matrix, reliability curve, gate's verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.errors import SlimWorksError
from slimworks.components.report.facts import Facts, ReportInputs, read_facts
from slimworks.components.tracking.pictures import confusion_picture, reliability_picture
from slimworks.components.tracking.tracked_run import evaluation_metrics

EVALUATION_FOLDER = "evaluation"  # below the model's logs: a curve of its own there


def write_evaluation(inputs: ReportInputs, folder: str | None) -> str:
    """Writes the event file of a run's evaluation; one of an earlier call is replaced.

    The step is that of the kept checkpoint, so that the points stand where training's curves do.

    Args:
        inputs: Where the run's facts are.
        folder: Gets a folder for each run; None: `logs/evaluation` of the model.

    Returns:
        Folder of the event file: TensorBoard's --logdir.

    Raises:
        SlimWorksError: The run has no evaluation, or the folder cannot be written.
    """
    facts = read_facts(inputs)
    if facts.metrics is None or inputs.model_dir is None:
        raise SlimWorksError(
            "The run has no evaluation for TensorBoard.", "Run it beyond the evaluator."
        )
    if folder is None:
        target = Path(inputs.model_dir) / contracts.LOGS_FOLDER / EVALUATION_FOLDER
    else:
        target = Path(folder).expanduser().resolve() / inputs.run_id
    try:
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        _write(target, facts, int((facts.model or {}).get("best_step") or 0))
    except OSError as error:
        raise SlimWorksError(
            f"{target} cannot be written: {error.strerror or error}.",
            "Give another folder: --set tracking.tensorboard_dir=FOLDER.",
        ) from None
    return str(target)


def _write(folder: Path, facts: Facts, step: int) -> None:
    import tensorflow as tf  # seconds and hundreds of megabytes: only where it is asked for

    metrics = facts.metrics or {}
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        for name, value in evaluation_metrics(metrics).items():
            tf.summary.scalar(f"{EVALUATION_FOLDER}/{name}", value)
        if matrix := metrics.get("confusion_matrix"):
            tf.summary.image(f"{EVALUATION_FOLDER}/confusion", confusion_picture(matrix)[None])
            tf.summary.text(f"{EVALUATION_FOLDER}/classes", _class_table(metrics))
        for name in ("reliability", "reliability_before"):
            if (curve := metrics.get(name)) is not None:
                picture = reliability_picture(curve["bins"])
                tf.summary.image(f"{EVALUATION_FOLDER}/{name}", picture[None])
        if facts.decision is not None:
            tf.summary.text("gate/verdict", verdict_text(facts.decision))
    writer.close()


def verdict_text(decision: Mapping[str, Any]) -> str:
    """The gate's decision in Markdown: verdict, reasons, a row for each bound that did not pass."""
    lines = [f"**{decision['verdict']}**", ""]
    lines += [f"- {reason}" for reason in decision["reasons"]]
    missed = [bound for bound in decision["bounds"] if bound["verdict"] != "pass"]
    if missed:
        lines += ["", "bound | verdict | reason", "--- | --- | ---"]
        lines += [
            " | ".join(_cell(bound[key]) for key in ("name", "verdict", "reason"))
            for bound in missed
        ]
    return "\n".join(lines)


def _class_table(metrics: Mapping[str, Any]) -> str:
    """Which row of the confusion matrix is which class."""
    lines = ["row | class", "--- | ---"]
    lines += [f"{c['class_index']} | {_cell(c['class_name'])}" for c in metrics["classes"]]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
