"""Training as TF-Slim's train_image_classifier.py does it: a TF1 graph, a session, TF1 optimizers.

Written from the script's behaviour and without a line of our trainer, which is compared with it.
Networks are tf_slim's own where tf_slim has them.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components.nets import nets_factory
from slimworks.components.nets.randomness import stateless
from slimworks.components.nets.slim import published_nets, slim

tf1 = tf.compat.v1
DROPOUT_SEED = 0  # of ours by default

_PUBLISHED = {
    "inception_v1": (published_nets.inception.inception_v1, "inception_v1_arg_scope"),
    "inception_v3": (published_nets.inception.inception_v3, "inception_v3_arg_scope"),
    "resnet_v1_50": (published_nets.resnet_v1.resnet_v1_50, "resnet_arg_scope"),
    "vgg_16": (published_nets.vgg.vgg_16, "vgg_arg_scope"),
}


@dataclasses.dataclass(frozen=True)
class Flags:
    """The script's flags that change a number, with its defaults; and the dataset's size."""

    optimizer: str = "rmsprop"
    learning_rate: float = 0.01
    learning_rate_decay_type: str = "exponential"
    end_learning_rate: float = 0.0001
    learning_rate_decay_factor: float = 0.94
    num_epochs_per_decay: float = 2.0
    warmup_epochs: float = 0.0
    weight_decay: float = 0.00004
    label_smoothing: float = 0.0
    adadelta_rho: float = 0.95
    adagrad_initial_accumulator_value: float = 0.1
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    opt_epsilon: float = 1.0
    ftrl_learning_rate_power: float = -0.5
    ftrl_initial_accumulator_value: float = 0.1
    ftrl_l1: float = 0.0
    ftrl_l2: float = 0.0
    momentum: float = 0.9
    rmsprop_momentum: float = 0.9
    rmsprop_decay: float = 0.9
    moving_average_decay: float | None = None
    trainable_scopes: str | None = None
    batch_size: int = 4
    num_samples: int = 16


@dataclasses.dataclass(frozen=True)
class StepLosses:
    """What one update reports: main cross entropy, and all that is minimised."""

    loss: float
    total_loss: float


class Tf1Training:
    """A training graph and its session.

    Attributes:
        learning_rates: Rate of every step so far.
    """

    def __init__(
        self, net: str, flags: Flags, num_classes: int, image_size: int, num_channels: int
    ) -> None:
        self._graph = tf.Graph()
        self._flags = flags
        self.learning_rates: list[float] = []
        with self._graph.as_default(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`(layer|tf.layers)")
            tf1.set_random_seed(5)
            shape = [flags.batch_size, image_size, image_size, num_channels]
            self._images = tf1.placeholder(tf.float32, shape)
            self._labels = tf1.placeholder(tf.int64, [flags.batch_size])
            self._build(net, num_classes)
            self.trainable_names = [v.op.name for v in tf1.trainable_variables()]
            self._variables = {v.op.name: v for v in tf1.global_variables()}
            self._session = tf1.Session(graph=self._graph)
            self._session.run(tf1.global_variables_initializer())

    def _build(self, net: str, num_classes: int) -> None:
        flags = self._flags
        step = tf1.train.get_or_create_global_step()
        # Both drop the same activations.
        with stateless(DROPOUT_SEED, step):
            logits, end_points = _network(net, self._images, num_classes, flags.weight_decay)
        targets = tf.one_hot(self._labels, num_classes)
        if "AuxLogits" in end_points:
            tf1.losses.softmax_cross_entropy(
                targets,
                end_points["AuxLogits"],
                label_smoothing=flags.label_smoothing,
                weights=0.4,
                scope="aux_loss",
            )
        main = tf1.losses.softmax_cross_entropy(
            targets, logits, label_smoothing=flags.label_smoothing, weights=1.0
        )
        update_ops = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
        total = tf1.losses.get_total_loss(add_regularization_losses=True)
        rate = learning_rate(flags, step)
        optimizer = configure_optimizer(flags, rate)
        gradients = optimizer.compute_gradients(total, var_list=variables_to_train(flags))
        updates = [optimizer.apply_gradients(gradients, global_step=step), *update_ops]
        self._train = (main, total, tf.convert_to_tensor(rate), tf.group(*updates))
        self._average = None
        if flags.moving_average_decay:
            # The script leaves open which comes first, the step's update or the averages; here the
            # averages do not see the step's number yet, but its weights.
            averages = tf1.train.ExponentialMovingAverage(flags.moving_average_decay, step - 1)
            self._average = averages.apply(tf1.model_variables())

    def step(self, images: np.ndarray, class_indices: np.ndarray) -> StepLosses:
        """One update. images: [N, H, W, C] float32; class_indices: [N] int64."""
        feed = {self._images: images, self._labels: class_indices}
        loss, total, rate, _ = self._session.run(self._train, feed)
        self.learning_rates.append(float(rate))
        if self._average is not None:
            self._session.run(self._average)
        return StepLosses(float(loss), float(total))

    def values(self) -> dict[str, np.ndarray]:
        """Every variable by its name in a checkpoint: weights, statistics, slots, averages."""
        return self._session.run(self._variables)

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets the variables that have these names."""
        for name in values.keys() & self._variables.keys():
            initializer = self._variables[name].initializer
            self._session.run(initializer, {initializer.inputs[1]: values[name]})

    def close(self) -> None:
        """Frees the session's memory."""
        self._session.close()


