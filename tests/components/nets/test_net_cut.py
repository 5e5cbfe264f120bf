"""The two parts of a cut network against the whole, for every network."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets.cut import Cut, Forward, cut
from slimworks.components.nets.freezing import frozen_batch_norm, frozen_scopes
from slimworks.components.nets.module import Outputs, SlimModule
from slimworks.components.nets.registry import REGISTRY, get_net

QUICK = ("lenet", "cifarnet", "mobilenet_v1_025")
STEP = tf.constant(3, tf.int64)


def _training(module: SlimModule, trained: Collection[str]) -> Forward:
    frozen = frozen_scopes(module.variables_by_name, trained)

    def forward(images: tf.Tensor, step: tf.Tensor) -> Outputs:
        with frozen_batch_norm(frozen):
            return module.forward(images, is_training=True, step=step, seed=5)

    return forward


def _build(net: str, num_images: int = 2) -> tuple[SlimModule, tf.Tensor]:
    """The network and images at the smallest side that it takes, of at least 32 pixels."""
    spec = get_net(net)
    size = max(spec.min_image_size, min(spec.default_image_size, 32))
    module = SlimModule(spec, 3, size, spec.num_channels, weight_decay=0.01)
    random = np.random.default_rng(0)
    images = random.normal(size=(num_images, size, size, spec.num_channels))
    return module, tf.constant(images, tf.float32)


def _head(module: SlimModule) -> list[str]:
    return [name for name in module.trainable_by_name if name.startswith(module.spec.head_scopes)]


def _cut(module: SlimModule, trained: Collection[str]) -> Cut:
    parts = cut(module, trained, _training(module, trained))
    assert parts is not None
    return parts


@tf.function(autograph=False)
def _features(parts: Cut, images: tf.Tensor) -> tf.Tensor:
    return parts.features(images)


SLOW = ("inception_v1", "mobilenet_v1_025", "resnet_v1_50")
OTHERS = [
    pytest.param(net, marks=pytest.mark.slow if net in SLOW else pytest.mark.big)
    for net in REGISTRY
    if net not in QUICK
]


@pytest.mark.timeout(1_200)  # the largest are built five times
@pytest.mark.parametrize("net", [*QUICK, *OTHERS])
def test_head_on_features_equals_the_whole_network(net: str) -> None:
    module, images = _build(net)
    trained = _head(module)
    parts = _cut(module, trained)

    @tf.function(autograph=False)
    def run() -> tuple[tf.Tensor, ...]:
        whole = _training(module, trained)(images, STEP)
        features = parts.features(images)
        head = parts.head(features, STEP)
        return (
            (module.forward(images, is_training=False).logits, parts.inference_head(features)),
            (whole.logits, head.logits),
            (whole.regularization_loss, head.regularization_loss),
            *([(whole.end_points[name], head.end_points[name]) for name in head.end_points]),
        )

    pairs = run()
    assert len(pairs) == 3 + ("AuxLogits" in str(module.spec.head_scopes))
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not any(name.startswith(module.spec.head_scopes) for name in parts.backbone)
    assert parts.width <= 8_192, "the cut goes right before the head"


def _gradients(module: SlimModule, forward: Forward, inputs: tf.Tensor) -> list[np.ndarray]:
    trained = [module.variables_by_name[name] for name in _head(module)]

    @tf.function(autograph=False)
    def run() -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            outputs = forward(inputs, STEP)
            loss = tf.reduce_sum(outputs.logits[:, 0]) + outputs.regularization_loss
        gradients: list[tf.Tensor] = tape.gradient(loss, trained)
        return gradients

    return [gradient.numpy() for gradient in run()]


@pytest.mark.parametrize(
    "net", ["cifarnet", pytest.param("mobilenet_v1_025", marks=pytest.mark.slow)]
)
def test_gradients_of_the_head_equal_those_through_the_whole_network(net: str) -> None:
    module, images = _build(net, num_images=4)
    parts = _cut(module, _head(module))
    expected = _gradients(module, _training(module, _head(module)), images)
    found = _gradients(module, parts.head, _features(parts, images))
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


def test_head_sees_what_training_has_made_of_its_variables() -> None:
    module, images = _build("lenet")
    parts = _cut(module, _head(module))
    features = _features(parts, images)
    run = tf.function(lambda: parts.inference_head(features), autograph=False)
    before = run().numpy()
    module.variables_by_name["LeNet/fc4/biases"].assign_add([1.0, 0.0, 0.0])
    np.testing.assert_allclose(run().numpy() - before, [[1.0, 0.0, 0.0]] * 2, atol=1e-5)


@pytest.mark.slow
def test_auxiliary_head_is_kept_only_where_it_is_trained() -> None:
    module, _ = _build("inception_v3")
    both = _head(module)
    main = [name for name in both if "AuxLogits" not in name]
    assert len(main) < len(both)
    assert _cut(module, main).width == 2048
    assert _cut(module, both).width == 2048 + 768  # what the auxiliary head pools to 1x1


@pytest.mark.slow
def test_trained_batch_norm_of_the_head_follows_the_batches() -> None:
    module, images = _build("mobilenet_v1_025", num_images=4)
    layer = "MobilenetV1/Conv2d_13_pointwise"
    trained = [n for n in module.trainable_by_name if n.startswith(("MobilenetV1/Logits", layer))]
    parts = _cut(module, trained)
    features = _features(parts, images)
    moving = module.moving_by_name
    before = {name: variable.numpy() for name, variable in moving.items()}
    tf.function(lambda: parts.head(features, STEP).logits, autograph=False)()
    changed = {name for name in moving if not np.array_equal(before[name], moving[name].numpy())}
    assert changed == {f"{layer}/BatchNorm/moving_mean", f"{layer}/BatchNorm/moving_variance"}


def test_nothing_is_left_to_keep_where_the_first_layer_is_trained() -> None:
    module, _ = _build("lenet")
    trained = ["LeNet/conv1/weights"]
    assert cut(module, trained, _training(module, trained)) is None
