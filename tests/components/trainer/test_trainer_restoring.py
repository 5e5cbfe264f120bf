"""Where a training starts from, and what stays as it is in frozen layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.checkpoints.save import save
from slimworks.components.errors import ConfigError
from slimworks.components.nets.freezing import frozen_scopes
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import steps
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.losses import cross_entropy
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.train import TrainInputs, train

NET = "mobilenet_v1_025"
HEAD = "MobilenetV1/Logits"
LAST_LAYER = "MobilenetV1/Conv2d_13_pointwise"


def _train(tiny: Path, folder: Path, **settings: object) -> dict[str, np.ndarray]:
    """One step too small to move anything; returns the values that it started from."""
    inputs = TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))
    config = {"max_number_of_steps": 1, "optimizer": "sgd", "learning_rate": 1e-9, **settings}
    train(
        inputs,
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(config),
        ExportConfig(),
    )
    prefix = tf.train.latest_checkpoint(str(folder / "model" / contracts.CHECKPOINTS_FOLDER))
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes, everything 0.01, conv1's weights with an average of 0.02, under a root."""
    module = SlimModule(get_net("lenet"), 10, 28, 1)
    values = {
        f"tower/{name}": tf.fill(variable.shape, 0.01)
        for name, variable in module.variables_by_name.items()
    }
    weights = "tower/LeNet/conv1/weights"
    values[f"{weights}/ExponentialMovingAverage"] = values[weights] * 2
    prefix = tmp_path_factory.mktemp("published") / "lenet.ckpt"
    save(values, prefix)
    return prefix


def test_training_starts_from_mapped_names_and_averages(
    tiny_examples: Path, tmp_path: Path, published: Path
) -> None:
    values = _train(
        tiny_examples,
        tmp_path,
        checkpoint_path=str(published.parent),
        checkpoint_name_map={"tower/": ""},
    )
    np.testing.assert_allclose(values["LeNet/conv1/weights"], 0.02, rtol=1e-4)
    np.testing.assert_allclose(values["LeNet/fc3/weights"], 0.01, rtol=1e-4)
    assert values["LeNet/fc4/weights"].shape == (1024, 3), "the head is of three classes"
    assert np.std(values["LeNet/fc4/weights"]) > 1e-3, "and has its initial values"


def test_averages_can_be_left_aside(tiny_examples: Path, tmp_path: Path, published: Path) -> None:
    values = _train(
        tiny_examples,
        tmp_path,
        checkpoint_path=str(published),
        checkpoint_name_map={"re:tower/(LeNet/.*)": r"\1"},
        checkpoint_moving_averages=False,
    )
    np.testing.assert_allclose(values["LeNet/conv1/weights"], 0.01, rtol=1e-4)


