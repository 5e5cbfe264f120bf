"""What a killed training goes on from: variables, slots, step, best checkpoint, metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.checkpoints import save as checkpoint_files
from slimworks.components.trainer.watchdog import NotFiniteError, disk_full_error, is_disk_full

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
    # Variables that the checkpoint in train.checkpoint_path lacks; phases.py asks.
    new_variables: tuple[str, ...] = ()
    checkpoint: dict[str, Any] | None = None  # that one's path and digest, for the manifest
    has_stopped_early: bool = False
    phase: str = ""  # whose optimizer the checkpoint has the slots of
    phase_start: int = 0  # steps before it: under a budget not as planned
    rate_scale: float = 1.0  # factor of the learning rate that the watchdog has set
    num_faults: int = 0  # losses that were not finite, so far
    num_repairs: int = 0  # those and lacks of memory, over all attempts
    # A fault led back to the last checkpoint, and no sound evaluation has followed yet.
    is_doubtful: bool = False
    micro_batch_size: int | None = None  # images at a time; None: all of a batch
    cached_phases: list[str] = dataclasses.field(default_factory=list)  # read features.py's rows

    def take_over(self, other: Progress) -> None:
        """Stands where the other one stands, and has its values."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))


# What repairs have changed holds from any checkpoint on.
_REPAIRS = ("rate_scale", "num_faults", "num_repairs", "is_doubtful", "micro_batch_size")


class TrainingState:
    """Checkpoints of an unfinished training in its work folder: the last and a proven one.

    The proven one, the first of the phase or one that a sound evaluation has followed, is for
    where weights were saved that had gone astray already and were no infinities yet.

    state.json is replaced last and names the checkpoints that it belongs to, so that a kill at
    any moment leaves a state and checkpoints that fit.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.metrics_path = self.folder / contracts.METRICS_FILE
        self._variables: dict[str, Any] = {}
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._saved: Progress | None = None
        self._proven: Progress | None = None

    def read(self) -> Progress | None:
        """Returns where the last checkpoint stands; None where there is none."""
        for pattern in (".model.ckpt-*", ".best.ckpt-*", f".{STATE_FILE}.*"):
            for leftover in self.folder.glob(pattern):
                leftover.unlink()  # of a kill while it was written
        path = self.folder / STATE_FILE
        if not path.is_file():
            return None
        value = files.read_json(path)
        proven = value.pop("proven", value)
        progress = _progress(value)
        self._truncate_metrics(progress.metrics_bytes)
        self._saved, self._proven = dataclasses.replace(progress), _progress(proven)
        return progress

    def track(self, variables: Mapping[str, Any]) -> None:
        """Names the variables that checkpoints hold from now on."""
        self._variables = dict(variables)

    def restore(self, progress: Progress) -> None:
        """Loads the checkpoint of `progress` into the tracked variables."""
        reader = tf.train.load_checkpoint(self.checkpoint_prefix(progress))
        for name, variable in self._variables.items():
            variable.assign(reader.get_tensor(name))

    def roll_back(self, progress: Progress, to_proven: bool = False) -> None:
        """Returns the tracked variables and the progress to a checkpoint.

        On disk nothing changes before `save_return`.

        Args:
            progress: It is changed, but for what repairs have set.
            to_proven: To the proven one instead of the last.
        """
        if self._saved is None or self._proven is None:
            raise RuntimeError("There is no checkpoint: a phase saves one before its first step.")
        if to_proven:
            repairs = {name: getattr(self._saved, name) for name in _REPAIRS}
            self._saved = dataclasses.replace(self._proven, **repairs)
        progress.take_over(self._saved)
        self.restore(progress)

    def prove(self) -> None:
        """The last checkpoint led to a sound evaluation; the next save writes that down."""
        self._proven = self._saved

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint of every variable and makes it the one to go on from.

        Raises:
            NotFiniteError: A variable is NaN or infinite; nothing is written.
            TrainingError: The disk is full; the checkpoint before is kept.
        """
        if self.metrics_path.exists():
            progress.metrics_bytes = self.metrics_path.stat().st_size
        self._save(progress)

    def save_return(self, progress: Progress) -> None:
        """Makes the checkpoint that `roll_back` returned to the one to go on from."""
        self._save(progress)
        self._truncate_metrics(progress.metrics_bytes)

    def _save(self, progress: Progress) -> None:
        # A checkpoint that state.json names is never written again: a kill in the middle would
        # leave none.
        prefix = self.checkpoint_prefix(progress)
        with self._disk_errors(progress.step):
            if self._saved is None or self.checkpoint_prefix(self._saved) != prefix:
                self._write(self._variables, prefix, progress.step)
            saved, proven = dataclasses.replace(progress), self._proven
            if proven is None or proven.phase != saved.phase:
                proven = saved  # another phase has other slots
            value = {**dataclasses.asdict(saved), "proven": dataclasses.asdict(proven)}
            files.write_json(self.folder / STATE_FILE, value)
        self._saved, self._proven = saved, proven
        self._keep_only("model.ckpt-*", [self.checkpoint_prefix(kept) for kept in (saved, proven)])

    def save_best(self, progress: Progress, model_variables: Mapping[str, Any]) -> None:
        """Keeps the model's variables of this step as the best so far; raises as `save` does."""
        with self._disk_errors(progress.step):
            self._write(model_variables, self.best_prefix(progress.step), progress.step)

    def _write(self, variables: Mapping[str, Any], prefix: str, step: int) -> None:
        self._step.assign(step)
        values = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
        if not math.isfinite(float(tf.add_n([tf.reduce_sum(value) for value in values.values()]))):
            names = [n for n, v in values.items() if not math.isfinite(float(tf.reduce_sum(v)))]
            what = f"variable {names[0]}" if names else "sum of all variables"
            raise NotFiniteError(f"{what} is not finite", step, ())
        checkpoint_files.save({**values, GLOBAL_STEP: self._step}, prefix)

    @contextlib.contextmanager
    def _disk_errors(self, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as fault:
            if not is_disk_full(fault):
                raise
            raise disk_full_error(self.folder, step) from fault

    def forget_other_bests(self, progress: Progress) -> None:
        """Removes bests that neither the checkpoints nor `progress` refer to."""
        kept = [progress, *([self._proven] if self._proven else [])]
        self._keep_only("best.ckpt-*", [self.best_prefix(each.best_step) for each in kept])

    def _keep_only(self, pattern: str, prefixes: Sequence[str]) -> None:
        names = tuple(f"{os.path.basename(prefix)}." for prefix in prefixes)
        for path in self.folder.glob(pattern):
            if not path.name.startswith(names):
                path.unlink()

    def best_prefix(self, step: int) -> str:
        """Checkpoint prefix of a best step."""
        return str(self.folder / f"best.ckpt-{step}")

    def checkpoint_prefix(self, progress: Progress) -> str:
        """Checkpoint prefix of a step to go on from."""
        return str(self.folder / f"model.ckpt-{progress.phase}-{progress.step}")

    def _truncate_metrics(self, length: int) -> None:
        """Drops metrics of steps after the checkpoint: they will be trained again."""
        if self.metrics_path.exists() and self.metrics_path.stat().st_size > length:
            os.truncate(self.metrics_path, length)


def _progress(value: dict[str, Any]) -> Progress:
    return Progress(**{**value, "new_variables": tuple(value["new_variables"])})
