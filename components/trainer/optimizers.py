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


class _ScaledRate:
    """A part of the learning rate, which TF1's optimizers turn into a tensor at each trace."""

    def __init__(self, rate: tf.Variable, factor: float) -> None:
        self._rate = rate
        self._factor = factor

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return tf.multiply(self._rate, self._factor, name)


class Optimizer:
    """TF1 optimizers over named variables: one for each factor of the learning rate.

    Scaling gradients instead would change nothing in Adam and RMSProp, which divide by their size.

    Attributes:
        learning_rate: Scalar variable, the rate of factor 1; assign before a step.
        slots: Slot and beta-power variables by the name that TF1 gives them in a checkpoint
            (`<variable>/Momentum`, `<variable>/RMSProp_1`, `beta1_power`; of a second optimizer
            `beta1_power_1`).
    """

    def __init__(
        self,
        config: TrainConfig,
        variables: Mapping[str, tf.Variable],
        factors: Mapping[str, float] | None = None,
    ) -> None:
        """Creates the slots, so that they can be restored before the first step is traced.

        Args:
            config: Update rule and its settings.
            variables: What to train, by TF1 name.
            factors: Factor of the learning rate by variable; None: 1 for all.
        """
        build, slot_names = _OPTIMIZERS[config.optimizer]
        self.learning_rate = tf.Variable(0.0, trainable=False, name="learning_rate")
        self.slots: dict[str, tf.Variable] = {}
        self._names = list(variables)
        self._groups: list[tuple[Any, dict[str, tf.Variable]]] = []
        factors = factors or {}
        for factor in dict.fromkeys(factors.get(name, 1.0) for name in variables):
            group = {n: v for n, v in variables.items() if factors.get(n, 1.0) == factor}
            optimizer = build(_ScaledRate(self.learning_rate, factor), config)
            optimizer._create_slots(list(group.values()))
            self._add_slots(optimizer, group, slot_names)
            self._groups.append((optimizer, group))

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """Updates the variables; `gradients` in their order. Call inside a tf.function."""
        by_name = dict(zip(self._names, gradients, strict=True))
        for optimizer, group in self._groups:
            optimizer.apply_gradients([(by_name[n], variable) for n, variable in group.items()])

    def _add_slots(
        self, optimizer: Any, group: Mapping[str, tf.Variable], slot_names: tuple[str, ...]
    ) -> None:
        base = optimizer.get_name()
        for name, variable in group.items():
            for number, slot in enumerate(slot_names):
                key = f"{name}/{base}{_suffix(number)}"
                self.slots[key] = optimizer.get_slot(variable, slot)
        if base == "Adam":
            powers = optimizer._get_beta_accumulators()
            for name, power in zip(("beta1_power", "beta2_power"), powers, strict=True):
                self.slots[f"{name}{_suffix(len(self._groups))}"] = power


def _suffix(number: int) -> str:
    """What TF1 appends to a name that is taken `number` times."""
    return f"_{number}" if number else ""
