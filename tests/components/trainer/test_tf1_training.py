"""Our training against TF-Slim's, as a TF1 graph: losses and updates, step by step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf
from tf1_training import Flags, Tf1Training
from training_parity import compare, settings_of

from slimworks.components import contracts
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import dataset
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.config import Optimizer as OptimizerName
from slimworks.components.trainer.train import TrainInputs, train


def _compare_freely(flags: Flags, net: str = "lenet", **settings: Any) -> None:
    """Trains 24 steps from the same start; asserts the losses of every step and the end.

    The rates differ by their rounding, in float32 there and in float64 here.
    """
    grey = net == "lenet"
    differences = compare(
        net,
        flags,
        settings_of(flags) | settings,
        image_size=16 if grey else 32,
        num_channels=1 if grey else 3,
        num_steps=24,
        takes_weights=False,
    )
    assert differences.loss < 1e-5, differences
    assert differences.total_loss < 1e-5, differences
    assert differences.weights < 1e-5, differences
    assert differences.slots < 1e-5, differences


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_trains_a_net_as_tf1_does(name: str) -> None:
    _compare_freely(Flags(optimizer=name, weight_decay=0.0005, label_smoothing=0.1))


@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "adam", "opt_epsilon": 1e-3, "adam_beta1": 0.8, "adam_beta2": 0.99},
        {"optimizer": "adadelta", "opt_epsilon": 1e-3, "adadelta_rho": 0.8, "learning_rate": 1.0},
        {"optimizer": "adagrad", "adagrad_initial_accumulator_value": 0.5},
        {
            "optimizer": "ftrl",
            "ftrl_l1": 0.001,
            "ftrl_l2": 0.01,
            "ftrl_learning_rate_power": -0.4,
            "ftrl_initial_accumulator_value": 0.3,
        },
        {"optimizer": "momentum", "momentum": 0.5},
        {"optimizer": "rmsprop", "rmsprop_momentum": 0.5, "rmsprop_decay": 0.8, "opt_epsilon": 0.1},
    ],
    ids=lambda flags: flags["optimizer"],
)
def test_settings_of_optimizers_mean_what_the_flags_mean(flags: dict[str, Any]) -> None:
    _compare_freely(Flags(**flags))


@pytest.mark.parametrize("warmup_epochs", [0.0, 1.5], ids=["", "warm-up"])
@pytest.mark.parametrize("decay_type", ["fixed", "exponential", "polynomial"])
def test_every_decay_gives_the_rates_of_tf1(decay_type: str, warmup_epochs: float) -> None:
    flags = Flags(
        optimizer="momentum",
        learning_rate_decay_type=decay_type,
        warmup_epochs=warmup_epochs,
        num_epochs_per_decay=1.5,
        learning_rate_decay_factor=0.5,
        learning_rate=0.001,
    )
    _compare_freely(flags)


def test_moving_averages_are_those_of_tf1() -> None:
    flags = Flags(optimizer="momentum", moving_average_decay=0.6)  # reached after 14 steps
    _compare_freely(flags)


@pytest.mark.slow
def test_moving_averages_hold_moving_statistics_too() -> None:
    flags = Flags(optimizer="sgd", moving_average_decay=0.99)
    _compare_steps("mobilenet_v1_025", 32, flags, num_steps=6)


@pytest.mark.slow
def test_trainable_scopes_train_what_they_train_in_tf1() -> None:
    scopes = "MobilenetV1/Logits,MobilenetV1/Conv2d_1[23]_.*/BatchNorm"
    flags = Flags(optimizer="momentum", trainable_scopes=scopes)
    _compare_steps("mobilenet_v1_025", 32, flags, num_steps=6)


def test_frozen_batch_norm_is_where_a_trained_head_differs_from_tf1() -> None:
    flags = Flags(optimizer="sgd", trainable_scopes="MobilenetV1/Logits")
    settings = settings_of(flags)
    differences = compare(
        "mobilenet_v1_025",
        flags,
        settings,
        image_size=32,
        num_steps=3,
        takes_weights=True,
        freezes_batch_norm=True,
    )
    assert differences.moving == pytest.approx(1.0), "TF1 moves statistics, ours stay"
    assert differences.loss > 1e-3


def test_a_variable_of_two_scopes_is_updated_once_unlike_in_tf1() -> None:
    once = Flags(optimizer="sgd", learning_rate=0.01, trainable_scopes="LeNet/fc4")
    twice = dataclasses.replace(once, trainable_scopes="LeNet/fc4,LeNet/fc4/weights")
    _compare_freely(dataclasses.replace(once, learning_rate_decay_type="fixed"))
    differences = compare(
        "lenet",
        twice,
        settings_of(twice),
        image_size=16,
        num_channels=1,
        num_steps=1,
        takes_weights=True,
    )
    assert differences.update == pytest.approx(0.5, rel=1e-4)
    assert differences.worst["update"] == "LeNet/fc4/weights"


@pytest.mark.slow
def test_batch_norm_and_its_statistics_train_as_in_tf1() -> None:
    _compare_steps("mobilenet_v1_025", 32, Flags(weight_decay=0.0005))


# vgg_16 without slots, which would be 1 GB a slot and copy: the others have them.
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("net", "image_size", "flags"),
    [
        pytest.param("mobilenet_v1", 64, {}, marks=pytest.mark.slow),
        # tf_slim's own pools 7x7 before the head
        pytest.param("inception_v1", 193, {"batch_size": 2}, marks=pytest.mark.big),
        # the smallest with an auxiliary head
        pytest.param("inception_v3", 107, {"label_smoothing": 0.1}, marks=pytest.mark.big),
        pytest.param(
            "resnet_v1_50",
            64,
            {"optimizer": "momentum", "weight_decay": 0.0001},
            marks=pytest.mark.big,
        ),
        pytest.param(
            "vgg_16",
            224,
            {"optimizer": "sgd", "weight_decay": 0.0005, "batch_size": 2},
            marks=pytest.mark.big,
        ),
    ],
)
def test_published_nets_train_as_in_tf1(net: str, image_size: int, flags: dict[str, Any]) -> None:
    _compare_steps(net, image_size, Flags(**flags))


def _compare_steps(net: str, image_size: int, flags: Flags, num_steps: int = 20) -> None:
    """Every step starts from TF1's variables; asserts what it does to each of them."""
    differences = compare(
        net,
        flags,
        settings_of(flags),
        image_size=image_size,
        num_steps=num_steps,
        takes_weights=True,
    )
    print(f"{net}: {differences}")
    assert differences.loss < 1e-6, differences
    assert differences.total_loss < 1e-6, differences
    assert differences.update < 1e-4, differences
    assert differences.moving < 1e-3, differences
    assert differences.slots < 1e-4, differences


