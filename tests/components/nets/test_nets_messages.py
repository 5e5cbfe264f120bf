"""What a network that cannot be had tells a user, word for word."""

from __future__ import annotations

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY, check_image_size, get_net


def test_unknown_network() -> None:
    with pytest.raises(ConfigError) as caught:
        get_net("lennet")
    assert caught.value.cause == (
        "model.net is 'lennet', which is no known network. Did you mean 'lenet'?"
    )
    assert caught.value.fix == (
        f"Choose one of {', '.join(REGISTRY)}; `slimworks nets` describes them."
    )


def test_image_size_below_the_minimum() -> None:
    with pytest.raises(ConfigError) as caught:
        check_image_size(get_net("overfeat"), 230)
    assert caught.value.cause == "model.image_size is 230, but overfeat needs at least 231 pixels."
    assert caught.value.fix == ("Type `--set model.image_size=231`, or choose another model.net.")
