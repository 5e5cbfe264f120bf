"""The program of one worker process: takes tasks from its parent until there is no parent."""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection


def main(descriptor: int) -> None:
    """Receives a function, then one task after another; answers each with the function's result."""
    # Ctrl-C reaches the whole process group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as parent:
        try:
            function = parent.recv()
            while True:
                parent.send(function(parent.recv()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent needs no more, or is gone
