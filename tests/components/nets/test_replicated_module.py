"""SlimModule under MirroredStrategy, in a process of its own: devices are fixed at start."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    module = SlimModule(get_net("mobilenet_v1_025"), 3, 32, 3, batch_norm_decay=0.5)
images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
step = tf.function(lambda x: strategy.run(lambda y: module.forward(y, True).logits, args=(x,)))
dataset = tf.data.Dataset.from_tensor_slices(images).batch(4)
for batch in strategy.experimental_distribute_dataset(dataset):
    step(batch)
moving = module.moving_by_name["MobilenetV1/Conv2d_0/BatchNorm/moving_mean"]
first, second = (value.numpy() for value in moving.values)
assert np.any(first != second), "each replica sees its own half"
np.testing.assert_allclose(moving.read_value(), (first + second) / 2, rtol=1e-6)
"""


@pytest.mark.slow
def test_moving_statistics_are_per_replica_and_averaged_when_read() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
