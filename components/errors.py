"""Errors that a user can meet: one line of cause, one line of fix, one exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

EXIT_PUSHED = 0
EXIT_CRASH = 1  # a fault of ours: no other code describes it
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_TRAINING = 4
EXIT_SERVING = 5
EXIT_REFUSED = 10
EXIT_INTERRUPTED = 130


class SlimWorksError(Exception):
    """Base of the errors shown to users without a traceback.

    Attributes:
        cause: What is wrong, with the value or file that is wrong.
        fix: What to do or to type.
        details: Lines that show more, such as a table; empty for most errors.
        exit_code: Process exit code that the command line ends with.
    """

    exit_code = EXIT_CRASH

    def __init__(self, cause: str, fix: str, details: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix
        self.details = details

    def __str__(self) -> str:
        return f"{self.cause} {self.fix}"

    def __reduce__(self) -> tuple[type[SlimWorksError], tuple[str, str, str]]:
        return type(self), (self.cause, self.fix, self.details)


class ConfigError(SlimWorksError):
    """Wrong command line or configuration."""

    exit_code = EXIT_USAGE


class ConfigValueError(ConfigError, ValueError):
    """A ConfigError where TF-Slim raises ValueError: code written for TF-Slim may catch that."""


class DataError(SlimWorksError):
    """The user's images or manifests cannot be used."""

    exit_code = EXIT_DATA


class TrainingError(SlimWorksError):
    """Training cannot start or cannot go on."""

    exit_code = EXIT_TRAINING


class ServingError(SlimWorksError):
    """The served model does not answer, or answers something else."""

    exit_code = EXIT_SERVING


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, where more is known than that.

    Attributes:
        cause: What is saved.
        fix: How to go on.
        facts: The same for programs.
    """

    def __init__(self, cause: str, fix: str, facts: Mapping[str, Any]) -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix
        self.facts = facts


ERRORS: dict[str, type[SlimWorksError]] = {
    error.__name__: error
    for error in (ConfigError, ConfigValueError, DataError, TrainingError, ServingError)
}


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns " Did you mean X?" for the known name closest to `name`, or an empty string.

    Args:
        name: What was typed.
        known: What could have been meant.
        prefix: Put before X: the section of a key.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {prefix + matches[0]!r}?" if matches else ""
