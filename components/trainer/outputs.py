"""The Model artifact: checkpoint, SavedModel, metrics, logs and model.json."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.checkpoints import save as checkpoint_files
from slimworks.components.export.served_model import ServedModel, write_saved_model
from slimworks.components.trainer.state import TrainingState


def write_checkpoint(output: Path, variables: Mapping[str, Any], step: int) -> None:
    """Writes checkpoints/model.ckpt-STEP with TF1 names, global_step included."""
    folder = output / contracts.CHECKPOINTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    prefix = str(folder / f"model.ckpt-{step}")
    global_step = tf.constant(step, tf.int64)
    checkpoint_files.save({**variables, "global_step": global_step}, prefix)
    checkpoint_files.update_state(str(folder), prefix)


def write_model(output: Path, served: ServedModel, labels: contracts.LabelMap) -> int:
    """Writes saved_model/ with the label map; returns its size in bytes."""
    saved_model = output / contracts.SAVED_MODEL_FOLDER
    write_saved_model(served, str(saved_model))
    labels.write(saved_model / contracts.EXTRA_ASSETS_FOLDER)
    return sum(os.path.getsize(path) for path in saved_model.rglob("*") if path.is_file())


def write_records(output: Path, state: TrainingState, facts: Mapping[str, Any]) -> None:
    """Writes metrics, logs and model.json: the last, as the sign that all is there."""
    shutil.copy2(state.metrics_path, output / contracts.METRICS_FILE)
    nan_batches = state.folder / contracts.NAN_BATCHES_FILE
    if nan_batches.exists():
        shutil.copy2(nan_batches, output / contracts.NAN_BATCHES_FILE)
    logs = state.folder / contracts.LOGS_FOLDER
    shutil.copytree(logs, output / contracts.LOGS_FOLDER, dirs_exist_ok=True)
    assets = output / contracts.SAVED_MODEL_FOLDER / contracts.EXTRA_ASSETS_FOLDER
    files.write_json(assets / contracts.MODEL_FACTS_FILE, facts)
    files.write_json(output / contracts.MODEL_FACTS_FILE, facts)
