"""What goes wrong while training and is put right: losses that are no number, too little memory.

Either way the training returns to its last checkpoint, none of which has a value that is not
finite, and goes on from there, with a lower rate or with fewer images at a time. Where losses are
no numbers once more before an evaluation was sound, that checkpoint may have been too late: the
training returns to a proven one. The images come in the same order as before.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts
from slimworks.components.errors import TrainingError

if TYPE_CHECKING:
    import tensorflow as tf

    from slimworks.components.trainer.state import Progress, TrainingState

MAX_FAULTS = 3
# A rate that makes weights overflow is rarely wrong by a factor of two only; three tries reach
# a sixteenth of it.
RATE_FACTOR = 0.25

_log = logging.getLogger(__name__)


class NotFiniteError(Exception):
    """A loss, a gradient or a variable is NaN or infinite."""

    def __init__(self, what: str, step: int, image_ids: Sequence[str]) -> None:
        super().__init__(what)
        self.what = what
        self.step = step
        self.image_ids = image_ids


class Watchdog:
    """Looks at each step's loss when the next step is under way: an accelerator never waits."""

    def __init__(self, every_step: bool = True) -> None:
        """Looks at every step, or only when it is asked: steps without order are not waited for."""
        self._every_step = every_step
        self._pending: tuple[int, Any, Any] | None = None
        self._last: tuple[int, Any] = (0, None)

    def watch(self, step: int, ids: tf.Tensor, total_loss: tf.Tensor) -> None:
        """Checks the step before and keeps this one.

        Args:
            step: Number of the update.
            ids: string [N], of its images.
            total_loss: NaN where a gradient is not finite.

        Raises:
            NotFiniteError: Of the step before.
        """
        if self._every_step:
            self.check()
        self._pending, self._last = (step, ids, total_loss), (step, ids)

    def check(self) -> None:
        """Checks the newest step.

        Raises:
            NotFiniteError: Its loss or gradient is not finite.
        """
        if self._pending is None:
            return
        (step, ids, total_loss), self._pending = self._pending, None
        if not math.isfinite(float(total_loss)):
            raise NotFiniteError(f"loss is {float(total_loss)}", step, _texts(ids))

    def require_finite(self, what: str, value: float) -> None:
        """Checks what the steps so far have led to.

        Raises:
            NotFiniteError: Names the newest step's images.
        """
        if not math.isfinite(value):
            raise NotFiniteError(f"{what} is {value}", self._last[0], _texts(self._last[1]))


def _texts(ids: Any) -> list[str]:
    return [] if ids is None else [value.decode("utf-8") for value in ids.numpy().tolist()]


def lower_rate(
    fault: NotFiniteError,
    state: TrainingState,
    progress: Progress,
    rate: float,
    resolved_rate: float,
) -> None:
    """Returns to a checkpoint with a lower learning rate and writes the images' ids down.

    It is the last one, or the proven one where the last one is doubtful.

    Args:
        fault: What was found.
        state: Has the checkpoint.
        progress: Where the training stands; it is changed.
        rate: Learning rate of the step.
        resolved_rate: `train.learning_rate`, or the default.

    Raises:
        TrainingError: For the third time.
    """
    state.roll_back(progress, to_proven=progress.is_doubtful)
    progress.is_doubtful = True
    progress.num_faults += 1
    progress.num_repairs += 1
    progress.rate_scale *= RATE_FACTOR
    is_last = progress.num_faults >= MAX_FAULTS
    path = state.folder / contracts.NAN_BATCHES_FILE
    line = {
        "step": fault.step,
        "what": fault.what,
        "learning_rate": rate,
        "returned_to_step": progress.step,
        "ids": fault.image_ids,
    }
    _append(path, line)
    if is_last:
        progress.num_faults = 0  # whoever runs again wants three more tries
    state.save_return(progress)
    if is_last:
        raise TrainingError(
            f"The {fault.what} at step {fault.step} (learning rate {rate:.2g}): the third fault "
            "of this training.",
            f"Lower the rate: --set train.learning_rate={resolved_rate / 10:.2g}, or look at the "
            f"images of these steps: {path}",
        )
    _log.warning(
        "the %s at step %d: back to step %d, learning rate times %g from now on; images in %s",
        fault.what, fault.step, progress.step, progress.rate_scale, path,
    )  # fmt: skip


def _append(path: Path, line: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def halve_micro_batch(
    state: TrainingState, progress: Progress, batch_size: int, can_split: bool
) -> None:
    """Returns to the last checkpoint and takes half as many images at a time.

    Args:
        state: Has the checkpoint.
        progress: Where the training stands; it is changed.
        batch_size: Images of a step, of one replica.
        can_split: Whether this process may decide that alone.

    Raises:
        TrainingError: A single image is too many.
    """
    step = progress.step
    size = progress.micro_batch_size or batch_size
    if size == 1 or not can_split:
        many = "one image" if size == 1 else f"{size} images"
        batch = "" if size == 1 else "train.batch_size or "
        raise TrainingError(
            f"Out of memory at step {step} with {many} at a time.",
            f"Lower {batch}model.image_size, take a smaller net (`slimworks nets`), or give the "
            "process more memory; then run again: it goes on from its checkpoint.",
        )
    state.roll_back(progress)
    progress.micro_batch_size = -(-size // 2)
    progress.num_repairs += 1
    state.save_return(progress)
    _log.warning(
        "out of memory at step %d: back to step %d, %d images at a time from now on; gradients "
        "are added up to those of %d",
        step, progress.step, progress.micro_batch_size, batch_size,
    )  # fmt: skip


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ROOM_TEXTS = tuple(os.strerror(number) for number in _NO_ROOM)


def is_disk_full(fault: BaseException) -> bool:
    """Whether a file could not be written for lack of room; TensorFlow's errors have no errno."""
    if isinstance(fault, OSError):
        return fault.errno in _NO_ROOM
    return any(text in str(fault) for text in _NO_ROOM_TEXTS)


def disk_full_error(folder: Path, step: int) -> TrainingError:
    """What to tell of a checkpoint that could not be written."""
    return TrainingError(
        f"No room for the checkpoint of step {step} in {folder}; the one before is kept.",
        "Make room there, then run again: the training goes on from that checkpoint.",
    )
