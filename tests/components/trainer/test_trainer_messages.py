"""What a wrong setting of the trainer tells a user, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError, TrainingError
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.steps import trainable_variables
from slimworks.components.trainer.train import TrainInputs, train


def test_scope_that_matches_no_variable() -> None:
    module = SlimModule(get_net("lenet"), num_classes=3, image_size=28, num_channels=1)
    with pytest.raises(ConfigError) as caught:
        trainable_variables(module, ["LeNet/fc4", "LeNet/fc5"])
    assert caught.value.cause == "train.trainable_scopes: 'LeNet/fc5' matches no variable."
    assert caught.value.fix == (
        "Scopes of this net: LeNet/conv1, LeNet/conv2, LeNet/fc3, LeNet/fc4."
    )


def test_loss_that_is_no_number(tiny_examples: Path, tmp_path: Path) -> None:
    inputs = TrainInputs(
        examples=str(tiny_examples / "stored"),
        transform_graph=str(tiny_examples / "graph"),
        label_map=str(tiny_examples / "label_map"),
    )
    config = TrainConfig(epochs=1, optimizer="sgd", learning_rate=1e30, log_every_n_steps=1)
    folders = str(tmp_path / "model"), str(tmp_path / "work")
    with pytest.raises(TrainingError) as caught:
        train(inputs, *folders, ModelConfig(net="lenet"), config, ExportConfig())
    pattern = r"The loss is (nan|inf) at step \d+ \(learning rate \d+e\+\d+\)\."
    assert re.fullmatch(pattern, caught.value.cause)
    assert caught.value.fix == "Lower the rate: --set train.learning_rate=1e+29"
