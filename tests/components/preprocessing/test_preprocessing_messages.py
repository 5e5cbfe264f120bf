"""What an unknown preprocessing family tells a user, word for word."""

from __future__ import annotations

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.preprocessing.geometry import check_family


def test_unknown_family() -> None:
    with pytest.raises(ConfigError) as caught:
        check_family("incepton")
    assert caught.value.cause == (
        "Preprocessing 'incepton' is unknown; known are cifarnet, inception, lenet, vgg."
    )
    assert caught.value.fix.startswith(
        "Set transform.preprocessing_name to one of them, or leave it out: the network's own is "
        "taken then."
    )
    assert "Did you mean 'inception'?" in str(caught.value)
