"""Our training step beside TF1's, and how far apart they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tf1_training import Flags, StepLosses, Tf1Training

from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import losses, steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.learning_rate import learning_rate_at
from slimworks.components.trainer.moving_averages import MovingAverages
from slimworks.components.trainer.optimizers import Optimizer

NUM_CLASSES = 5
MOVING = ("/moving_mean", "/moving_variance")


class OurTraining:
    """The trainer's own parts, put together as the loop does."""

    def __init__(
        self,
        net: str,
        config: TrainConfig,
        flags: Flags,
        image_size: int,
        num_channels: int,
        freezes_batch_norm: bool,
    ) -> None:
        self._config = config
        self._steps_per_epoch = flags.num_samples / flags.batch_size
        self._module = SlimModule(
            get_net(net),
            NUM_CLASSES,
            image_size,
            num_channels,
            weight_decay=config.weight_decay,
            batch_norm_decay=config.batch_norm_decay,
        )
        trained = steps.trainable_variables(self._module, config.trainable_scopes)
        self._optimizer = Optimizer(config, trained)
        averages, update = None, None
        names = list(self._module.variables_by_name)
        if config.moving_average_decay is not None:
            averages = MovingAverages(config.moving_average_decay, self._module.variables_by_name)
            update = functools.partial(averages.update, names=names)
        # TF-Slim's batch norm of layers that are not trained is in training mode: as if they were.
        moved = trained if freezes_batch_norm else names
        self._step = steps.TrainStep(
            forward=steps.training_forward(self._module, moved, config.seed),
            loss=losses.training_loss(config, lambda: [1] * NUM_CLASSES),
            trained=list(trained.values()),
            optimizer=self._optimizer,
            batch_size=flags.batch_size,
            after_update=update,
        )
        self._function = tf.function(self._step, autograph=False)
        self._num_steps = 0
        self._variables = {
            **self._module.variables_by_name,
            **self._optimizer.slots,
            **(averages.shadows if averages else {}),
        }
        self.learning_rates: list[float] = []

    def step(self, images: np.ndarray, class_indices: np.ndarray, num_steps: int) -> StepLosses:
        """One update of a training of `num_steps`."""
        rate = learning_rate_at(self._num_steps, self._config, self._steps_per_epoch, num_steps)
        self.learning_rates.append(rate)
        self._optimizer.learning_rate.assign(rate)
        batch = Batch(
            tf.constant(images),
            tf.one_hot(class_indices, NUM_CLASSES),
            tf.constant([""] * len(images)),
        )
        metrics = self._function(batch, tf.constant(self._num_steps, tf.int64))
        self._num_steps += 1
        return StepLosses(float(metrics.loss), float(metrics.total_loss))

    def values(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every variable by its name in a checkpoint, one at a time: vgg_16 is large."""
        return ((name, variable.numpy()) for name, variable in self._variables.items())

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes over what it has too."""
        for name, variable in self._variables.items():
            variable.assign(values[name])


@dataclasses.dataclass
class Differences:
    """Largest differences seen, relative to the largest value on TF1's side.

    Attributes:
        loss: Of the main cross entropy.
        total_loss: With auxiliary head and weight decay.
        update: Of what a step adds to a trained variable, relative to the largest it adds.
        moving: As `update`, of moving statistics.
        slots: Of the optimizer's slots.
        weights: Of trained variables.
        worst: Name of the variable by kind.
    """

    loss: float = 0.0
    total_loss: float = 0.0
    update: float = 0.0
    moving: float = 0.0
    slots: float = 0.0
    weights: float = 0.0
    worst: dict[str, str] = dataclasses.field(default_factory=dict)

    def note(self, kind: str, difference: float, name: str = "") -> None:
        """Keeps the largest."""
        assert not np.isnan(difference), (kind, name)
        if difference > getattr(self, kind):
            setattr(self, kind, difference)
            self.worst[kind] = name

    def note_losses(self, ours: StepLosses, theirs: StepLosses) -> None:
        """Keeps the larger differences of a step's losses."""
        self.note("loss", abs(ours.loss - theirs.loss) / abs(theirs.loss))
        total = abs(ours.total_loss - theirs.total_loss) / abs(theirs.total_loss)
        self.note("total_loss", total)

    def note_values(
        self,
        before: Mapping[str, np.ndarray],
        ours: Iterable[tuple[str, np.ndarray]],
        theirs: Mapping[str, np.ndarray],
        trainable: set[str],
    ) -> None:
        """Keeps the larger differences of what a step made of `before`."""
        for name, value in ours:
            if name not in trainable and not name.endswith(MOVING):
                self.note("slots", _relative(value - theirs[name], theirs[name]), name)
                continue
            if name in trainable:
                self.note("weights", _relative(value - theirs[name], theirs[name]), name)
            added = theirs[name] - before[name]
            # Subtracting weights leaves their rounding, however small the update is.
            rounding = np.spacing(np.max(np.abs(theirs[name])))
            error = np.maximum(np.abs(value - theirs[name]) - rounding, 0)
            kind = "update" if name in trainable else "moving"
            self.note(kind, _relative(error, added), name)


def _relative(difference: np.ndarray, scale: np.ndarray) -> float:
    largest = float(np.max(np.abs(scale)))
    found = float(np.max(np.abs(difference)))
    if found == 0.0:
        return 0.0
    return found / largest if largest else float("inf")


def batches(
    num_steps: int, batch_size: int, image_size: int, num_channels: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images [N, H, W, C] in [-1, 1] whose mean tells the class a little, and class indices."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(num_steps):
        class_indices = rng.integers(0, NUM_CLASSES, batch_size)
        noise = rng.uniform(-1, 1, (batch_size, image_size, image_size, num_channels))
        tint = (class_indices - 2.0)[:, None, None, None] / 4
        found.append((np.clip(noise + tint, -1, 1).astype(np.float32), class_indices))
    return found


def settings_of(flags: Flags) -> dict[str, Any]:
    """Section `train` for the flags: the same words."""
    settings = {name: v for name, v in dataclasses.asdict(flags).items() if v is not None}
    del settings["num_samples"]  # of the dataset
    if flags.trainable_scopes is not None:
        settings["trainable_scopes"] = flags.trainable_scopes.split(",")
    return settings


def compare(
    net: str,
    flags: Flags,
    settings: Mapping[str, Any],
    *,
    image_size: int,
    num_channels: int = 3,
    num_steps: int = 20,
    takes_weights: bool,
    freezes_batch_norm: bool = False,
) -> Differences:
    """Trains both on the same batches.

    Args:
        net: Network.
        flags: TF-Slim's flags.
        settings: Ours, section `train`.
        image_size: Side in pixels.
        num_channels: Of the images.
        num_steps: Updates.
        takes_weights: Ours takes every variable of TF1 before each step, else before the first.
        freezes_batch_norm: Ours does in layers that are not trained; TF-Slim never does.
    """
    differences = Differences()
    config = TrainConfig.model_validate(dict(settings))
    theirs = Tf1Training(net, flags, NUM_CLASSES, image_size, num_channels)
    ours = OurTraining(net, config, flags, image_size, num_channels, freezes_batch_norm)
    before = theirs.values()
    ours.load(before)
    trainable = set(theirs.trainable_names)
    for images, class_indices in batches(num_steps, flags.batch_size, image_size, num_channels):
        if takes_weights:
            ours.load(before)
        mine = ours.step(images, class_indices, num_steps)
        differences.note_losses(mine, theirs.step(images, class_indices))
        if takes_weights:
            after = theirs.values()
            differences.note_values(before, ours.values(), after, trainable)
            before = after
    if not takes_weights:
        differences.note_values(before, ours.values(), theirs.values(), trainable)
    np.testing.assert_allclose(ours.learning_rates, theirs.learning_rates, rtol=1e-5)
    theirs.close()
    return differences
