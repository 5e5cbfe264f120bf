"""Runs the pipeline on this machine: one forked process a node, independent nodes side by side.

The parent imports TFX once; each node starts from a fork, so it is isolated without paying the
import again. A node's own log goes to a file; the lines that SlimWorks logs also reach stderr.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import progress
from slimworks.pipeline import launcher, tfx_import
from slimworks.pipeline.terminal import StepRecord, View

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

MAX_PARALLEL_NODES = 2  # training and Beam use all cores by themselves
TERMINATE_SECONDS = 60.0  # a trainer ends its step and writes a checkpoint on SIGTERM
TICK_SECONDS = 1.0  # of the clock beside a running step
MAX_MESSAGE = 2000  # letters: what goes through the pipe at once
_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)


def run_nodes(
    ir: pipeline_pb2.Pipeline,
    metadata_path: Path,
    log_folder: Path,
    on_end: Callable[[launcher.NodeResult], None],
    view: View,
) -> list[launcher.NodeResult]:
    """Runs every node whose upstream nodes succeeded, in topological order.

    Args:
        ir: Compiled pipeline with the run id bound.
        metadata_path: SQLite file of ML Metadata.
        log_folder: One `<node>.log` each.
        on_end: Called with each result.
        view: Shows what the nodes say.

    Returns:
        Results in the order in which nodes ended; after a failure no new node starts.
    """
    tfx_import.load()
    log_folder.mkdir(parents=True, exist_ok=True)
    waiting = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    done: set[str] = set()
    running: dict[str, _Child] = {}
    results: list[launcher.NodeResult] = []
    failed = False
    try:
        while running or (waiting and not failed):
            for name in [] if failed else list(_ready(waiting, done)):
                if len(running) >= MAX_PARALLEL_NODES:
                    break
                del waiting[name]
                running[name] = _Child(ir, name, metadata_path, log_folder / f"{name}.log")
                view.started(name)
            for name in _ended(running, view):
                result = running.pop(name).result()
                results.append(result)
                on_end(result)
                failed = failed or result.state == launcher.FAILED
                done.add(name)
    finally:
        for child in running.values():
            child.terminate(view)
    return results


def _ready(waiting: dict[str, Any], done: set[str]) -> Iterator[str]:
    for name, node in waiting.items():
        if set(node.upstream_nodes) <= done:
            yield name


def _ended(running: dict[str, _Child], view: View) -> list[str]:
    """Shows what running nodes say until one of them is over; its name, or several."""
    while True:
        ready = wait([child.connection for child in running.values()], TICK_SECONDS)
        view.tick()
        for child in running.values():
            if child.connection in ready:
                child.receive(view)
        if over := [name for name, child in running.items() if child.is_over]:
            return over


class _Child:
    """One node in its own process."""

    def __init__(self, ir: Any, name: str, metadata_path: Path, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self.started = time.monotonic()
        self.connection, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_run_child,
            args=(ir, name, metadata_path, log_path, sender, os.getpid()),
            name=f"slimworks-{name}",
        )
        # Until the child has its own handlers, an interrupt would end it with a traceback.
        signals = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        sender.close()
        self.is_over = False
        self._result: launcher.NodeResult | None = None

    def receive(self, view: View) -> None:
        """Takes what the process sent: a record, its result, or its end."""
        try:
            sent = self.connection.recv()
        except EOFError:
            self.is_over = True
            return
        if isinstance(sent, StepRecord):
            view.record(self.name, sent)
        else:
            self._result = sent

    def result(self) -> launcher.NodeResult:
        """The result; a process that died without one is a failure."""
        self.process.join()
        if self._result is not None:
            return self._result
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        error: dict[str, Any] = {
            "type": "ProcessDied",
            "cause": f"The process of {self.name} {how}{hint}.",
            "fix": f"Look at {self.log_path}, then run again: finished steps are kept.",
            "exit_code": 1,
        }
        seconds = time.monotonic() - self.started
        return launcher.NodeResult(self.name, launcher.FAILED, seconds, error["cause"], None, error)

    def terminate(self, view: View) -> None:
        """Asks the process to stop, shows what it saves, then makes it stop."""
        self.process.terminate()
        deadline = time.monotonic() + TERMINATE_SECONDS
        while not self.is_over and self.connection.poll(max(0.0, deadline - time.monotonic())):
            self.receive(view)
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _run_child(
    ir: Any, name: str, metadata_path: Path, log_path: Path, sender: Connection, parent: int
) -> None:
    """Body of a node's process."""
    _die_with_parent(parent)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks by SIGTERM
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    _redirect_output(log_path)
    faulthandler.enable()
    handler = _forward_log(sender, name, metadata_path.parent)
    from slimworks.pipeline.metadata import SqliteMetadata

    exit_code = 0
    try:
        result = launcher.launch_node(ir, name, SqliteMetadata(metadata_path))
        with handler.sending:
            sender.send(result)
    except KeyboardInterrupt:
        exit_code = 130
    except BaseException:
        traceback.print_exc()
        exit_code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Thread pools of TensorFlow and gRPC that came through the fork may never end by themselves.
    os._exit(exit_code)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _die_with_parent(parent: int) -> None:
    """A killed `run` must not leave a trainer behind (Linux; elsewhere it runs to its end)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _redirect_output(log_path: Path) -> None:
    """Sends stdout and stderr of this process to a file."""
    log = open(log_path, "a", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)


class _ParentHandler(logging.Handler):
    """Sends a node's records to the run, which shows them."""

    def __init__(self, sender: Connection, name: str, home: Path) -> None:
        super().__init__()
        self.sending = threading.RLock()
        self._sender = sender
        self._prefix, self._home = f"{name}: ", f"{home}/"

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record; folders relative to the pipeline's own."""
        try:
            message = record.getMessage().removeprefix(self._prefix).replace(self._home, "")
            state = progress.state_of(record)
            with self.sending:
                self._sender.send(StepRecord(record.levelno, message[:MAX_MESSAGE], state))
        except Exception:
            self.handleError(record)


def _forward_log(sender: Connection, name: str, home: Path) -> _ParentHandler:
    """Log file: everything from INFO up; the run: SlimWorks's own lines, and progress."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    file_handler = logging.StreamHandler(sys.stderr)
    file_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(file_handler)
    root.setLevel(logging.INFO)
    # A look at the work makes a record four times a second; the file takes one in ten seconds.
    file_handler.setLevel(logging.INFO)
    progress.LOGGER.setLevel(logging.DEBUG)
    parent = _ParentHandler(sender, name, home)
    # Errors come back as cause and fix; their tracebacks are for the file.
    parent.addFilter(lambda record: record.levelno < logging.ERROR)
    logging.getLogger("slimworks").addHandler(parent)
    logging.getLogger("slimworks").setLevel(logging.INFO)
    return parent
