"""Reads an evaluation, decides, and writes the blessing."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.gate import decision
from slimworks.components.gate.bounds import Answers
from slimworks.components.gate.config import GateConfig

_LOGGER = logging.getLogger(__name__)

# TFX's own convention: an empty file that its Pusher and resolvers know.
BLESSED_FILE, NOT_BLESSED_FILE = "BLESSED", "NOT_BLESSED"


def bless(
    evaluation_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str],
    label_map: contracts.LabelMap,
    output_dir: str | os.PathLike[str],
    config: GateConfig,
    baseline_model_dir: str | os.PathLike[str] | None = None,
) -> decision.Decision:
    """Judges a candidate and writes decision.json and BLESSED or NOT_BLESSED.

    Missing evidence (no predictions, no metrics) is a failed bound, not an error.

    Args:
        evaluation_dir: Evaluation artifact of the candidate.
        model_dir: Model artifact of the candidate.
        label_map: Classes of this run, by class index.
        output_dir: Receives the blessing.
        config: Thresholds.
        baseline_model_dir: Model that the evaluation compared with, if any.

    Raises:
        DataError: A model folder names no classes.
    """
    evaluation, output = Path(evaluation_dir), Path(output_dir)
    _LOGGER.info("judging %s", model_dir)
    baseline = None
    if baseline_model_dir is not None:
        path = evaluation / contracts.BASELINE_PREDICTIONS_FILE
        baseline = read_answers(path, baseline_model_dir)
    decided = decision.decide(
        metrics=_read_metrics(evaluation / contracts.EVALUATION_METRICS_FILE),
        candidate=read_answers(evaluation / contracts.PREDICTIONS_FILE, model_dir),
        baseline=baseline,
        label_map=label_map,
        config=config,
    )
    # decision.json first: who sees BLESSED may rely on the reasons being there.
    files.write_json(output / contracts.DECISION_FILE, decided.as_json())
    files.write_bytes(output / (BLESSED_FILE if decided.blessed else NOT_BLESSED_FILE), b"")
    _LOGGER.info(
        "%s, %s: %s", decided.verdict, "blessed" if decided.blessed else "not blessed", output
    )
    return decided


def read_answers(path: Path, model_dir: str | os.PathLike[str]) -> Answers:
    """A model's answers from a predictions file; no rows where the file is missing.

    Raises:
        DataError: The model folder names no classes.
    """
    class_names = contracts.read_class_names(model_dir)
    version = contracts.read_label_map_version(model_dir)
    if not path.is_file():
        nothing = np.zeros(0, np.int64)
        return Answers(class_names, np.zeros(0, np.str_), nothing, nothing, version)
    table = parquet.read_table(
        str(path), columns=["image_id", "class_index", "predicted_index"], memory_map=False
    )
    return Answers(
        class_names=class_names,
        image_ids=np.array(table.column("image_id").to_pylist(), dtype=np.str_),
        class_index=table.column("class_index").to_numpy(),
        predicted_index=table.column("predicted_index").to_numpy(),
        label_map_version=version,
    )


def _read_metrics(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}