def test_names_that_need_a_map_are_told(
    tiny_examples: Path, tmp_path: Path, published: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        _train(tiny_examples, tmp_path, checkpoint_path=str(published))
    assert caught.value.fix == (
        'Type `--set \'train.checkpoint_name_map={"tower/LeNet/": "LeNet/"}\'`.'
    )
    assert "missing in the checkpoint (6):" in caught.value.details


def test_training_folder_comes_before_the_checkpoint_path(
    tiny_examples: Path, tmp_path: Path
) -> None:
    first = _train(tiny_examples, tmp_path)
    facts = json.loads((tmp_path / "model" / contracts.MODEL_FACTS_FILE).read_text())
    again = _train(tiny_examples, tmp_path, checkpoint_path="/none/model.ckpt")
    assert facts["best_step"] == 1
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"trainable_scopes": ["LeNet/(fc4"]},
            "train.trainable_scopes: 'LeNet/(fc4' is no regular expression: missing ), "
            "unterminated subpattern at position 6.",
        ),
        (
            {"checkpoint_name_map": {"re:*": "a"}},
            "train.checkpoint_name_map: 're:*' -> 'a' is no valid regular expression with "
            "replacement: nothing to repeat at position 0.",
        ),
    ],
)
def test_broken_expressions_are_refused_before_anything_runs(
    settings: dict[str, object], cause: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.model_validate(settings)
    assert caught.value.cause == cause
    assert caught.value.fix.startswith("Mend it")


def test_trainable_scopes_are_expressions_from_the_start() -> None:
    module = SlimModule(get_net("lenet"), 3, 28, 1)
    assert set(steps.trainable_variables(module, ["LeNet/fc[34]/w"])) == {
        "LeNet/fc3/weights",
        "LeNet/fc4/weights",
    }
    with pytest.raises(ConfigError, match="matches no variable"):
        steps.trainable_variables(module, ["fc4"])


def _step(
    scopes: Sequence[str] | None, net: str = NET, size: int = 32, num_channels: int = 3
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values before and after one step on random images."""
    module = SlimModule(get_net(net), 3, size, num_channels)
    config = TrainConfig(optimizer="sgd", learning_rate=0.1)
    trained = steps.trainable_variables(module, scopes)
    optimizer = Optimizer(config, trained)
    optimizer.learning_rate.assign(0.1)
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(2, 3, size=(4, size, size, num_channels)), tf.float32)
    before = _values(module.variables_by_name)
    step = steps.TrainStep(
        forward=steps.training_forward(module, trained, config.seed),
        loss=cross_entropy,
        trained=list(trained.values()),
        optimizer=optimizer,
        batch_size=4,
    )
    batch = Batch(images, tf.one_hot([0, 1, 2, 0], 3), tf.constant(["a", "b", "c", "d"]))
    tf.function(step, autograph=False)(batch, tf.constant(0, tf.int64))
    return before, _values(module.variables_by_name)


def _values(variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in variables.items()}


def _changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> set[str]:
    return {name for name, value in before.items() if not np.array_equal(after[name], value)}


def test_frozen_layers_keep_weights_and_moving_statistics() -> None:
    before, after = _step([LAST_LAYER, HEAD])
    changed = _changed(before, after)
    assert changed
    assert all(name.startswith((LAST_LAYER, HEAD)) for name in changed)
    assert f"{LAST_LAYER}/BatchNorm/moving_mean" in changed, "trained layers track theirs"


def test_moving_statistics_of_every_layer_follow_when_all_are_trained() -> None:
    before, after = _step(None)
    moving = {name for name in before if "/moving_" in name}
    assert moving <= _changed(before, after)


def test_overlapping_scopes_apply_a_gradient_once() -> None:
    _, once = _step(["LeNet/fc4"], "lenet", 28, 1)
    _, overlapping = _step(["LeNet/fc4", "LeNet/fc4/weights", "LeNet/fc4/b"], "lenet", 28, 1)
    for name, value in once.items():
        np.testing.assert_allclose(overlapping[name], value, rtol=1e-5, atol=1e-7)


def test_head_is_trained_on_the_features_that_it_is_evaluated_on() -> None:
    module = SlimModule(get_net(NET), 3, 32, 3)
    frozen = frozen_scopes(module.variables_by_name, [f"{HEAD}/Conv2d_1c_1x1/weights"])
    images = tf.constant(np.random.default_rng(0).normal(2, 3, (2, 32, 32, 3)), tf.float32)

    @tf.function(autograph=False)
    def features(is_training: bool) -> tf.Tensor:
        with steps.frozen_batch_norm(frozen):
            return module.forward(images, is_training).end_points["AvgPool_1a"]

    np.testing.assert_array_equal(features(True), features(False))


def test_batch_norm_follows_its_own_convolution() -> None:
    variables = ["n/conv/weights", "n/conv/BatchNorm/moving_mean", "n/preact/moving_mean"]
    assert frozen_scopes(variables, ["n/conv/weights"]) == {"n/preact"}
    assert frozen_scopes(variables, ["n/preact/beta"]) == {"n/conv/BatchNorm"}
