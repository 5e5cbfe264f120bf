"""Which weights a training ends with: the best ones, with moving statistics that fit them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from slimworks.components.nets.freezing import frozen_scopes
from slimworks.components.trainer import dataset, steps
from slimworks.components.trainer.batch_norm_check import (
    MAX_IMAGES,
    BatchNormCheck,
    check_batch_norm,
)
from slimworks.components.trainer.phases import Phase
from slimworks.components.trainer.training import Training, moving_outside

Evaluation = Callable[[], steps.SplitMetrics]

_log = logging.getLogger(__name__)


def load_best(training: Training, last_phase: Phase) -> dict[str, Any]:
    """Loads the best weights and repairs their moving statistics where that helps.

    Where these were wrong, so was the choice of the best: an early checkpoint whose own statistics
    still fit. So the last weights are looked at too, and the better ones stay. `training.progress`
    says which.

    Returns:
        What model.json says of batch norm: empty where nothing was trained that it normalises.
    """
    progress, state = training.progress, training.state
    training.load(state.best_prefix(progress.best_step))
    module = training.module
    frozen = frozen_scopes(module.variables_by_name, last_phase.factors)
    if not moving_outside(module, frozen):
        return {}
    evaluate = training.evaluation()
    known = steps.SplitMetrics(progress.best_loss, progress.best_accuracy, 0)
    check = _check(training, frozen, evaluate, known)
    if progress.best_step < progress.step:
        check = _better_of_best_and_last(training, frozen, evaluate, check)
    progress.best_accuracy, progress.best_loss = check.after.accuracy, check.after.loss
    return {"step": progress.best_step, **check.facts}


def _better_of_best_and_last(
    training: Training, frozen: frozenset[str], evaluate: Evaluation, of_best: BatchNormCheck
) -> BatchNormCheck:
    progress, state = training.progress, training.state
    best = {name: variable.numpy() for name, variable in training.variables.items()}
    training.load(state.checkpoint_prefix(progress))
    _log.info("of the weights of the last step, %d:", progress.step)
    of_last = _check(training, frozen, evaluate)
    if (of_last.after.accuracy, -of_last.after.loss) > (
        of_best.after.accuracy,
        -of_best.after.loss,
    ):
        progress.best_step = progress.step
        return of_last
    for name, value in best.items():
        training.variables[name].assign(value)
    return of_best


def _check(
    training: Training,
    frozen: frozenset[str],
    evaluate: Evaluation,
    known: steps.SplitMetrics | None = None,
) -> BatchNormCheck:
    batch_size = training.plan.batch_size
    batches = dataset.eval_batches(training.examples, "train", batch_size)
    # A last batch of a few images would have statistics of its own.
    num_batches = max(min(MAX_IMAGES, training.plan.num_train) // batch_size, 1)
    with training.averaged():
        check = check_batch_norm(
            training.module,
            frozen,
            batches.take(num_batches),
            evaluate,
            known or evaluate(),
        )
        if check.is_repaired and training.averages is not None:
            training.averages.follow(training.module.moving_by_name)
    return check
