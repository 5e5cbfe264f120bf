"""Processes that SIGINT reaches, however the tests were started."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


def _default_interrupt() -> None:
    # A background job of a shell ignores SIGINT, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Starts a command as a terminal would, as far as SIGINT goes."""
    return subprocess.Popen(command, preexec_fn=_default_interrupt, **options)
