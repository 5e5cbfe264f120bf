"""Each optimizer against TF1 graph training: same values, same gradients, same slot names."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.trainer import optimizers
from slimworks.components.trainer.config import Optimizer as OptimizerName
from slimworks.components.trainer.config import TrainConfig

NUM_STEPS = 5
START = np.array([1.0, -2.0, 3.0], np.float32)


def _tf1_run(config: TrainConfig, folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Trains sum((w - target)^2) in a TF1 graph; returns w and the checkpoint's content."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("net/w", initializer=START)
        build, _ = optimizers._OPTIMIZERS[config.optimizer]
        loss = tf.reduce_sum(tf.square(variable - [0.5, 0.5, 0.5]))
        step = build(0.1, config).minimize(loss)
        session.run(tf1.global_variables_initializer())
        for _ in range(NUM_STEPS):
            session.run(step)
        saver = tf1.train.Saver()
        reader = tf.train.load_checkpoint(saver.save(session, str(folder / "tf1.ckpt")))
        values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        return session.run(variable), values


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_updates_and_slots_equal_tf1(name: str, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({"optimizer": name})
    variable = tf.Variable(START)
    optimizer = optimizers.Optimizer(config, {"net/w": variable})
    optimizer.learning_rate.assign(0.1)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(variable - [0.5, 0.5, 0.5]))
        optimizer.apply(tape.gradient(loss, [variable]))

    for _ in range(NUM_STEPS):
        step()
    expected, checkpoint = _tf1_run(config, tmp_path)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)
    assert set(optimizer.slots) == set(checkpoint) - {"net/w"}
    for slot, value in optimizer.slots.items():
        np.testing.assert_allclose(value.numpy(), checkpoint[slot], rtol=1e-6)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_each_factor_is_an_optimizer_with_a_rate_of_its_own(name: str) -> None:
    config = TrainConfig.model_validate({"optimizer": name})
    both = {"a": tf.Variable(START), "b": tf.Variable(START)}
    optimizer = optimizers.Optimizer(config, both, {"a": 0.25, "b": 1.0})
    alone = {key: tf.Variable(START) for key in both}
    lone = {key: optimizers.Optimizer(config, {key: alone[key]}) for key in alone}
    gradients = [tf.constant([1.0, -0.5, 2.0]), tf.constant([-1.0, 3.0, 0.25])]

    @tf.function(autograph=False)
    def step() -> None:
        optimizer.apply(gradients)
        lone["a"].apply(gradients[:1])
        lone["b"].apply(gradients[1:])

    for number in range(NUM_STEPS):
        rate = 0.1 / (number + 1)
        optimizer.learning_rate.assign(rate)
        lone["a"].learning_rate.assign(0.25 * rate)
        lone["b"].learning_rate.assign(rate)
        step()
    for key in both:
        np.testing.assert_allclose(both[key].numpy(), alone[key].numpy(), rtol=1e-6)


def test_beta_powers_of_a_second_optimizer_are_numbered_as_in_tf1() -> None:
    both = {"a": tf.Variable(START), "b": tf.Variable(START)}
    optimizer = optimizers.Optimizer(TrainConfig(optimizer="adam"), both, {"a": 0.5})
    assert {name for name in optimizer.slots if "power" in name} == {
        "beta1_power",
        "beta2_power",
        "beta1_power_1",
        "beta2_power_1",
    }
