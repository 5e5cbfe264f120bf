"""The learning-rate range test: one short sweep from tiny to huge, and what to read from it.

Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3: the rate grows
exponentially from step to step while the loss is watched. It first stands still, then falls, then
explodes. The weights that the sweep trains are thrown away.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from slimworks.components.errors import TrainingError
from slimworks.components.progress import Progress
from slimworks.components.trainer import dataset, steps
from slimworks.components.trainer.config import ModelConfig, TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.distribution import Distribution
from slimworks.components.trainer.losses import training_loss
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.phases import Phase
from slimworks.components.trainer.train import TrainInputs, prepare
from slimworks.components.trainer.training import Training

LOWEST_RATE, HIGHEST_RATE = 1e-6, 10.0
NUM_STEPS = 100  # 14 a decade
# Weight of what was before, in the running mean of the losses: that of some ten steps.
SMOOTHING = 0.9
# The sweep ends where the smoothed loss is so many times the lowest.
EXPLODED = 3.0
# The first steps say nothing yet: the running mean has seen too little.
MIN_STEPS = 10
# To either side, of what counts as a slope: single steps are noise.
SLOPE_STEPS = 5

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RateSweep:
    """What a sweep saw, and what it suggests.

    Attributes:
        rates: Learning rate of each step, growing.
        losses: Loss of each step's batch before its update.
        smoothed: Running mean of `losses`.
        suggested: Rate to train with.
        steepest: Rate where the smoothed loss falls fastest on the logarithmic axis.
        lowest: Rate where the smoothed loss is lowest.
        exploded: Rate at which the sweep ended, or None where the loss never exploded.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    suggested: float
    steepest: float
    lowest: float
    exploded: float | None

    def to_json(self) -> dict[str, Any]:
        """The sweep as one JSON object."""
        return dataclasses.asdict(self)


def find_learning_rate(inputs: TrainInputs, model: ModelConfig, config: TrainConfig) -> RateSweep:
    """Sweeps the learning rate of the training that `train` would do with these settings.

    One process sweeps, however many will train. What is swept is the rate of the phase in which
    everything trains, layer-wise factors included: the value of `train.learning_rate`.

    Args:
        inputs: What to read.
        model: Network and input size.
        config: Training settings; the learning rate and its schedule do not matter.

    Raises:
        ConfigError: The checkpoint or the scopes do not fit.
        TrainingError: Nothing can be suggested.
    """
    with tempfile.TemporaryDirectory(prefix="slimworks-find-lr-") as work:
        prepared = prepare(inputs, work, model, config, Distribution())
        training, phase = prepared.training, prepared.phases[-1]
        training.summaries.close()
    plan = training.plan
    rates = sweep_rates(num_steps=NUM_STEPS)
    batches = dataset.train_batches(
        training.examples,
        config,
        batch_size=plan.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        first_step=0,
        num_steps=len(rates),
    )
    _log.info("learning rates from %.0e to %.0e in %d steps", rates[0], rates[-1], len(rates))
    with Progress("find-lr", len(rates), "steps") as shown:
        return run_sweep(_sweep_step(training, phase, shown), batches, rates)


def _sweep_step(
    training: Training, phase: Phase, shown: Progress
) -> Callable[[Batch, float, int], float]:
    """Returns (batch, rate, step number) -> the batch's loss before its update."""
    variables = {name: training.module.variables_by_name[name] for name in phase.factors}
    optimizer = Optimizer(training.config, variables, phase.factors)
    update = tf.function(
        steps.TrainStep(
            forward=steps.training_forward(training.module, variables, training.config.seed),
            loss=training_loss(training.config, lambda: training.examples.class_counts("train")),
            trained=list(variables.values()),
            optimizer=optimizer,
            batch_size=training.plan.batch_size,
        ),
        autograph=False,
    )

    def step(batch: Batch, rate: float, number: int) -> float:
        optimizer.learning_rate.assign(rate)
        metrics = update(batch, tf.constant(number, tf.int64))
        shown.update(number + 1)
        return float(metrics.loss)

    return step


def sweep_rates(
    lowest: float = LOWEST_RATE, highest: float = HIGHEST_RATE, num_steps: int = NUM_STEPS
) -> list[float]:
    """Rates at equal distances on a logarithmic axis, both ends included."""
    ratio = (highest / lowest) ** (1 / (num_steps - 1))
    return [lowest * ratio**step for step in range(num_steps)]


def run_sweep(
    step: Callable[[Batch, float, int], float], batches: Iterable[Batch], rates: Sequence[float]
) -> RateSweep:
    """Trains one step at each rate until the loss explodes.

    Args:
        step: Trains on a batch, at a rate, as step number; returns the loss before the update.
        batches: At least as many as `rates`.
        rates: Growing.

    Raises:
        TrainingError: The loss exploded at once, or fell nowhere: nothing can be suggested.
    """
    losses: list[float] = []
    exploded = None
    for number, (rate, batch) in enumerate(zip(rates, batches, strict=False)):
        loss = step(batch, rate, number)
        if not math.isfinite(loss):
            exploded = rate
            break
        losses.append(loss)
        smoothed = smooth(losses)
        if number >= MIN_STEPS and smoothed[-1] > EXPLODED * min(smoothed):
            exploded = rate
            break
    return judge(rates[: len(losses)], losses, exploded)


def judge(rates: Sequence[float], losses: Sequence[float], exploded: float | None) -> RateSweep:
    """Reads a suggestion from a sweep.

    The rule: a tenth of the rate where the smoothed loss is lowest. There it is about to rise, and
    a training does many more steps than the sweep did.

    Raises:
        TrainingError: Too few steps, or the loss fell nowhere.
    """
    if len(losses) <= MIN_STEPS:
        raise TrainingError(
            f"The loss exploded after {len(losses)} steps, at the rate {exploded or 0:.2g}: "
            "no rate can be suggested.",
            "Look at the checkpoint and the data: the loss must be finite at tiny rates.",
        )
    smoothed = smooth(losses)
    at_lowest = min(range(MIN_STEPS, len(smoothed)), key=smoothed.__getitem__)
    slopes = {
        at: smoothed[at + SLOPE_STEPS] - smoothed[at - SLOPE_STEPS]
        for at in range(MIN_STEPS, at_lowest - SLOPE_STEPS + 1)
    }
    if not slopes or min(slopes.values()) >= 0:
        raise TrainingError(
            "The loss fell at no learning rate: none can be suggested.",
            "Train with more images a step (train.batch_size), or look at the labels.",
        )
    steepest = rates[min(slopes, key=slopes.__getitem__)]
    lowest = rates[at_lowest]
    return RateSweep(
        rates=list(rates),
        losses=list(losses),
        smoothed=smoothed,
        suggested=float(f"{lowest / 10:.2g}"),
        steepest=steepest,
        lowest=lowest,
        exploded=exploded,
    )


def smooth(losses: Sequence[float]) -> list[float]:
    """Running mean in which older losses fade, without a pull towards zero at the start."""
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**number))
    return found
