"""The program of one worker process: takes tasks from its parent until there is no parent."""

from __future__ import annotations

import logging
import os
import signal
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection

from slimworks.components.ingest.engine.processes import end_with_parent, sparing_garbage


def main(descriptor: int, parent: int) -> None:
    """Receives a function, then one task after another; answers each with the function's result."""
    # Ctrl-C reaches the whole process group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    with Connection(descriptor) as connection:
        log = _send_log(connection)
        try:
            function = connection.recv()
            with sparing_garbage():
                while True:
                    result = function(connection.recv())
                    with log.lock:  # type: ignore[union-attr]
                        connection.send(result)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            # The parent needs no more, or is gone. Tidying up after Beam would take a second.
            os._exit(0)


class _ToParent(QueueHandler):
    """Sends records to the parent, which shows them as its own."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[attr-defined]


def _send_log(connection: Connection) -> logging.Handler:
    """Our own lines go to the parent, and of other programs only errors."""
    handler = _ToParent(connection)  # type: ignore[arg-type]
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    logging.getLogger("slimworks").setLevel(logging.INFO)
    return handler
