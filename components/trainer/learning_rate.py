"""Learning-rate schedules: TF-Slim's three, cosine, and linear warm-up."""

from __future__ import annotations

import math

from slimworks.components.trainer.config import TrainConfig

EPOCHS_PER_EXPONENTIAL_DECAY = 2.0  # TF-Slim's


def learning_rate_at(
    step: int,
    config: TrainConfig,
    steps_per_epoch: float,
    num_steps: int,
    initial_rate: float | None = None,
) -> float:
    """Learning rate of one step, by TF-Slim's rules where TF-Slim has the schedule.

    The decay clock runs during warm-up, whose first step has rate 0.

    Args:
        step: Steps already done, from 0.
        config: Decay type and its settings.
        steps_per_epoch: Train examples / batch size.
        num_steps: Planned steps.
        initial_rate: Instead of the config's.
    """
    start = config.resolved_learning_rate if initial_rate is None else initial_rate
    rate = _decayed(step, start, config, steps_per_epoch, num_steps)
    warmup_steps = _warmup_steps(config, steps_per_epoch, num_steps)
    return min(start * step / warmup_steps, rate) if step < warmup_steps else rate


def _warmup_steps(config: TrainConfig, steps_per_epoch: float, num_steps: int) -> float:
    if config.warmup_epochs is not None:
        return config.warmup_epochs * steps_per_epoch
    # A warm-up longer than a fifth of a short run would leave nothing of it.
    return int(min(steps_per_epoch, num_steps / 5))


def _decayed(
    step: int, start: float, config: TrainConfig, steps_per_epoch: float, num_steps: int
) -> float:
    kind, end = config.learning_rate_decay_type, config.end_learning_rate
    if kind == "fixed":
        return start
    if kind == "exponential":
        epochs = config.num_epochs_per_decay or EPOCHS_PER_EXPONENTIAL_DECAY
        decay_steps = max(int(steps_per_epoch * epochs), 1)
        return start * config.learning_rate_decay_factor ** (step // decay_steps)
    decay_steps = max(num_steps, 1)
    if config.num_epochs_per_decay is not None:
        decay_steps = max(int(steps_per_epoch * config.num_epochs_per_decay), 1)
    done = min(step / decay_steps, 1.0)
    if kind == "polynomial":
        return start + (end - start) * done
    # A rate that begins below the usual end stays where it is.
    end = min(end, start)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * done))


def batch_norm_decay(config: TrainConfig, default: float | None, num_steps: int) -> float | None:
    """Decay of the moving statistics for a run of `num_steps`.

    TF-Slim's 0.9997 needs tens of thousands of steps; in a fine-tuning of a few hundred the
    moving statistics would still be those of the start (good training accuracy, random eval
    accuracy). The decay is shortened until the run is ten time constants long, but not below
    0.9, where the statistics get as noisy as single batches.

    Args:
        config: `batch_norm_decay` wins where it is set.
        default: The net's own decay; None: it has no batch norm.
        num_steps: Planned steps.
    """
    if config.batch_norm_decay is not None or default is None:
        return config.batch_norm_decay
    return min(default, max(0.9, 1.0 - 10.0 / max(num_steps, 1)))
