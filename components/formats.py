"""Numbers of file formats: a file of a higher number is refused, nothing in it is believed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import DataError

# By file name, the newest number that this SlimWorks reads, and writes. Numbers go up where an
# older SlimWorks would misread a file; a key more is no reason. tests/samples has one of each.
NEWEST: Mapping[str, int] = {
    contracts.EVALUATION_METRICS_FILE: 2,
    contracts.DECISION_FILE: 2,
    contracts.REPLAY_FILE: 2,
    contracts.SHADOW_FILE: 1,
    contracts.MANIFEST_FILE: contracts.MANIFEST_FORMAT,
    contracts.MODEL_FACTS_FILE: 1,
    contracts.PUSHED_FILE: 1,
    "run.json": 1,
}


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON file; one that `NEWEST` names, and that has no number, is of format 1.

    Raises:
        DataError: It is damaged, or a newer SlimWorks wrote it.
    """
    path = Path(path)
    try:
        value = files.read_json(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(value, dict):
        raise _damaged(path, f"it holds a {type(value).__name__}, expected an object")
    if path.name in NEWEST:  # elsewhere "format" may be a word, such as that of the source
        require(value.get("format", 1), NEWEST[path.name], path)
    return value


def require(found: Any, newest: int, path: str | os.PathLike[str]) -> None:
    """Raises DataError where a file's number is none, or higher than the newest one known."""
    if not isinstance(found, int):
        raise _damaged(path, f"its format is {found!r:.60}, expected a number")
    if found > newest:
        raise DataError(
            f"{path} has format {found}, this SlimWorks reads up to {newest}.",
            "Upgrade SlimWorks: docs/upgrading.md. What it wrote itself, it makes anew in another "
            "folder: --root DIR.",
        )


def _damaged(path: str | os.PathLike[str], why: str) -> DataError:
    return DataError(
        f"{path} is damaged: {why}.",
        "Restore it from a backup, or make it anew: slimworks run --no-cache=all",
    )
