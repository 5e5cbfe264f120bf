"""What the command line and functions refuse, as cause and fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slimworks.components.errors import ConfigError, SlimWorksError
from slimworks.pipeline.cli import cli

Refusal = tuple[str, str]


def refusal(
    kind: type[SlimWorksError], function: Callable[..., object], *arguments: Any
) -> Refusal:
    """Cause and fix of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    return caught.value.cause, caught.value.fix


def slimworks(*arguments: object) -> Any:
    """Runs the command line in this process."""
    return cli.main([str(argument) for argument in arguments], standalone_mode=False)


def told(*arguments: object, kind: type[SlimWorksError] = ConfigError) -> Refusal:
    """Cause and fix of the error that a command line ends with."""
    return refusal(kind, slimworks, *arguments)
