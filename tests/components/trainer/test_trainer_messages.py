"""What a wrong setting of the trainer tells a user, word for word."""

from __future__ import annotations

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer.steps import trainable_variables


def test_scope_that_matches_no_variable() -> None:
    module = SlimModule(get_net("lenet"), num_classes=3, image_size=28, num_channels=1)
    with pytest.raises(ConfigError) as caught:
        trainable_variables(module, ["LeNet/fc4", "LeNet/fc5"])
    assert caught.value.cause == "train.trainable_scopes: 'LeNet/fc5' matches no variable."
    assert caught.value.fix == (
        "Scopes of this net: LeNet/conv1, LeNet/conv2, LeNet/fc3, LeNet/fc4."
    )
