"""SlimModule: TF1 names and numbers, TF2 tracing, training and saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import REGISTRY, get_net

SIZE = 32
QUICK = {"lenet", "cifarnet", "mobilenet_v1_025"}
MEAN = "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"


def _module(seed: int = 0, **options) -> SlimModule:
    return SlimModule(get_net("mobilenet_v1_025"), 3, SIZE, 3, seed=seed, **options)


def _batch(num_images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ by the channel that is bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_images) % 3
    images = rng.uniform(-1, 0, (num_images, SIZE, SIZE, 3)).astype(np.float32)
    images[np.arange(num_images), :, :, labels] += 1
    return images, labels


@pytest.fixture(scope="module")
def module() -> SlimModule:
    return _module()


def test_variables_have_tf1_names_in_graph_order(module: SlimModule) -> None:
    names = list(module.variables_by_name)
    assert names[:2] == ["MobilenetV1/Conv2d_0/weights", "MobilenetV1/Conv2d_0/BatchNorm/gamma"]
    assert names[-1] == "MobilenetV1/Logits/Conv2d_1c_1x1/biases"
    assert all(v.name == f"{name}:0" for name, v in module.variables_by_name.items())
    assert len(module.trainable_by_name) == 83
    assert len(module.moving_by_name) == 54
    assert len(module.trainable_variables) == 83  # tf.Module tracks them


def test_initial_values_depend_on_seed_and_name_only(module: SlimModule) -> None:
    tf.random.set_seed(99)
    again, other = _module(), _module(seed=1)
    wider = SlimModule(get_net("mobilenet_v1_025"), 7, SIZE, 3)
    body = "MobilenetV1/Conv2d_3_pointwise/weights"
    for name, variable in module.variables_by_name.items():
        np.testing.assert_array_equal(variable, again.variables_by_name[name])
    assert np.any(module.variables_by_name[body] != other.variables_by_name[body])
    np.testing.assert_array_equal(module.variables_by_name[body], wider.variables_by_name[body])


def test_layers_of_equal_shape_start_differently(module: SlimModule) -> None:
    first, second = (
        module.variables_by_name[f"MobilenetV1/Conv2d_{index}_pointwise/weights"].numpy()
        for index in (8, 9)
    )
    assert np.any(first != second)


def test_forward_takes_any_batch_size_in_several_functions(module: SlimModule) -> None:
    signature = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)]

    @tf.function(input_signature=signature)
    def logits(images):
        return module.forward(images, is_training=False).logits

    @tf.function(input_signature=signature)
    def embedding(images):
        return module.embedding(module.forward(images, is_training=False).end_points)

    images, _ = _batch(6)
    whole = logits(images)
    np.testing.assert_allclose(whole[:1], logits(images[:1]), atol=1e-5)
    assert whole.shape == [6, 3]
    assert embedding(images[:2]).shape == [2, 256]


def test_step_is_for_networks_that_drop_paths_only(module: SlimModule) -> None:
    images, _ = _batch(1)
    step = tf.Variable(3, dtype=tf.int64, trainable=False)
    forward = tf.function(lambda x: module.forward(x, is_training=False, step=step).logits)
    assert forward(images).shape == [1, 3]


def test_forward_refuses_to_run_eagerly(module: SlimModule) -> None:
    with pytest.raises(RuntimeError, match=r"works only inside a tf\.function"):
        module.forward(tf.zeros([1, SIZE, SIZE, 3]), is_training=False)


def test_forward_refuses_images_of_another_size(module: SlimModule) -> None:
    with pytest.raises(ValueError, match="must be equal, but are 32 and 33"):
        tf.function(module.forward).get_concrete_function(
            tf.TensorSpec([1, SIZE + 1, SIZE, 3]), is_training=False
        )


def test_constructor_refuses_images_that_are_too_small() -> None:
    with pytest.raises(ConfigError, match="needs at least 224 pixels"):
        SlimModule(get_net("vgg_16"), 3, 64, 3)


def test_dropout_is_active_in_training_only() -> None:
    module = SlimModule(get_net("lenet"), 3, 28, 1)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 28, 28, 1)).astype(np.float32)
    forward = tf.function(module.forward)
    train = [forward(images, is_training=True).logits.numpy() for _ in range(2)]
    evaluation = [forward(images, is_training=False).logits.numpy() for _ in range(2)]
    assert np.any(train[0] != train[1])
    np.testing.assert_array_equal(evaluation[0], evaluation[1])


def test_training_lowers_the_loss_and_moves_the_statistics() -> None:
    module = _module(weight_decay=1e-4, batch_norm_decay=0.9)
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.02, 0.9)
    images, labels = _batch(12)

    @tf.function
    def step():
        variables = list(module.trainable_by_name.values())
        with tf.GradientTape() as tape:
            outputs = module.forward(images, is_training=True)
            loss = outputs.regularization_loss + tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
            )
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    before = {name: v.numpy() for name, v in module.moving_by_name.items()}
    losses = [float(step()) for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(np.any(before[name] != v) for name, v in module.moving_by_name.items())


def test_evaluation_leaves_the_statistics_alone(module: SlimModule) -> None:
    images, _ = _batch()
    before = module.moving_by_name[MEAN].numpy()
    tf.function(module.forward)(images, is_training=False)
    np.testing.assert_array_equal(before, module.moving_by_name[MEAN])


def test_batch_norm_decay_sets_the_pace_of_the_statistics() -> None:
    moved = []
    for decay in (None, 0.5):
        module = _module(batch_norm_decay=decay)
        tf.function(module.forward)(_batch()[0], is_training=True)
        moved.append(module.moving_by_name[MEAN].numpy())
    published = module.spec.batch_norm_decay
    assert published is not None
    np.testing.assert_allclose(moved[1] * (1 - published) / 0.5, moved[0], rtol=1e-3, atol=1e-9)


def test_regularization_loss_is_half_the_decayed_square_sum() -> None:
    module = SlimModule(get_net("lenet"), 3, 28, 1, weight_decay=0.01)
    forward = tf.function(lambda images: module.forward(images, False).regularization_loss)
    weights = [v.numpy() for name, v in module.variables_by_name.items() if "weights" in name]
    expected = 0.01 * sum(float(np.square(weight).sum()) for weight in weights) / 2
    assert float(forward(tf.zeros([1, 28, 28, 1]))) == pytest.approx(expected, rel=1e-5)


def test_forward_twice_in_one_function_counts_the_loss_of_each_once() -> None:
    module = SlimModule(get_net("lenet"), 3, 28, 1, weight_decay=0.01)

    @tf.function
    def both(images):
        first = module.forward(images, is_training=True)
        second = module.forward(images, is_training=False)
        return first.regularization_loss, second.regularization_loss

    first, second = both(tf.zeros([1, 28, 28, 1]))
    assert float(first) == pytest.approx(float(second))


def test_saved_model_gives_the_same_logits(module: SlimModule, tmp_path: Path) -> None:
    class Exported(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
        def logits(self, images):
            return self.net.forward(images, is_training=False).logits

    exported = Exported()
    tf.saved_model.save(exported, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    images, _ = _batch()
    np.testing.assert_array_equal(exported.logits(images), loaded.logits(images))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REGISTRY],
)
def test_every_network_builds_and_embeds(name: str) -> None:
    spec = get_net(name)
    size = max(spec.min_image_size, 28)
    module = SlimModule(spec, 4, size, spec.num_channels)

    @tf.function
    def forward(images):
        outputs = module.forward(images, is_training=False)
        return outputs.logits, module.embedding(outputs.end_points)

    logits, embedding = forward(tf.zeros([2, size, size, spec.num_channels]))
    assert logits.shape == [2, 4]
    assert embedding.shape.rank == 2
    assert np.all(np.isfinite(logits))
    depends_on_classes = {n for n, v in module.variables_by_name.items() if 4 in v.shape[-1:]}
    assert all(n.startswith(spec.head_scopes) for n in depends_on_classes)
    assert depends_on_classes
