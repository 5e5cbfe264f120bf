"""Class names from a labels file: TF-Slim's `index:name` lines, or one name a line."""

from __future__ import annotations

import os
import re
from pathlib import Path

from slimworks.components.errors import ConfigError

_NUMBERED = re.compile(r"(\d+):(.*)")


def read_labels(path: str | os.PathLike[str], num_classes: int) -> tuple[str, ...]:
    """Reads the class names by class index.

    Args:
        path: UTF-8 text: a name a line, or `index:name` lines in any order.
        num_classes: Of the checkpoint's head; the file must name as many.

    Raises:
        ConfigError: The file is missing, no text, numbered with gaps, or of another length.
    """
    lines = _read_lines(path)
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    names = [line.strip() for line in lines]
    if lines and all(numbered):
        by_index = {int(match[1]): match[2].strip() for match in numbered if match}
        if sorted(by_index) != list(range(len(lines))):
            raise ConfigError(
                f"{path} does not number its {len(lines)} classes from 0 to {len(lines) - 1}.",
                "Write one index:name line for each class, each index once.",
            )
        names = [by_index[index] for index in range(len(lines))]
    if len(names) != num_classes:
        raise ConfigError(
            f"{path} names {len(names)} classes, the checkpoint's head has {num_classes}.",
            _count_fix(len(names), num_classes),
        )
    return tuple(names)


def _read_lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--labels {path} cannot be read as UTF-8 text: {error}",
            "Give a text file with one class name a line, or leave --labels out.",
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _count_fix(num_names: int, num_classes: int) -> str:
    if (num_names, num_classes) == (1000, 1001):
        return "Index 0 of this head is the background: put a first line `background` into a copy."
    if (num_names, num_classes) == (1001, 1000):
        return "This head has no background class: take the first line out of a copy."
    return f"Give a file of {num_classes} names, or leave --labels out: names are numbers then."
