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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import tensorflow as tf

from slimworks.components.progress import Progress as ProgressBar
from slimworks.components.trainer import steps
from slimworks.components.trainer.budget import Pace
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.distribution import Distribution, shared_batch_size
from slimworks.components.trainer.learning_rate import learning_rate_at
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.phases import ALL, Phase
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.summaries import Summaries
from slimworks.components.trainer.watchdog import (
    NotFiniteError,
    Watchdog,
    disk_full_error,
    halve_micro_batch,
    is_disk_full,
    lower_rate,
)

PROGRESS_LINE_SECONDS = 600.0  # of epochs longer than that; the others have their own line

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a training is."""

    num_train: int
    batch_size: int
    steps_per_epoch: int
    num_steps: int

    @classmethod
    def of(cls, config: TrainConfig, num_train: int, num_replicas: int = 1) -> Plan:
        """Plans the steps; a set smaller than a batch is one batch, which the replicas share."""
        batch_size = shared_batch_size(config.batch_size, num_train, num_replicas)
        steps_per_epoch = max(num_train // batch_size, 1)
        return cls(num_train, batch_size, steps_per_epoch, config.num_steps(steps_per_epoch))


@dataclasses.dataclass
class Loop:
    """Trains a network from where `progress` stands to the end of a phase.

    `kept` are the variables that the best checkpoint holds, by name. An evaluation is sound, for
    the watchdog, whose loss is below `loss_of_guess`: weights that have gone astray do worse.
    """

    kept: Mapping[str, Any]
    phase: Phase
    train_step: steps.TrainStep
    optimizer: Optimizer
    config: TrainConfig
    plan: Plan
    state: TrainingState
    progress: Progress
    evaluate: Callable[[], steps.SplitMetrics]
    summaries: Summaries
    distribution: Distribution
    pace: Pace | None = None
    loss_of_guess: float = math.inf  # of one that takes all classes for equally likely
    _metrics: IO[str] = dataclasses.field(init=False)
    _last_save: float = dataclasses.field(init=False)
    _last_log: float = dataclasses.field(init=False)
    _interrupt: threading.Event = dataclasses.field(init=False)
    _watchdog: Watchdog = dataclasses.field(init=False)
    _steps_since_log: int = 0
    _images_per_second: float = 0.0
    _last_loss: float = math.nan
    _last_metrics: steps.BatchMetrics | None = None

    def run(self, batches: Callable[[], Iterable[Any]]) -> None:
        """Runs every remaining step of the phase.

        Args:
            batches: Returns those from where `progress` stands.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM arrived; a checkpoint was written first.
            TrainingError: Losses are no numbers, even with a lower rate; a single image needs more
                memory than there is; the disk is full.
        """
        self._last_save = self._last_log = time.monotonic()
        with (
            open(self.state.metrics_path, "a", encoding="utf-8", buffering=1) as self._metrics,
            deferred_interrupts() as self._interrupt,
            self._progress_bar(),
        ):
            while not self._train_or_repair(batches):
                self._last_metrics, self._steps_since_log = None, 0
                self._last_save = self._last_log = time.monotonic()

    def _train_or_repair(self, batches: Callable[[], Iterable[Any]]) -> bool:
        """Whether it came to the end; if not, it returned to a checkpoint to go on otherwise."""
        fault = self._train_to_fault(batches)
        if isinstance(fault, NotFiniteError):
            self.distribution.settle(self.kept)  # no update may follow the return
            rate = float(self.optimizer.learning_rate.numpy())
            lower_rate(fault, self.state, self.progress, rate, self.config.resolved_learning_rate)
        elif fault is not None:
            distribution = self.distribution
            replica_batch_size = self.plan.batch_size // distribution.num_replicas
            can_split = distribution.cluster is None
            halve_micro_batch(self.state, self.progress, replica_batch_size, can_split)
        return fault is None

    def _train_to_fault(self, batches: Callable[[], Iterable[Any]]) -> Exception | None:
        """Returns what can be put right, without the frames: their tensors take memory."""
        self._watchdog = Watchdog(every_step=not self.distribution.is_asynchronous)
        try:
            self._train(batches())
        except NotFiniteError as fault:
            return fault.with_traceback(None)
        except (OSError, tf.errors.OpError) as fault:
            if is_disk_full(fault):
                raise disk_full_error(self.state.folder, self.progress.step) from fault
            if not isinstance(fault, tf.errors.ResourceExhaustedError):
                raise
            return fault.with_traceback(None)
        return None

    def _train(self, batches: Iterable[Any]) -> None:
        step_function = dataclasses.replace(
            self.train_step, micro_batch_size=self.progress.micro_batch_size
        )
        train_step = self.distribution.train_function(step_function)
        if self._is_epoch_end() and self.progress.evaluated_step < self.progress.step:
            # The attempt before was stopped between step and evaluation.
            self._set_learning_rate(self.progress.step - 1)
            self._end_epoch()
            self._save()
        for batch in batches:
            if self.progress.has_stopped_early or self.progress.step >= self.phase.end:
                break  # earlier than it was planned to
            self._set_learning_rate(self.progress.step)
            # As a tensor: the step would be traced again for each Python number.
            step = tf.constant(self.progress.step, tf.int64)
            self.summaries.profile(self.progress.step)
            metrics = train_step(batch, step)
            if self.progress.step == self.phase.first_step and self.distribution.is_alone:
                self.summaries.first_step(self.progress.step, train_step, batch, step)
            self._last_metrics = metrics
            self.progress.step += 1
            self._steps_since_log += 1
            self._watchdog.watch(self.progress.step, batch.ids, metrics.total_loss)
            if self.pace is not None:
                self._keep_to(self.pace)
            self._after_step(metrics)

    def _progress_bar(self) -> ProgressBar:
        """What a terminal shows while the lines of the epochs go by."""
        batch_size = self.plan.batch_size
        return ProgressBar(
            "train",
            self.plan.num_steps * batch_size,
            initial=self.progress.step * batch_size,
            count=lambda: self.progress.step * batch_size,
            note=self._newest_metrics,
            line_seconds=PROGRESS_LINE_SECONDS,
        )

    def _newest_metrics(self) -> str:
        if self._last_metrics is None:
            return ""
        loss, _, accuracy = (float(value) for value in self._last_metrics)
        return f"loss {loss:.3f}, accuracy {accuracy:.0%}"

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate_at(
            step - self.phase.first_step,
            self.config,
            self.plan.num_train / self.plan.batch_size,
            self.phase.num_steps,
            self.phase.learning_rate,
        )
        self.optimizer.learning_rate.assign(rate * self.progress.rate_scale)

    def _after_step(self, metrics: steps.BatchMetrics) -> None:
        step = self.progress.step
        is_epoch_end = self._is_epoch_end()
        is_interrupted, is_due = self.distribution.any(self._interrupt.is_set(), self._is_due())
        if is_epoch_end or step % self.config.log_every_n_steps == 0:
            self._log_train(*(float(value) for value in metrics))
        self._stop_if(is_interrupted)
        if is_epoch_end:
            self._end_epoch()
            (is_interrupted,) = self.distribution.any(self._interrupt.is_set())
        if step >= self.phase.end or is_due or self.progress.has_stopped_early:
            self._save()
        self._stop_if(is_interrupted)

    def _keep_to(self, pace: Pace) -> None:
        """Under a budget: plans as many steps as fit, and ends the phase where time is up."""
        is_first_time = pace.count_step()
        if is_first_time:
            self.evaluate()  # traced now: the second one shows what each will take
            with pace.evaluating():
                self.evaluate()
        is_time_to_plan = is_first_time or (pace.is_measured and self._is_epoch_end())
        if pace.is_over:
            self._end_phase_at(self.progress.step)
        elif is_time_to_plan:
            self._end_phase_at(self.progress.step + pace.affordable_steps())

    def _end_phase_at(self, step: int) -> None:
        if step >= self.phase.end:
            return
        num_left_out = self.phase.end - step
        self.plan = dataclasses.replace(self.plan, num_steps=self.plan.num_steps - num_left_out)
        self.phase = dataclasses.replace(self.phase, num_steps=step - self.phase.first_step)
        _log.info("the budget ends this phase at step %d, %d earlier", step, num_left_out)

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_save >= self.config.save_interval_secs

    def _is_epoch_end(self) -> bool:
        step = self.progress.step
        return step > 0 and (step % self.plan.steps_per_epoch == 0 or step >= self.phase.end)

    def _stop_if(self, is_interrupted: bool) -> None:
        if is_interrupted:
            self._save()
            _log.info("interrupted: the checkpoint of step %d is kept", self.progress.step)
            raise KeyboardInterrupt

    def _log_train(self, loss: float, total_loss: float, accuracy: float) -> None:
        self._watchdog.check()
        now = time.monotonic()
        seconds = now - self._last_log
        rate = self._steps_since_log * self.plan.batch_size / max(seconds, 1e-9)
        self._last_log, self._steps_since_log = now, 0
        self.progress.seconds += seconds
        self._images_per_second = rate
        self._last_loss = loss
        more = {"total_loss": round(total_loss, 6), "images_per_second": round(rate, 1)}
        self._write_metrics("train", loss, accuracy, **more)

    def _write_metrics(self, split: str, loss: float, accuracy: float, **more: float) -> None:
        step = self.progress.step
        line: dict[str, Any] = {
            "step": step,
            "epoch": round(step / self.plan.steps_per_epoch, 3),
            "phase": self.phase.name,
            "split": split,
            "loss": round(loss, 6),
            "accuracy": round(accuracy, 6),
            "learning_rate": float(self.optimizer.learning_rate.numpy()),
            "seconds": round(self.progress.seconds, 2),
            **more,
        }
        self._metrics.write(json.dumps(line) + "\n")
        self.summaries.scalars(step, split, loss, accuracy, line["learning_rate"])

    def _end_epoch(self) -> None:
        with self.pace.evaluating() if self.pace else contextlib.nullcontext():
            result = self.evaluate()
        self._last_log = time.monotonic()
        self._watchdog.require_finite("loss of the eval split", result.loss)
        self._write_metrics("eval", result.loss, result.accuracy)
        progress = self.progress
        if result.loss < self.loss_of_guess:
            progress.is_doubtful = False
            self.state.prove()
        progress.evaluated_step = progress.step
        # The later of two equal models has trained longer; a smaller loss says it is surer.
        # best_accuracy starts below every accuracy, so the first epoch is always the best so far.
        is_best = (result.accuracy, -result.loss) > (progress.best_accuracy, -progress.best_loss)
        if is_best:
            progress.best_step = progress.step
            progress.best_accuracy, progress.best_loss = result.accuracy, result.loss
            self.state.save_best(progress, self.kept)
        self._say_epoch(result)
        self._stop_early()

    def _stop_early(self) -> None:
        patience, progress = self.config.early_stopping_epochs, self.progress
        if patience is None or self.phase.name != ALL:
            return
        since = progress.step - max(progress.best_step, self.phase.first_step)
        if since >= patience * self.plan.steps_per_epoch:
            progress.has_stopped_early = True
            _log.info("stopped early: no better evaluation since step %d", progress.best_step)

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
        self.distribution.settle(self.kept)
        self._watchdog.check()
        self.state.save(self.progress)
        self.state.forget_other_bests(self.progress)
        self._last_save = time.monotonic()


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[threading.Event]:
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
