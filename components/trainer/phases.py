"""What is trained when: first what the checkpoint lacks, then everything. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from slimworks.components.errors import ConfigError
from slimworks.components.trainer.config import TrainConfig

HEAD, ALL = "head", "all"

# Measured on 800 flower photos and on blood cells, see docs/training.md.
HEAD_FRACTION = 0.25  # of the steps
MAX_HEAD_EPOCHS = 5  # more made no better heads: 0.825 after 5, 0.813 after 20
# Of the first and of the last restored layers. With 0.1 and 0.5, mobilenet_v2 fell from 0.72 to
# 0.32 in its first epoch of all layers, with these to 0.58; both recover.
LOWEST_FACTOR, HIGHEST_FACTOR = 0.02, 0.2
# Each factor is an optimizer of its own.
LAYER_GROUPS = 4


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training with an optimizer and a learning-rate schedule of its own.

    Attributes:
        name: HEAD or ALL.
        first_step: Steps of the training before this phase.
        num_steps: Steps of this phase.
        learning_rate: Initial rate, of variables with factor 1.
        factors: Factor of the rate by name of trained variable, in the network's order.
    """

    name: str
    first_step: int
    num_steps: int
    learning_rate: float
    factors: Mapping[str, float]

    @property
    def end(self) -> int:
        """Steps of the training when this phase is over."""
        return self.first_step + self.num_steps

    @property
    def facts(self) -> dict[str, Any]:
        """What model.json says of it."""
        return {
            "name": self.name,
            "first_step": self.first_step,
            "num_steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "num_trained_variables": len(self.factors),
            "layer_learning_rates": sorted(set(self.factors.values())),
        }


def plan_phases(
    trainable: Sequence[str],
    new: Collection[str],
    config: TrainConfig,
    *,
    steps_per_epoch: int,
    num_steps: int,
) -> list[Phase]:
    """Returns one phase, or two where a checkpoint's layers get a new head.

    New variables start at random values; the gradients that they send back would undo what the
    checkpoint's layers know. So they are trained alone first.

    Args:
        trainable: Names of the variables to train, in the network's order.
        new: Names of the variables that the checkpoint did not have; empty without a checkpoint.
        config: Training settings.
        steps_per_epoch: Batches an epoch.
        num_steps: Steps of the whole training.

    Raises:
        ConfigError: A scope of `train.layer_learning_rates` matches nothing.
    """
    rate = config.resolved_learning_rate
    head = [name for name in trainable if name in new and not is_auxiliary(name)]
    factors = _factors(trainable, new, config)
    is_fine_tuning = bool(head) and len(head) < len(trainable) and not config.trainable_scopes
    head_steps = _head_steps(config, steps_per_epoch, num_steps) if is_fine_tuning else 0
    rest = Phase(ALL, head_steps, num_steps - head_steps, rate, factors)
    if head_steps == 0:
        return [rest]
    first = Phase(HEAD, 0, head_steps, rate, dict.fromkeys(head, 1.0))
    return [first, rest] if rest.num_steps else [first]


def is_auxiliary(name: str) -> bool:
    """Whether a variable belongs to an auxiliary head, which serves only the layers below it."""
    return re.search(r"(^|/)(AuxLogits|aux_\w+)/", name) is not None


def _head_steps(config: TrainConfig, steps_per_epoch: int, num_steps: int) -> int:
    if config.head_epochs is not None:
        return min(math.ceil(config.head_epochs * steps_per_epoch), num_steps)
    epochs = min(int(HEAD_FRACTION * num_steps / steps_per_epoch), MAX_HEAD_EPOCHS)
    return max(epochs * steps_per_epoch, min(steps_per_epoch, num_steps // 2))


def _factors(
    trainable: Sequence[str], new: Collection[str], config: TrainConfig
) -> dict[str, float]:
    rates = config.layer_learning_rates
    if isinstance(rates, Mapping):
        return _by_scope(trainable, rates)
    restored = [name for name in trainable if name not in new]
    if rates == "equal" or config.trainable_scopes or len(restored) == len(trainable):
        return dict.fromkeys(trainable, 1.0)
    by_depth = _by_depth(restored)
    return {name: by_depth.get(name, 1.0) for name in trainable}


def _by_scope(trainable: Sequence[str], rates: Mapping[str, float]) -> dict[str, float]:
    """The first scope that matches a name counts; factor 0 freezes."""
    for scope in rates:
        if not any(re.match(scope, name) for name in trainable):
            raise ConfigError(
                f"train.layer_learning_rates: {scope!r} matches no trained variable.",
                "`slimworks nets NAME` lists the variables; the first scope that matches counts.",
            )
    found = {
        name: next((rate for scope, rate in rates.items() if re.match(scope, name)), 1.0)
        for name in trainable
    }
    if not any(found.values()):
        raise ConfigError(
            "train.layer_learning_rates freezes every variable: each factor is 0.",
            "Give the layers to train a factor above 0, such as 1.",
        )
    return {name: factor for name, factor in found.items() if factor}


def _by_depth(names: Sequence[str]) -> dict[str, float]:
    """Factors that grow from the first to the last layer, in LAYER_GROUPS equal ratios."""
    layers = list(dict.fromkeys(_layer(name) for name in names))
    ratio = (HIGHEST_FACTOR / LOWEST_FACTOR) ** (1 / (LAYER_GROUPS - 1))
    group = {layer: at * LAYER_GROUPS // len(layers) for at, layer in enumerate(layers)}
    return {name: round(LOWEST_FACTOR * ratio ** group[_layer(name)], 6) for name in names}


def _layer(name: str) -> str:
    return name.rpartition("/")[0].removesuffix("/BatchNorm")
