"""TF-Slim's optimizers: TF1 objects, which work in the TF2 loop and keep the TF1 slot names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from slimworks.components.trainer.config import TrainConfig

_train = tf.compat.v1.train

# name -> (constructor, slots in the order in which TF1 numbers them in checkpoints)
_OPTIMIZERS: dict[str, tuple[Callable[[Any, TrainConfig], Any], tuple[str, ...]]] = {
    "adadelta": (
        lambda rate, c: _train.AdadeltaOptimizer(rate, rho=c.adadelta_rho, epsilon=c.opt_epsilon),
        ("accum", "accum_update"),
    ),
    "adagrad": (
        lambda rate, c: _train.AdagradOptimizer(
            rate, initial_accumulator_value=c.adagrad_initial_accumulator_value
        ),
        ("accumulator",),
    ),
    "adam": (
        lambda rate, c: _train.AdamOptimizer(
            rate, beta1=c.adam_beta1, beta2=c.adam_beta2, epsilon=c.opt_epsilon
        ),
        ("m", "v"),
    ),
    "ftrl": (
        lambda rate, c: _train.FtrlOptimizer(
            rate,
            learning_rate_power=c.ftrl_learning_rate_power,
            initial_accumulator_value=c.ftrl_initial_accumulator_value,
            l1_regularization_strength=c.ftrl_l1,
            l2_regularization_strength=c.ftrl_l2,
        ),
        ("accum", "linear"),
    ),
    "momentum": (
        lambda rate, c: _train.MomentumOptimizer(rate, momentum=c.momentum),
        ("momentum",),
    ),
    "rmsprop": (
        lambda rate, c: _train.RMSPropOptimizer(
            rate, decay=c.rmsprop_decay, momentum=c.rmsprop_momentum, epsilon=c.opt_epsilon
        ),
        ("rms", "momentum"),
    ),
    "sgd": (lambda rate, c: _train.GradientDescentOptimizer(rate), ()),
}


class Optimizer:
    """One TF1 optimizer over named variables, with its learning rate and slots.

    Attributes:
        learning_rate: Scalar variable; assign before a step.
        slots: Slot and beta-power variables by the name that TF1 gives them in a checkpoint
            (`<variable>/Momentum`, `<variable>/RMSProp_1`, `beta1_power`).
    """

    def __init__(self, config: TrainConfig, variables: Mapping[str, tf.Variable]) -> None:
        build, slot_names = _OPTIMIZERS[config.optimizer]
        self.learning_rate = tf.Variable(0.0, trainable=False, name="learning_rate")
        self._variables = list(variables.values())
        self._optimizer = build(self.learning_rate, config)
        # Created eagerly, so that they can be restored before the first step is traced.
        self._optimizer._create_slots(self._variables)
        self.slots: dict[str, tf.Variable] = {}
        base = self._optimizer.get_name()
        for name, variable in variables.items():
            for number, slot in enumerate(slot_names):
                suffix = f"_{number}" if number else ""
                self.slots[f"{name}/{base}{suffix}"] = self._optimizer.get_slot(variable, slot)
        if config.optimizer == "adam":
            powers = self._optimizer._get_beta_accumulators()
            self.slots.update(zip(("beta1_power", "beta2_power"), powers, strict=True))

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """Updates the variables; `gradients` in their order. Call inside a tf.function."""
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
