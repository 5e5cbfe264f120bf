"""The sets of versions that work together; docs/stacks.md says what was tested of each."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping

_OF_BOTH = {"tf-slim": "1.1.", "apache-beam": "2.", "kfp": "2."}


@dataclasses.dataclass(frozen=True)
class Stack:
    """One set.

    Attributes:
        name: What the documentation calls it.
        pythons: Versions of Python that it can be installed on.
        tested_pythons: Those that the tests ran on.
        packages: How the version of each package begins.
    """

    name: str
    pythons: tuple[str, ...]
    tested_pythons: tuple[str, ...]
    packages: Mapping[str, str]


LOCKED = Stack(
    name="locked",
    pythons=("3.10", "3.11"),
    tested_pythons=("3.10", "3.11"),
    packages={
        "tfx": "1.16.",
        "tensorflow": "2.16.",
        "tensorflow-serving-api": "2.16.",
        **_OF_BOTH,
    },
)
NEWEST = Stack(
    name="newest",
    pythons=("3.10", "3.11", "3.12", "3.13"),
    tested_pythons=("3.13",),
    packages={
        "tfx": "1.21.",
        "tensorflow": "2.21.",
        "tensorflow-serving-api": "2.19.",
        **_OF_BOTH,
    },
)


def meant_stack() -> Stack:
    """The set that this environment is, or nearly is: TFX decides; without it, Python does."""
    try:
        tfx = importlib.metadata.version("tfx")
    except importlib.metadata.PackageNotFoundError:
        return LOCKED if python_version() in LOCKED.pythons else NEWEST
    return LOCKED if tfx.startswith(LOCKED.packages["tfx"]) else NEWEST


def python_version() -> str:
    """Of this interpreter, as 3.11."""
    major, minor, _ = platform.python_version_tuple()
    return f"{major}.{minor}"
