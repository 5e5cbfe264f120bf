"""Where an export may be written. Imports no TensorFlow: the command line asks first."""

from __future__ import annotations

import os
from pathlib import Path

from slimworks.components.errors import ConfigError


def check_new_file(output: str | os.PathLike[str]) -> Path:
    """Refuses to overwrite; returns the absolute path.

    Raises:
        ConfigError: There is a file or folder of this name.
    """
    path = Path(output).resolve()
    if path.exists():
        raise ConfigError(f"{output} exists.", "Give a new file to --output.")
    return path
