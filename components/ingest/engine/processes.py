"""What every process that an engine starts for us does first."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator

_LOOK_SECONDS = 0.5
# Beam imports them where they are installed, for notebooks and data frames, and runs without them:
# 60 MB and 0.4 seconds.
_SPARED_MODULES = ("IPython", "pandas")


@contextlib.contextmanager
def sparing_garbage() -> Iterator[None]:
    """Leaves what was imported out of the search for garbage, which took a tenth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def spare_modules() -> None:
    """Lets Beam do without what this process does not need. Call it before Beam is imported."""
    for name in _SPARED_MODULES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent: who is killed leaves no worker behind.

    The system's own signal for that is sent when the parent's thread ends, which may be one of a
    pool's.
    """
    threading.Thread(target=_end_with, args=(parent,), name="end-with-parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
