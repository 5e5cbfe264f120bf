"""Masks of dropout and drop path: the same for the same seed, step, place and image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import randomness
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.nasnet import operations
from slimworks.components.nets.registry import REGISTRY, get_net
from slimworks.components.nets.slim import slim

SHAPE = (6, 5, 5, 3)  # 75 numbers an image: no multiple of what Philox makes at once


def _traced(build: Callable[[tf.Tensor], tf.Tensor], seed: int, step: int, first: int = 0):
    """Builds on ones, in a function of its own; the images from `first` on."""

    @tf.function(autograph=False)
    def run(step: tf.Tensor) -> tf.Tensor:
        with randomness.images_from(first), randomness.stateless(seed, step):
            return build(tf.ones([SHAPE[0] - first, *SHAPE[1:]]))

    return run(tf.constant(step, tf.int64)).numpy()


def _dropout(images: tf.Tensor) -> tf.Tensor:
    return slim.dropout(images, 0.6, scope="here")


def _drop_path(images: tf.Tensor) -> tf.Tensor:
    return operations.drop_path(images, 0.6)


def _uniform(images: tf.Tensor) -> tf.Tensor:
    return randomness.uniform([tf.shape(images)[0], *SHAPE[1:]], "here")


@pytest.mark.parametrize("build", [_dropout, _drop_path, _uniform])
def test_the_same_seed_and_step_draw_the_same(build: Callable) -> None:
    first = _traced(build, 1, 7)
    np.testing.assert_array_equal(_traced(build, 1, 7), first)
    assert np.any(_traced(build, 1, 8) != first), "another step, another mask"
    assert np.any(_traced(build, 2, 7) != first), "another seed, another mask"
    assert np.any(first != first[:1]), "every image its own"


@pytest.mark.parametrize("build", [_dropout, _drop_path, _uniform])
def test_a_part_of_a_batch_draws_what_the_whole_would(build: Callable) -> None:
    np.testing.assert_array_equal(_traced(build, 1, 7, first=2), _traced(build, 1, 7)[2:])


def test_draws_of_one_place_differ() -> None:
    def build(images: tf.Tensor) -> tf.Tensor:
        return _uniform(images) - _uniform(images)

    assert np.all(_traced(build, 0, 0) != 0)


def test_draws_are_uniform_and_independent() -> None:
    @tf.function(autograph=False)
    def draw(step: tf.Tensor) -> tf.Tensor:
        with randomness.stateless(0, step):
            return randomness.uniform([500, 101], "here")

    first, second = draw(tf.constant(0)).numpy(), draw(tf.constant(1)).numpy()
    histogram = np.histogram(first, bins=10, range=(0, 1))[0] / first.size
    np.testing.assert_allclose(histogram, 0.1, atol=0.01)
    for other in (second, np.roll(first, 1, axis=0), np.roll(first, 1, axis=1)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.02


def test_dropout_keeps_the_fraction_and_the_mean() -> None:
    values = np.stack([_traced(_dropout, 0, step) for step in range(40)])
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.6)}
    assert np.mean(values > 0) == pytest.approx(0.6, abs=0.02)


def test_gradients_flow_through_what_is_kept() -> None:
    def build(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            kept = _dropout(images)
        return tape.gradient(kept, images) - kept

    np.testing.assert_array_equal(_traced(build, 0, 0), 0)


@pytest.mark.filterwarnings("ignore:.layer.apply. is deprecated")
def test_programs_of_tf1_keep_tf_slims_dropout() -> None:
    with tf.Graph().as_default() as graph:
        slim.dropout(tf.ones([2, 3]), 0.5)
    types = {operation.type for operation in graph.get_operations()}
    assert "RandomUniform" in types
    assert "StatelessRandomUniformV2" not in types


def _random_ops(name: str) -> set[str]:
    spec = get_net(name)
    size = max(spec.min_image_size, 64)
    module = SlimModule(spec, 3, size, spec.num_channels)

    @tf.function(autograph=False)
    def forward(images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return module.forward(images, is_training=True, step=step, seed=0).logits

    images = tf.TensorSpec([2, size, size, spec.num_channels])
    graph = forward.get_concrete_function(images, tf.TensorSpec([], tf.int64)).graph
    inner = [node for f in graph.as_graph_def().library.function for node in f.node_def]
    ops = [*graph.as_graph_def().node, *inner]
    return {node.op for node in ops if "Random" in node.op}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("lenet", "cifarnet") else pytest.mark.slow)
        for name in (
            "lenet", "cifarnet", "alexnet_v2", "vgg_a", "overfeat", "inception_v1", "inception_v3",
            "inception_resnet_v2", "mobilenet_v1_025", "mobilenet_v2_035", "nasnet_cifar",
            "pnasnet_mobile",
        )
        if name in REGISTRY
    ],
)  # fmt: skip
def test_no_random_op_of_a_training_network_has_a_state(name: str) -> None:
    assert _random_ops(name) == {"StatelessRandomGetKeyCounter", "StatelessRandomUniformV2"}
