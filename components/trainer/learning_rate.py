"""Learning-rate schedules: TF-Slim's three, cosine, and linear warm-up."""

from __future__ import annotations

import math

from slimworks.components.trainer.config import TrainConfig


def learning_rate_at(
    step: int, config: TrainConfig, steps_per_epoch: float, num_steps: int
) -> float:
    """Learning rate of one step.

    The decay clock runs during warm-up, as in TF-Slim.

    Args:
        step: Steps already done, from 0.
        config: Decay type and its settings.
        steps_per_epoch: Train examples / batch size.
        num_steps: Planned steps: the length of the polynomial and cosine decays.
    """
    rate = _decayed(step, config, steps_per_epoch, num_steps)
    warmup_steps = _warmup_steps(config, steps_per_epoch, num_steps)
    if step < warmup_steps:
        # step + 1: TF-Slim's first step has rate 0 and is lost.
        return min(config.resolved_learning_rate * (step + 1) / warmup_steps, rate)
    return rate


def _warmup_steps(config: TrainConfig, steps_per_epoch: float, num_steps: int) -> float:
    """A warm-up longer than a fifth of a short run would leave nothing of it."""
    return min(config.warmup_epochs * steps_per_epoch, num_steps / 5)


def _decayed(step: int, config: TrainConfig, steps_per_epoch: float, num_steps: int) -> float:
    start, end = config.resolved_learning_rate, config.end_learning_rate
    done = min(step / max(num_steps, 1), 1.0)
    if config.learning_rate_decay_type == "fixed":
        return start
    if config.learning_rate_decay_type == "polynomial":
        return start + (end - start) * done
    if config.learning_rate_decay_type == "cosine":
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * done))
    decay_steps = max(int(steps_per_epoch * config.num_epochs_per_decay), 1)
    return start * config.learning_rate_decay_factor ** (step // decay_steps)


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