@pytest.mark.slow
def test_a_whole_training_gives_the_weights_and_averages_of_tf1(
    tiny_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[dataset.Batch] = []
    original = dataset.train_batches

    def recorded(*arguments: Any, **options: Any) -> tf.data.Dataset:
        found = original(*arguments, **options)
        batches.extend(found)
        return found

    monkeypatch.setattr(dataset, "train_batches", recorded)
    flags = Flags(num_samples=84, batch_size=16, opt_epsilon=0.01, moving_average_decay=0.9)
    settings = settings_of(flags) | {"max_number_of_steps": 12, "num_epochs_per_decay": 0.5}
    names = {"stored": "examples", "graph": "transform_graph", "label_map": "label_map"}
    facts = train(
        TrainInputs(**{field: str(tiny_examples / name) for name, field in names.items()}),
        str(tmp_path / "model"),
        str(tmp_path / "work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(settings),
        ExportConfig(),
    )
    assert facts["num_train_images"] == flags.num_samples
    flags = dataclasses.replace(flags, num_epochs_per_decay=0.5)
    theirs = Tf1Training("lenet", flags, 3, 28, 1)
    theirs.load(_initial_values(seed=0))
    for batch in batches[: facts["best_step"]]:
        theirs.step(batch.inputs.numpy(), np.argmax(batch.targets, axis=-1))
    values = theirs.values()
    assert len(set(theirs.learning_rates)) > 1, "the rate decayed"
    prefix = tf.train.latest_checkpoint(str(tmp_path / "model" / contracts.CHECKPOINTS_FOLDER))
    trained = tf.train.load_checkpoint(prefix)
    averages = [f"{name}/ExponentialMovingAverage" for name in theirs.trainable_names]
    for name in theirs.trainable_names + averages:
        np.testing.assert_allclose(trained.get_tensor(name), values[name], rtol=1e-4, atol=1e-6)
    theirs.close()


def _initial_values(seed: int) -> dict[str, np.ndarray]:
    module = SlimModule(get_net("lenet"), 3, 28, 1, seed=seed)
    values = {name: variable.numpy() for name, variable in module.variables_by_name.items()}
    averages = {f"{name}/ExponentialMovingAverage": value for name, value in values.items()}
    return values | averages