def _network(
    net: str, images: tf.Tensor, num_classes: int, weight_decay: float
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    if net not in _PUBLISHED:
        return nets_factory.get_network_fn(net, num_classes, weight_decay, is_training=True)(images)
    build, scope_name = _PUBLISHED[net]
    homes = (published_nets.inception, published_nets.resnet_utils, published_nets.vgg)
    arg_scope = next(getattr(m, scope_name) for m in homes if hasattr(m, scope_name))
    with slim.arg_scope(arg_scope(weight_decay=weight_decay)):
        logits, end_points = build(images, num_classes=num_classes, is_training=True)
    # tf_slim's ResNets have not learnt spatial_squeeze yet.
    return (tf.squeeze(logits, [1, 2]) if logits.shape.rank == 4 else logits), end_points


def learning_rate(flags: Flags, step: tf.Tensor) -> tf.Tensor:
    """The script's rate as a function of the global step."""
    steps_per_epoch = flags.num_samples / flags.batch_size
    decay_steps = int(steps_per_epoch * flags.num_epochs_per_decay)
    start = flags.learning_rate
    if flags.learning_rate_decay_type == "exponential":
        rate = tf1.train.exponential_decay(
            start, step, decay_steps, flags.learning_rate_decay_factor, staircase=True
        )
    elif flags.learning_rate_decay_type == "fixed":
        rate = tf.constant(start)
    else:
        rate = tf1.train.polynomial_decay(
            start, step, decay_steps, flags.end_learning_rate, power=1.0, cycle=False
        )
    if flags.warmup_epochs:
        warmup_steps = steps_per_epoch * flags.warmup_epochs
        rate = tf.minimum(start * tf.cast(step, tf.float32) / warmup_steps, rate)
    return rate


def configure_optimizer(flags: Flags, rate: Any) -> Any:
    """The script's seven optimizers."""
    train = tf1.train
    if flags.optimizer == "adadelta":
        return train.AdadeltaOptimizer(rate, rho=flags.adadelta_rho, epsilon=flags.opt_epsilon)
    if flags.optimizer == "adagrad":
        return train.AdagradOptimizer(
            rate, initial_accumulator_value=flags.adagrad_initial_accumulator_value
        )
    if flags.optimizer == "adam":
        return train.AdamOptimizer(
            rate, beta1=flags.adam_beta1, beta2=flags.adam_beta2, epsilon=flags.opt_epsilon
        )
    if flags.optimizer == "ftrl":
        return train.FtrlOptimizer(
            rate,
            learning_rate_power=flags.ftrl_learning_rate_power,
            initial_accumulator_value=flags.ftrl_initial_accumulator_value,
            l1_regularization_strength=flags.ftrl_l1,
            l2_regularization_strength=flags.ftrl_l2,
        )
    if flags.optimizer == "momentum":
        return train.MomentumOptimizer(rate, momentum=flags.momentum, name="Momentum")
    if flags.optimizer == "rmsprop":
        return train.RMSPropOptimizer(
            rate,
            decay=flags.rmsprop_decay,
            momentum=flags.rmsprop_momentum,
            epsilon=flags.opt_epsilon,
        )
    assert flags.optimizer == "sgd"
    return train.GradientDescentOptimizer(rate)


def variables_to_train(flags: Flags) -> list[Any]:
    """All, or the union of the scopes; a variable of two scopes is listed twice."""
    if flags.trainable_scopes is None:
        return tf1.trainable_variables()
    found: list[Any] = []
    for scope in flags.trainable_scopes.split(","):
        found += tf1.get_collection(tf1.GraphKeys.TRAINABLE_VARIABLES, scope.strip())
    return found
