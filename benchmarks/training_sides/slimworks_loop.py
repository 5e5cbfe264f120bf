"""Side of training_speed.py: the trainer's own loop, on noise or on transformed examples."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import protocol
import tensorflow as tf

from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer import dataset, losses, steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.distribution import Distribution
from slimworks.components.trainer.loop import Loop, Plan
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.phases import Phase
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.summaries import Summaries

NUM_STEPS = 1_000_000  # more than anybody asks for


def main() -> None:
    """Trains until nobody asks for more steps; the loop takes its batches from a generator."""
    wanted = protocol.options()
    if wanted.more.get("bfloat16"):
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    turns = protocol.turns(wanted)
    next(turns)
    config = TrainConfig(
        batch_size=wanted.batch_size,
        max_number_of_steps=NUM_STEPS,
        save_interval_secs=math.inf,
        trainable_scopes=wanted.more.get("trainable_scopes"),
    )
    examples = wanted.more.get("examples")
    batches = transformed(wanted, config, examples) if examples else noise(wanted)
    if wanted.more.get("input_only"):
        for _ in asked_for(turns, iter(batches)):
            pass
        return
    with tempfile.TemporaryDirectory() as folder:
        make_loop(wanted, config, folder).run(lambda: asked_for(turns, iter(batches)))


class _Summaries(Summaries):
    """Leaves out what is written once, after the first step: no other side does it."""

    def first_step(self, *_: Any) -> None:
        """Writes nothing."""


def make_loop(wanted: protocol.Options, config: TrainConfig, folder: str) -> Loop:
    """Returns the loop of a training from scratch, with all that it does beside the steps."""
    spec = get_net(wanted.net)
    module = SlimModule(
        spec, wanted.num_classes, wanted.image_size, 3, weight_decay=config.weight_decay
    )
    trained = steps.trainable_variables(module, config.trainable_scopes)
    optimizer = Optimizer(config, trained)
    state = TrainingState(folder)
    state.track({**module.variables_by_name, **optimizer.slots})
    return Loop(
        kept=module.variables_by_name,
        phase=Phase("all", 0, NUM_STEPS, 1e-3, dict.fromkeys(trained, 1.0)),
        train_step=steps.TrainStep(
            forward=steps.training_forward(module, trained, config.seed),
            loss=losses.training_loss(config, [1] * wanted.num_classes),
            trained=list(trained.values()),
            optimizer=optimizer,
            batch_size=wanted.batch_size,
        ),
        optimizer=optimizer,
        config=config,
        plan=Plan(wanted.batch_size * NUM_STEPS, wanted.batch_size, NUM_STEPS, NUM_STEPS),
        state=state,
        progress=Progress(),
        evaluate=lambda: steps.SplitMetrics(0.0, 0.0, 1),
        summaries=_Summaries(folder, config, spec.preprocessing),
        distribution=Distribution(),
    )


def asked_for(turns: Iterator[int], batches: Iterator[dataset.Batch]) -> Iterator[dataset.Batch]:
    """Yields one batch, then as many as each turn asks for."""
    yield next(batches)
    tf.test.experimental.sync_devices()
    for num_steps in turns:
        for _ in range(num_steps):
            yield next(batches)
        tf.test.experimental.sync_devices()


def noise(wanted: protocol.Options) -> Iterable[dataset.Batch]:
    """The same batch for ever."""
    images, targets = (tf.constant(values) for values in protocol.noise(wanted))
    ids = tf.constant([""] * wanted.batch_size)
    return itertools.repeat(dataset.Batch(images, targets, ids))


def transformed(
    wanted: protocol.Options, config: TrainConfig, folder: str
) -> Iterable[dataset.Batch]:
    """Transformed examples, read, shuffled and augmented as in every training."""
    preprocessing = get_preprocessing(get_net(wanted.net).preprocessing)
    size = wanted.image_size
    examples = dataset.StoredExamples(
        folder, preprocessing.stored_size(size), 3, size, preprocessing, wanted.num_classes
    )
    return dataset.train_batches(
        examples,
        config,
        batch_size=wanted.batch_size,
        steps_per_epoch=examples.count("train") // wanted.batch_size,
        first_step=0,
        num_steps=NUM_STEPS,
    )


main()
