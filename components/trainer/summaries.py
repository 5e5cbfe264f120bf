"""What TensorBoard shows: scalars, one grid of training images, the graph, a profile."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import tensorflow as tf

from slimworks.components.preprocessing import display
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch

GRID_SIDE = 4  # images in a row and in a column
GRID_GAP_PIXELS = 2

_log = logging.getLogger(__name__)


class Summaries:
    """Writes one training's event files.

    Scalars come with every line of metrics.jsonl, or less often where `train.save_summaries_secs`
    says so. Graph and images are written after a phase's first step, so that they cost nothing
    before it; the images once.
    """

    def __init__(self, folder: str, config: TrainConfig, family: str) -> None:
        """Creates the event file.

        Args:
            folder: TensorBoard's --logdir.
            config: Training settings.
            family: Preprocessing family, to show network input as pictures.
        """
        self._folder = folder
        self._config = config
        self._family = family
        self._writer = tf.summary.create_file_writer(folder)
        self._last_train_scalars = -math.inf
        self._is_profiling = False
        self._has_images = False

    def close(self) -> None:
        """Ends an open profile and writes what is left."""
        self._stop_profile()
        self._writer.close()

    def scalars(
        self, step: int, split: str, loss: float, accuracy: float, learning_rate: float
    ) -> None:
        """Writes a split's loss and accuracy; of the train split the learning rate too."""
        if split == "train" and not self._is_due():
            return
        with self._writer.as_default(step=step):
            tf.summary.scalar(f"{split}/loss", loss)
            tf.summary.scalar(f"{split}/accuracy", accuracy)
            if split == "train":
                tf.summary.scalar("learning_rate", learning_rate)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._last_train_scalars < self._config.save_summaries_secs:
            return False
        self._last_train_scalars = now
        return True

    def first_step(self, number: int, train_step: Any, batch: Batch, step: tf.Tensor) -> None:
        """Writes the step's graph, and a grid of images as they are trained on, augmented.

        TensorBoard shows the newest graph: that of the last phase.

        Args:
            number: Steps done before this one.
            train_step: The traced function.
            batch: What it was called with. Cached features are no images: no grid.
            step: As `batch`.
        """
        inputs = batch.inputs
        with self._writer.as_default(step=number):
            if not self._has_images and inputs.shape.rank == 4 and inputs.shape[-1] in (1, 3):
                self._has_images = True
                grid = image_grid(display.to_pixels(inputs, self._family))
                tf.summary.image("train/images", grid)
            tf.summary.graph(train_step.get_concrete_function(batch, step).graph)
        self._writer.flush()

    def profile(self, step: int) -> None:
        """Starts or ends the profiler, as `train.profile_steps` asks for; call before each step.

        Args:
            step: Steps done so far.
        """
        steps = self._config.profile_steps
        if steps is None:
            return
        if step >= steps[1]:
            self._stop_profile()
        elif step >= steps[0] and not self._is_profiling:
            tf.profiler.experimental.start(self._folder)
            self._is_profiling = True

    def _stop_profile(self) -> None:
        if self._is_profiling:
            self._is_profiling = False
            tf.profiler.experimental.stop()
            _log.info("profile written: tensorboard --logdir %s", self._folder)


def image_grid(images: tf.Tensor) -> tf.Tensor:
    """Puts the first images side by side, white where there is none.

    Args:
        images: uint8 [N, H, W, C].

    Returns:
        uint8 [1, H', W', C], GRID_SIDE images wide and at most as many high.
    """
    rows = min(math.ceil(images.shape[0] / GRID_SIDE), GRID_SIDE)
    shown = images[: rows * GRID_SIDE]
    missing = rows * GRID_SIDE - shown.shape[0]
    padding = [[0, missing], [0, GRID_GAP_PIXELS], [0, GRID_GAP_PIXELS], [0, 0]]
    padded = tf.pad(shown, padding, constant_values=255)
    _, height, width, channels = padded.shape
    cells = tf.reshape(padded, [rows, GRID_SIDE, height, width, channels])
    return tf.reshape(
        tf.transpose(cells, [0, 2, 1, 3, 4]), [1, rows * height, GRID_SIDE * width, channels]
    )
