"""Worker processes of this machine, and how items get to them.

Beam's own (`sdk_worker_main`) import Beam anew, 2 CPU seconds and 200 MB each, and the runner waits
for ever when one of them is killed. These import what the function needs, and a death is seen at
once: the item goes to another process.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from slimworks.components.errors import DataError

_LOGGER = logging.getLogger(__name__)
# A process may be killed by anybody once; an item on which three died kills them.
MAX_DEATHS = 3
_TERMINATE_SECONDS = 5.0
# -I: neither the user's environment nor the current folder decides what is imported.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from slimworks.components.ingest.engine.worker_main import main; main({}, {})"
)


class _Worker:
    """One process and what it is working on."""

    def __init__(self, function: Callable[[str], Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            program = _PROGRAM.format(descriptor, os.getpid())
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-W", "ignore", "-c", program, *sys.path],
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
            )
        self.connection = Connection(ours.detach())
        self.item: str | None = None
        # Without it there is a BrokenPipeError now where a death is dealt with later.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(function)

    def start(self, item: str) -> None:
        self.item = item
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(item)

    def close(self) -> str:
        """Ends the process; returns how it ended."""
        self.connection.close()
        try:
            code = self.process.wait(_TERMINATE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


class Workers:
    """A number of processes that call one function. Close it, or use it as a context manager."""

    def __init__(self, function: Callable[[str], Any], num_workers: int) -> None:
        """Starts the processes; they are ready some tenths of a second later.

        Args:
            function: Picklable and idempotent; importable by the same name in another process.
            num_workers: Number of processes.
        """
        self._function = function
        self._workers = [_Worker(function) for _ in range(num_workers)]
        self._waiting: collections.deque[str] = collections.deque()
        self._deaths: collections.Counter[str] = collections.Counter()
        # Not raised: Beam would make another error of it, and log it with its own traceback.
        self.error: DataError | None = None

    def submit(self, item: str) -> None:
        """Gives an item to an idle process, or keeps it until one is idle."""
        self._waiting.append(item)
        self._feed()

    def run(self, items: Iterable[str], claim: Callable[[], bool] = lambda: True) -> None:
        """Runs items, and waits for them, while the claim holds."""
        for item in items:
            if self.error is not None or not claim():
                break
            self.submit(item)
            if self._waiting:
                next(self.results(), None)
        for _ in self.results():
            pass

    def results(self) -> Iterator[Any]:
        """Yields the results of all submitted items, in the order in which they are ready.

        Ends early, with `error` set, where processes die over the same item again and again.
        """
        while busy := {worker.connection: worker for worker in self._workers if worker.item}:
            for connection in wait(list(busy)):
                yield from self._receive(busy[connection])  # type: ignore[index]
                if self.error is not None:
                    return

    def _receive(self, worker: _Worker) -> list[Any]:
        """Takes what a process has to say: a result, a line of its log, or that it died."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            results = []
        else:
            if isinstance(message, logging.LogRecord):
                _log_again(message)
                return []
            worker.item = None
            results = [message]
        self._feed()
        return results

    def _feed(self) -> None:
        for worker in self._workers:
            if worker.item is None and self._waiting:
                worker.start(self._waiting.popleft())

    def _replace(self, worker: _Worker) -> None:
        item, how = worker.item, worker.close()
        assert item is not None
        self._deaths[item] += 1
        if self._deaths[item] >= MAX_DEATHS:
            self.error = DataError(
                f"A worker process {how} {MAX_DEATHS} times over the same files ({item}); "
                "killed by signal 9 usually means that memory ran out.",
                "Lower data.max_pixels or data.max_file_bytes, or use fewer workers "
                "(--direct_num_workers=1), then run again: finished work is kept.",
            )
            return
        _LOGGER.warning("ingest: a worker process %s; another one takes its files", how)
        self._waiting.appendleft(item)
        self._workers[self._workers.index(worker)] = _Worker(self._function)

    def close(self) -> None:
        """Ends all processes; whatever they are at is not waited for."""
        for worker in self._workers:
            if worker.item is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _log_again(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
