"""The training loop: steps, metrics, evaluation once an epoch, checkpoints, best model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import tensorflow as tf

from slimworks.components.errors import TrainingError
from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer import steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.learning_rate import learning_rate_at
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.state import Progress, TrainingState

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a training is."""

    num_train: int
    batch_size: int
    steps_per_epoch: int
    num_steps: int

    @classmethod
    def of(cls, config: TrainConfig, num_train: int) -> Plan:
        """Plans the steps; a set smaller than a batch is one batch."""
        batch_size = min(config.batch_size, num_train)
        steps_per_epoch = max(num_train // batch_size, 1)
        return cls(num_train, batch_size, steps_per_epoch, config.num_steps(steps_per_epoch))


@dataclasses.dataclass
class Loop:
    """Trains a module from where `progress` stands to the end of the plan."""

    module: SlimModule
    optimizer: Optimizer
    trained: list[tf.Variable]
    config: TrainConfig
    plan: Plan
    state: TrainingState
    progress: Progress
    evaluate: Callable[[], steps.SplitMetrics]
    summary_writer: Any
    _metrics: IO[str] = dataclasses.field(init=False)
    _last_save: float = dataclasses.field(init=False)
    _last_log: float = dataclasses.field(init=False)
    _interrupt: threading.Event = dataclasses.field(init=False)
    _steps_since_log: int = 0
    _images_per_second: float = 0.0
    _last_loss: float = math.nan

    def run(self, batches: tf.data.Dataset) -> None:
        """Runs every remaining step.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM arrived; a checkpoint was written first.
            TrainingError: The loss is not a number.
        """
        train_step = steps.make_train_step(self.module, self.optimizer, self.trained, self.config)
        self._last_save = self._last_log = time.monotonic()
        with (
            open(self.state.metrics_path, "a", encoding="utf-8", buffering=1) as self._metrics,
            _deferred_interrupts() as self._interrupt,
        ):
            if self._is_epoch_end() and self.progress.evaluated_step < self.progress.step:
                self._end_epoch()  # the attempt before was stopped between step and evaluation
                self._save()
            for images, class_indices in batches:
                self._set_learning_rate()
                # As a tensor: the step would be traced again for each Python number.
                step = tf.constant(self.progress.step, tf.int64)
                batch = train_step(images, class_indices, step)
                self.progress.step += 1
                self._steps_since_log += 1
                self._after_step(batch)

    def _set_learning_rate(self) -> None:
        rate = learning_rate_at(
            self.progress.step,
            self.config,
            self.plan.num_train / self.plan.batch_size,
            self.plan.num_steps,
        )
        self.optimizer.learning_rate.assign(rate)

    def _after_step(self, batch: steps.BatchMetrics) -> None:
        step = self.progress.step
        is_epoch_end = self._is_epoch_end()
        if is_epoch_end or step % self.config.log_every_n_steps == 0:
            self._log_train(*(float(value) for value in batch))
        self._stop_if_interrupted()
        if is_epoch_end:
            self._end_epoch()
        due = time.monotonic() - self._last_save >= self.config.save_interval_secs
        if step >= self.plan.num_steps or due:
            self._save()
        self._stop_if_interrupted()

    def _is_epoch_end(self) -> bool:
        step = self.progress.step
        return step > 0 and (step % self.plan.steps_per_epoch == 0 or step >= self.plan.num_steps)

    def _stop_if_interrupted(self) -> None:
        if self._interrupt.is_set():
            self._save()
            _log.info("interrupted: the checkpoint of step %d is kept", self.progress.step)
            raise KeyboardInterrupt

    def _log_train(self, loss: float, total_loss: float, accuracy: float) -> None:
        self._require_finite(total_loss)
        now = time.monotonic()
        seconds = now - self._last_log
        rate = self._steps_since_log * self.plan.batch_size / max(seconds, 1e-9)
        self._last_log, self._steps_since_log = now, 0
        self.progress.seconds += seconds
        self._images_per_second = rate
        self._last_loss = loss
        more = {"total_loss": round(total_loss, 6), "images_per_second": round(rate, 1)}
        self._write_metrics("train", loss, accuracy, **more)

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {self.progress.step} "
                f"(learning rate {float(self.optimizer.learning_rate.numpy()):.2g}).",
                "Lower the rate: --set train.learning_rate="
                f"{self.config.resolved_learning_rate / 10:.2g}",
            )

    def _write_metrics(self, split: str, loss: float, accuracy: float, **more: float) -> None:
        step = self.progress.step
        line = {
            "step": step,
            "epoch": round(step / self.plan.steps_per_epoch, 3),
            "split": split,
            "loss": round(loss, 6),
            "accuracy": round(accuracy, 6),
            "learning_rate": float(self.optimizer.learning_rate.numpy()),
            "seconds": round(self.progress.seconds, 2),
            **more,
        }
        self._metrics.write(json.dumps(line) + "\n")
        with self.summary_writer.as_default(step=step):
            tf.summary.scalar(f"{split}/loss", loss)
            tf.summary.scalar(f"{split}/accuracy", accuracy)
            if split == "train":
                tf.summary.scalar("learning_rate", line["learning_rate"])

    def _end_epoch(self) -> None:
        result = self.evaluate()
        self._last_log = time.monotonic()
        self._require_finite(result.loss)
        self._write_metrics("eval", result.loss, result.accuracy)
        progress = self.progress
        progress.evaluated_step = progress.step
        # The later of two equal models has trained longer; a smaller loss says it is surer.
        # best_accuracy starts below every accuracy, so the first epoch is always the best so far.
        is_best = (result.accuracy, -result.loss) > (progress.best_accuracy, -progress.best_loss)
        if is_best:
            progress.best_step = progress.step
            progress.best_accuracy, progress.best_loss = result.accuracy, result.loss
            self.state.save_best(progress, self.module.variables_by_name)
        self._say_epoch(result)

    def _say_epoch(self, result: steps.SplitMetrics) -> None:
        done, plan = self.progress.step, self.plan
        left = (plan.num_steps - done) * plan.batch_size / max(self._images_per_second, 1e-9)
        _log.info(
            "epoch %d of %d: loss %.3f, eval accuracy %.4f (best %.4f), %.0f images/s, %s left",
            math.ceil(done / plan.steps_per_epoch),
            math.ceil(plan.num_steps / plan.steps_per_epoch),
            self._last_loss,
            result.accuracy,
            self.progress.best_accuracy,
            self._images_per_second,
            f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min",
        )

    def _save(self) -> None:
        self.state.save(self.progress)
        self.state.forget_other_bests(self.progress)
        self._last_save = time.monotonic()


@contextlib.contextmanager
def _deferred_interrupts() -> Iterator[threading.Event]:
    """Turns SIGINT and SIGTERM into a flag, so that a step is done wholly or not at all."""
    interrupt = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # only the main thread may set handlers
        return
    previous = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in previous:
        signal.signal(number, lambda *_: interrupt.set())
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
