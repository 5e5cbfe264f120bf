"""A step in micro-batches is the step of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import losses, steps
from slimworks.components.trainer.accumulation import accumulate
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.optimizers import Optimizer

NUM_IMAGES, NUM_CLASSES = 12, 5


def _batch(size: int, channels: int) -> Batch:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (NUM_IMAGES, size, size, channels)).astype(np.float32)
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[rng.integers(0, NUM_CLASSES, NUM_IMAGES)]
    ids = [f"image-{number}" for number in range(NUM_IMAGES)]
    return Batch(tf.constant(images), tf.constant(targets), tf.constant(ids))


def _step(
    net: str, micro_batch_size: int | None, balance: str = "none"
) -> tuple[dict[str, np.ndarray], list[float]]:
    """The variables after two steps from the same start, and the metrics of the second."""
    spec = get_net(net)
    size = max(spec.min_image_size, 28)
    module = SlimModule(spec, NUM_CLASSES, size, spec.num_channels, weight_decay=0.01)
    config = TrainConfig(optimizer="momentum", balance=balance)
    optimizer = Optimizer(config, module.trainable_by_name)
    optimizer.learning_rate.assign(0.05)
    step = steps.TrainStep(
        forward=steps.training_forward(module, module.trainable_by_name, seed=0),
        loss=losses.training_loss(config, [1] * NUM_CLASSES),
        trained=list(module.trainable_by_name.values()),
        optimizer=optimizer,
        batch_size=NUM_IMAGES,
        micro_batch_size=micro_batch_size,
    )
    function = tf.function(step, autograph=False)
    batch = _batch(size, spec.num_channels)
    for number in range(2):
        metrics = function(batch, tf.constant(number, tf.int64))
    values = {name: variable.numpy() for name, variable in module.variables_by_name.items()}
    return values, [float(value) for value in metrics]


@pytest.mark.parametrize("micro_batch_size", [6, 5, 1])
def test_micro_batches_update_as_the_whole_batch(micro_batch_size: int) -> None:
    whole, whole_metrics = _step("lenet", None)
    parts, metrics = _step("lenet", micro_batch_size)
    # Sums of float32 in another order.
    np.testing.assert_allclose(metrics, whole_metrics, rtol=2e-6)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=2e-6, atol=1e-6, err_msg=name)


def test_batch_norm_sees_micro_batches() -> None:
    """Documented: the one thing that is not the same."""
    whole, _ = _step("mobilenet_v1_025", None)
    parts, _ = _step("mobilenet_v1_025", 6)
    mean = "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"
    # Four updates of the moving average, each of half the images, instead of two.
    assert np.linalg.norm(parts[mean]) > 1.5 * np.linalg.norm(whole[mean])


def test_what_has_no_gradient_gets_none() -> None:
    used, unused = tf.Variable(2.0), tf.Variable(3.0)

    @tf.function(autograph=False)
    def run(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        def gradients_of(part: Batch) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                loss = used * tf.reduce_sum(part.targets)
            return tape.gradient(loss, [used, unused]), [loss]

        gradients, metrics = accumulate(
            gradients_of, batch, micro_batch_size=5, variables=[used, unused], num_metrics=1
        )
        assert gradients[1] is None
        return gradients[0], metrics[0]

    gradient, loss = run(_batch(4, 1))
    assert float(gradient) == NUM_IMAGES
    assert float(loss) == 2 * NUM_IMAGES


def test_a_gradient_that_is_not_finite_makes_the_loss_nan() -> None:
    weights = tf.Variable(tf.zeros([28 * 28, NUM_CLASSES]))

    def forward(inputs: tf.Tensor, step: tf.Tensor) -> steps.Outputs:
        flat = tf.reshape(inputs, [NUM_IMAGES, -1])
        # The root is 0 and its slope infinite: the loss alone does not tell.
        logits = tf.sqrt(tf.abs(flat @ weights))
        return steps.Outputs(logits, {}, tf.constant(0.0))

    config = TrainConfig(optimizer="sgd")
    step = steps.TrainStep(
        forward=forward,
        loss=losses.training_loss(config, [1] * NUM_CLASSES),
        trained=[weights],
        optimizer=Optimizer(config, {"weights": weights}),
        batch_size=NUM_IMAGES,
    )
    metrics = tf.function(step, autograph=False)(_batch(28, 1), tf.constant(0, tf.int64))
    assert np.isfinite(float(metrics.loss))
    assert np.isnan(float(metrics.total_loss))
