"""Programs written for TF-Slim, in TF1's own mode, with nothing changed but their imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# TF1's mode is one of a whole process, hence the programs. In it, sizes of shapes are objects.
_BUILD = """
import tensorflow as tf
tf.compat.v1.disable_v2_behavior()
from slimworks.components.nets import nets_factory
from slimworks.components.nets.registry import REGISTRY
for name in {names!r}:
    for is_training in (True, False):
        with tf.Graph().as_default():
            network_fn = nets_factory.get_network_fn(name, 7, 0.1, is_training)
            size = network_fn.default_image_size
            shape = [2, size, size, REGISTRY[name].num_channels]
            images = tf.compat.v1.placeholder(tf.float32, shape)
            logits, _ = network_fn(images)
            assert logits.shape.as_list() == [2, 7], (name, logits.shape)
"""

_TRAIN = """
import tensorflow as tf
tf.compat.v1.disable_v2_behavior()
from slimworks.components.nets import nets_factory
from slimworks.components.nets.slim import slim
from slimworks.components.preprocessing import preprocessing_factory
tf1 = tf.compat.v1
raw = tf.cast(tf.random.uniform([120, 90, 3], maxval=255), tf.uint8)
preprocess = preprocessing_factory.get_preprocessing("mobilenet_v2", is_training=True)
images = tf1.train.batch([preprocess(raw, 64, 64)], 4)
network_fn = nets_factory.get_network_fn("mobilenet_v2", 7, weight_decay=4e-5, is_training=True)
logits, _ = network_fn(images)
tf1.losses.softmax_cross_entropy(tf.one_hot([0, 1, 2, 3], 7), logits)
optimizer = tf1.train.GradientDescentOptimizer(0.01)
train_op = slim.learning.create_train_op(tf1.losses.get_total_loss(), optimizer)
loss = slim.learning.train(train_op, {folder!r}, number_of_steps=2)
assert 0 < loss < 100, loss
assert tf.train.latest_checkpoint({folder!r})
"""

_ONE_OF_EACH_FAMILY = (
    *("lenet", "cifarnet", "alexnet_v2", "overfeat", "vgg_a", "inception_v1", "inception_v2"),
    *("inception_v3", "inception_v4", "inception_resnet_v2", "resnet_v1_50", "resnet_v2_50"),
    *("mobilenet_v1_025", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_edgetpu"),
    *("nasnet_cifar", "pnasnet_mobile"),
)


def _run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_mobilenet_v3_builds_in_tf1_mode() -> None:
    _run(_BUILD.format(names=["mobilenet_v3_small"]))


@pytest.mark.big
def test_every_family_builds_in_tf1_mode() -> None:
    _run(_BUILD.format(names=list(_ONE_OF_EACH_FAMILY)))


@pytest.mark.slow
def test_tf_slims_training_loop_trains_on_our_network_and_preprocessing(tmp_path: Path) -> None:
    _run(_TRAIN.format(folder=str(tmp_path / "train")))
