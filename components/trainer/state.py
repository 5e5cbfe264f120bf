"""What a killed training goes on from: variables, slots, step, best checkpoint, metrics."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.checkpoints import save as checkpoint_files

STATE_FILE = "state.json"
GLOBAL_STEP = "global_step"


@dataclasses.dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    evaluated_step: int = 0  # the last step whose evaluation is recorded
    best_step: int = -1
    best_accuracy: float = -1.0
    best_loss: float = 0.0  # of the eval split at best_step; meaningless before the first epoch
    metrics_bytes: int = 0  # length of metrics.jsonl when the checkpoint was written
    seconds: float = 0.0  # training time so far, over all attempts


class TrainingState:
    """Checkpoints of an unfinished training in its work folder.

    state.json is replaced last and names the checkpoint that it belongs to, so that a kill at
    any moment leaves a state and a checkpoint that fit.
    """

    def __init__(self, folder: str, variables: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.metrics_path = self.folder / contracts.METRICS_FILE
        self._variables = dict(variables)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._saved: Progress | None = None

    def restore(self) -> Progress | None:
        """Loads the last checkpoint into the variables; None where there is none."""
        path = self.folder / STATE_FILE
        if not path.is_file():
            return None
        value = files.read_json(path)
        progress = Progress(**value)
        reader = tf.train.load_checkpoint(self._prefix(progress.step))
        for name, variable in self._variables.items():
            variable.assign(reader.get_tensor(name))
        self._truncate_metrics(progress.metrics_bytes)
        self._saved = dataclasses.replace(progress)
        return progress

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint of every variable and makes it the one to go on from."""
        # A checkpoint that state.json names is never written again: a kill in the middle would
        # leave none.
        if self._saved is None or self._saved.step != progress.step:
            self._step.assign(progress.step)
            prefix = self._prefix(progress.step)
            checkpoint_files.save({**self._variables, GLOBAL_STEP: self._step}, prefix)
        if self.metrics_path.exists():
            progress.metrics_bytes = self.metrics_path.stat().st_size
        files.write_json(self.folder / STATE_FILE, dataclasses.asdict(progress))
        self._saved = dataclasses.replace(progress)
        for path in self.folder.glob("model.ckpt-*"):
            if not path.name.startswith(f"model.ckpt-{progress.step}."):
                path.unlink()

    def save_best(self, progress: Progress, model_variables: Mapping[str, Any]) -> None:
        """Keeps the model's variables of this step as the best so far."""
        self._step.assign(progress.step)
        prefix = self.best_prefix(progress.step)
        checkpoint_files.save({**model_variables, GLOBAL_STEP: self._step}, prefix)

    def forget_other_bests(self, progress: Progress) -> None:
        """Removes bests that neither the last checkpoint nor `progress` refers to."""
        keep = f"best.ckpt-{progress.best_step}."
        for path in self.folder.glob("best.ckpt-*"):
            if not path.name.startswith(keep):
                path.unlink()

    def best_prefix(self, step: int) -> str:
        """Checkpoint prefix of a best step."""
        return str(self.folder / f"best.ckpt-{step}")

    def _prefix(self, step: int) -> str:
        return str(self.folder / f"model.ckpt-{step}")

    def _truncate_metrics(self, length: int) -> None:
        """Drops metrics of steps after the checkpoint: they will be trained again."""
        if self.metrics_path.exists() and self.metrics_path.stat().st_size > length:
            os.truncate(self.metrics_path, length)
