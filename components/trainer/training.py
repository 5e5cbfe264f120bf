"""The phases of one training, each with its own optimizer, schedule and traced step."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.nets.freezing import frozen_scopes
from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer import dataset, steps
from slimworks.components.trainer.budget import Deadline, Pace
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.distribution import Distribution
from slimworks.components.trainer.features import FOLDER as FEATURES_FOLDER
from slimworks.components.trainer.features import feature_feed, require_frozen_layers
from slimworks.components.trainer.feeds import Feed, image_feed
from slimworks.components.trainer.loop import Loop, Plan
from slimworks.components.trainer.losses import training_loss
from slimworks.components.trainer.moving_averages import MovingAverages
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.phases import Phase
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.summaries import Summaries

EVAL_BATCH_SIZE = 64

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Training:
    """What the phases of one training share."""

    examples: dataset.StoredExamples
    module: SlimModule
    config: TrainConfig
    plan: Plan
    state: TrainingState
    progress: Progress
    averages: MovingAverages | None
    summaries: Summaries
    distribution: Distribution = dataclasses.field(default_factory=Distribution)
    deadline: Deadline | None = None

    def run(self, phases: Sequence[Phase], is_resumed: bool) -> list[Phase]:
        """Trains from where `progress` stands to the end of the last phase.

        Returns the phases as they came to be: a deadline may have ended some earlier.

        Args:
            phases: Of the whole training.
            is_resumed: Whether the work folder has a checkpoint to start from. At the end of a
                phase it is that phase's, so that phase is entered, for no step.
        """
        trained = [phase.factors for phase in phases]
        require_frozen_layers(self.config, trained, len(self.module.trainable_by_name))
        first, phases = _entered(phases, self.progress)
        for at in range(first, len(phases)):
            if self.progress.has_stopped_early:
                break
            _log.info("%s", describe(phases[at]))
            loop, feed = self._loop(phases[at], restore=is_resumed)
            if self.deadline is not None:
                is_last = at == len(phases) - 1
                loop.pace = Pace(self.deadline, self.plan.steps_per_epoch, is_last_phase=is_last)
            loop.run(functools.partial(self._batches, feed, phases[at]))
            phases = [*phases[:at], loop.phase, *_from(loop.phase.end, phases[at + 1 :])]
            is_resumed = False
        return phases

    def evaluation(self, feed: Feed | None = None) -> Callable[[], steps.SplitMetrics]:
        """Returns a function that evaluates the eval split with the network as it is.

        Args:
            feed: What to read; None: images.
        """
        feed = feed or image_feed(self.examples, self.config, self.module, ())
        eval_step = steps.eval_step_of(feed.logits)
        return lambda: self.distribution.evaluate(eval_step, self._eval_batches(feed))

    def load(self, prefix: str) -> None:
        """Gives the network and its averages the values of a checkpoint."""
        reader = tf.train.load_checkpoint(prefix)
        for name, variable in self.variables.items():
            variable.assign(reader.get_tensor(name))

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables and their averages, by name: what a finished model has."""
        return {**self.module.variables_by_name, **(self.averages.shadows if self.averages else {})}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The network has the values that are evaluated and exported within."""
        return self.averages.applied() if self.averages else contextlib.nullcontext()

    def _loop(self, phase: Phase, restore: bool) -> tuple[Loop, Feed]:
        trained = {name: self.module.variables_by_name[name] for name in phase.factors}
        with self.distribution.scope():
            optimizer = Optimizer(self.config, trained, phase.factors)
        self.state.track({**self.variables, **optimizer.slots})
        if restore:
            self.state.restore(self.progress)
        feed = self._feed(phase)
        if not restore:
            # What the watchdog returns to until there is a later one.
            self.progress.phase, self.progress.phase_start = phase.name, phase.first_step
            self.state.save(self.progress)
        evaluate_as_it_is = self.evaluation(feed)

        def evaluate() -> steps.SplitMetrics:
            self.distribution.settle(self.variables)
            with self.averaged():
                return evaluate_as_it_is()

        loop = Loop(
            kept=self.variables,
            phase=phase,
            train_step=self._train_step(feed, trained, optimizer),
            optimizer=optimizer,
            config=self.config,
            plan=self.plan,
            state=self.state,
            progress=self.progress,
            evaluate=evaluate,
            summaries=self.summaries,
            distribution=self.distribution,
            loss_of_guess=math.log(self.examples.num_classes),
        )
        return loop, feed

    def _feed(self, phase: Phase) -> Feed:
        """What the phase reads; the network has the values that it begins with."""
        arguments = self.examples, self.config, self.module, phase.factors
        features = feature_feed(
            *arguments,
            self.state.folder.parent / FEATURES_FOLDER,
            num_epochs=phase.num_steps / self.plan.steps_per_epoch,
            is_alone=self.distribution.is_alone,
        )
        if features is None:
            return image_feed(*arguments)
        self.progress.cached_phases = sorted({*self.progress.cached_phases, phase.name})
        return features

    def _train_step(
        self, feed: Feed, trained: Mapping[str, tf.Variable], optimizer: Optimizer
    ) -> steps.TrainStep:
        averages, changed = self.averages, changed_variables(self.module, trained)
        return steps.TrainStep(
            forward=feed.forward,
            loss=training_loss(self.config, lambda: self.examples.class_counts("train")),
            trained=list(trained.values()),
            optimizer=optimizer,
            batch_size=self.plan.batch_size,
            after_update=None if averages is None else lambda step: averages.update(step, changed),
        )

    def _eval_batches(self, feed: Feed) -> tf.data.Dataset:
        """The eval split; where memory was lacking, in smaller batches too."""
        size = min(self.progress.micro_batch_size or EVAL_BATCH_SIZE, EVAL_BATCH_SIZE)
        distribution = self.distribution
        return feed.eval_batches(size, distribution.num_shards, distribution.shard)

    def _batches(self, feed: Feed, phase: Phase) -> Iterable[Any]:
        make = functools.partial(
            feed.train_batches,
            batch_size=self.plan.batch_size,
            steps_per_epoch=self.plan.steps_per_epoch,
            first_step=self.progress.step,
        )
        return self.distribution.batches(make, self.progress.step, phase.end)


def _entered(phases: Sequence[Phase], progress: Progress) -> tuple[int, list[Phase]]:
    """Number of the phase that `progress` is in, and all, with the step that it began with."""
    if not progress.phase:
        return 0, list(phases)
    at = [phase.name for phase in phases].index(progress.phase)
    return at, [*phases[:at], *_from(progress.phase_start, phases[at:])]


def _from(step: int, phases: Sequence[Phase]) -> list[Phase]:
    """Phases that follow each other up to the same end, where a deadline lets the first begin."""
    moved = []
    for phase in phases:
        num_steps = max(phase.end - step, 0)
        moved.append(dataclasses.replace(phase, first_step=step, num_steps=num_steps))
        step += num_steps
    return moved


def changed_variables(module: SlimModule, trained: Collection[str]) -> list[str]:
    """Names of the variables that steps change: trained ones, and moving statistics of theirs."""
    frozen = frozen_scopes(module.variables_by_name, trained)
    return [*trained, *moving_outside(module, frozen)]


def moving_outside(module: SlimModule, frozen: Collection[str]) -> list[str]:
    """Names of the moving statistics of batch norms that are not in the scopes `frozen`."""
    return [name for name in module.moving_by_name if name.rpartition("/")[0] not in frozen]


def describe(phase: Phase) -> str:
    """One line for the log."""
    low, high = min(phase.factors.values()), max(phase.factors.values())
    rates = f"{phase.learning_rate * high:.3g}"
    if low != high:
        rates = f"{phase.learning_rate * low:.3g} (first layers) to {rates}"
    return (
        f"steps {phase.first_step} to {phase.end}: training {len(phase.factors)} variables "
        f"({phase.name}), learning rate {rates}"
    )
