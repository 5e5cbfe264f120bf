"""Exponential moving averages of a network's variables, by TF-Slim's rules."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

import tensorflow as tf

from slimworks.components.checkpoints.names import AVERAGE_SUFFIX


class MovingAverages:
    """The averages (TF1's shadow variables) of all variables of a network.

    The effective decay of an update is min(decay, (1 + step) / (10 + step)), so that the initial
    values are soon forgotten.

    Attributes:
        shadows: The averages by the names that TF1 gives them in a checkpoint:
            `<variable>/ExponentialMovingAverage`.
    """

    def __init__(self, decay: float, variables: Mapping[str, tf.Variable]) -> None:
        """Starts at the variables' values.

        Args:
            decay: In (0, 1).
            variables: By TF1 name; moving statistics included.
        """
        self._decay = decay
        self._variables = dict(variables)
        self.shadows = {
            f"{name}{AVERAGE_SUFFIX}": _average_of(variable) for name, variable in variables.items()
        }

    def update(self, step: tf.Tensor, names: Collection[str]) -> None:
        """Moves the averages of some variables towards their values, after an optimiser update.

        Args:
            step: int64 [], optimiser updates before this one.
            names: The variables that updates change; of the others, average and value stay equal.
        """
        done = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for name in names:
            shadow = self.shadows[f"{name}{AVERAGE_SUFFIX}"]
            shadow.assign_sub((1.0 - decay) * (shadow - self._variables[name]))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The variables have the values of their averages within."""
        raw = {name: variable.numpy() for name, variable in self._variables.items()}
        self.apply()
        try:
            yield
        finally:
            for name, value in raw.items():
                self._variables[name].assign(value)

    def follow(self, names: Collection[str]) -> None:
        """Gives the averages of some variables their values."""
        for name in names:
            self.shadows[f"{name}{AVERAGE_SUFFIX}"].assign(self._variables[name])

    def apply(self) -> None:
        """Gives the variables the values of their averages for good."""
        for name, variable in self._variables.items():
            variable.assign(self.shadows[f"{name}{AVERAGE_SUFFIX}"])


def _average_of(variable: tf.Variable) -> tf.Variable:
    # Each replica updates its own, so that they need not talk; reading averages them.
    return tf.Variable(
        variable,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )
